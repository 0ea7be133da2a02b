"""How alike answers are, as components; the formulas are in :mod:`jaxpsn.rlvr.exploration.similarity`. No JAX here."""

from dataclasses import dataclass
from typing import Any

from jaxpsn.core.components import Component
from jaxpsn.core.families import Family


class Likeness(Component):
    """A measure of how alike the answers to a problem are."""

    def encoder(self) -> Any:
        """A sentence encoder (``lm.bert.load``) for the texts, if the measure needs one."""
        return None

    def measure(self, learner: Any, encode: Any) -> Any:
        """``(params, prompts, answers, texts) -> [P]``: how alike the answers to each of P problems are."""
        raise NotImplementedError


SIMILARITIES: Family[Likeness] = Family("similarity", Likeness, doc="How alike the answers to a problem are.")


@SIMILARITIES.register("ngram")
@dataclass(frozen=True)
class Ngram(Likeness):
    """Mean cosine between counts of the character trigrams of two answers."""

    def measure(self, learner: Any, encode: Any) -> Any:
        from jaxpsn.rlvr.exploration import similarity

        return similarity.measure("ngram", learner)


@SIMILARITIES.register("equal")
@dataclass(frozen=True)
class Equal(Likeness):
    """The share of pairs of answers to a problem whose texts are equal."""

    def measure(self, learner: Any, encode: Any) -> Any:
        from jaxpsn.rlvr.exploration import similarity

        return similarity.measure("equal", learner)


@SIMILARITIES.register("hidden")
@dataclass(frozen=True)
class Hidden(Likeness):
    """Cosines between mean hidden states of the clean policy."""

    centre: bool = True
    """Take the mean over all answers off first; false: raw (paper)."""

    def measure(self, learner: Any, encode: Any) -> Any:
        from jaxpsn.rlvr.exploration import similarity

        return similarity.measure("hidden", learner, self.centre)


@SIMILARITIES.register("bert")
@dataclass(frozen=True)
class Bert(Likeness):
    """Cosines between vectors of a sentence encoder (paper)."""

    folder: str
    """Folder of the encoder, a BERT."""
    centre: bool = True
    """Take the mean over all answers off first; false: raw (paper)."""

    def encoder(self) -> Any:
        from pathlib import Path

        from jaxpsn.lm import bert  # only who asks for it pays for it

        return bert.load(Path(self.folder))

    def measure(self, learner: Any, encode: Any) -> Any:
        from jaxpsn.rlvr.exploration import similarity

        return similarity.measure("bert", learner, self.centre, encode)
