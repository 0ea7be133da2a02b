"""A step's experience: problems, probes, answers and their rewards; the host's half of a step."""

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from jaxpsn.lm import sampler, tokenizer
from jaxpsn.lm.config import DecoderConfig
from jaxpsn.rlvr import data, rollout
from jaxpsn.rlvr.config import RlvrConfig
from jaxpsn.rlvr.exploration.perturbation import Perturbation
from jaxpsn.rlvr.objective import overlong
from jaxpsn.rlvr.placement import Placement
from jaxpsn.rlvr.rollout import Answers
from jaxpsn.rlvr.scale import Probes

SAMPLE = 0x53414D50
"""Folded into a run's key: answers share no randomness with anything else."""


class Part(NamedTuple):
    """Answers of a group that one policy gives: its samples ``first`` to ``first + count``."""

    noise: Perturbation | None
    """None for the clean policy."""
    first: int
    count: int
    first_member: int = 0
    probing: bool = False


class Plan(NamedTuple):
    """Who answers: the probes (if any), and then the rest of the group."""

    probes: Part | None
    rest: tuple[Part, ...]
    clean: Part | None = None
    """Answers of the clean policy that the probes are compared with; they never count."""


def plan(config: RlvrConfig, noise: Perturbation | None, probe_noise: Perturbation | None) -> Plan:
    """The parts of a group. Probes that count come first in it; others stand behind its last sample."""
    group, early = config.rollout.samples, config.early_samples
    probes = reference = None
    if config.probes:
        first_member = 0 if probe_noise is None else config.members
        probes = Part(probe_noise, 0 if early else group, config.probes, first_member, probing=True)
        # The same samples of the group, so the same random numbers: only what the noise does differs.
        reference = probes._replace(noise=None, first_member=0) if config.probed.relative else None
    clean = config.clean_samples - (early if probe_noise is None else 0)
    rest = [Part(None, early, clean), Part(noise, early + clean, group - early - clean)]
    return Plan(probes, tuple(part for part in rest if part.count), reference)


class Experience(NamedTuple):
    """G answers to each of P problems, with their rewards; arrays are NumPy."""

    problems: list[Any]
    prompts: Any  # sampler.Prompts of P problems
    answers: Answers  # [G, P, ...]
    texts: list[list[str]]  # [P][G]
    scores: np.ndarray  # [P, G] float32: what the verifier said
    rewards: np.ndarray  # [P, G] float32: the score less the fine for length


class Gathered(NamedTuple):
    """The experience of a step, and what it took."""

    experience: Experience
    sigma: Any
    """State of the scale that the rollouts were drawn with."""
    drawn: int
    """Problems taken from the stream."""
    replaced: int
    """All-equal groups that further problems replaced."""
    solved: Any = None
    """Which problems of the list have been solved by now, bool [n]; None where nobody keeps count."""


class Clock:
    """Seconds of each phase of a step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Add the block's time to ``phase``."""
        begun = time.perf_counter()
        yield
        self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - begun


def sampled_in(config: RlvrConfig) -> str:
    """The dtype of the weights that answers are sampled from."""
    return config.rollout.dtype or config.dtype


class Gatherer:
    """Draws answers from the clean and the perturbed policy and has them verified."""

    def __init__(
        self,
        config: RlvrConfig,
        decoder: DecoderConfig,
        words: Any,
        source: data.Source,
        grade: Callable[[Sequence[Any], Sequence[str]], Sequence[float]],
        parts: Plan,
        max_prompt: int,
        max_tokens: int,
        place: Placement,
    ):
        self._config, self._decoder, self._words = config, decoder, words
        self._source, self._grade, self._parts = source, grade, parts
        self._max_prompt, self._max_tokens = max_prompt, max_tokens
        shared = {"max_tokens": max_tokens, "ends": tuple(words.ends), "pad": words.pad, "vocab": words.vocab_size}
        self._sampling = {probing: sampler.Sampling(**shared, indicators=probing) for probing in (False, True)}
        self._place, settings = place, config.rollout
        place.check("rollout.prompts", settings.prompts)
        listed = (*parts.rest, *(part for part in (parts.probes, parts.clean) if part is not None))
        if settings.segment:
            draw = rollout.in_segments(settings.segment, settings.rows)
            self._draw = {part: partial(self.sampled, part, draw) for part in listed}
            self._block = {part: settings.prompts for part in listed}
            return
        whole = place.whole()
        rest = (place.rows(), whole, whole, whole, whole, whole)
        self._draw = {
            part: place.jit(
                partial(self.sampled, part, rollout.at_once), (place.drawn_from(decoder, part.noise), *rest), whole
            )
            for part in listed
        }
        self._block = {part: block(settings.prompts, part.count, settings.rows, place.parts) for part in listed}

    def on(self, source: data.Source) -> "Gatherer":
        """The same gatherer on another stream of problems; what is compiled is shared."""
        other = copy.copy(self)
        other._source = source
        return other

    def sampled(
        self,
        part: Part,
        draw: rollout.Draw,
        params: Any,
        prompts: Any,
        key: PRNGKeyArray,
        step: Any,
        turn: Any,
        sigma: Array,
        begin: Any,
    ) -> Answers:
        """Answers to a block of problems, of which the first is number ``begin``.

        They are a function of (run key, step, turn, sample, problem), noise of (run key, step, member, path).
        """
        params = self._place.working(self._decoder, params, sampled_in(self._config))
        stream = jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(key, SAMPLE), step), turn)
        ids = rollout.Ids(part.first, begin, self._config.rollout.prompts)
        settings = (stream, jnp.float32(self._config.rollout.temperature), self._sampling[part.probing])
        if part.noise is None:
            return rollout.clean(self._decoder, params, prompts, ids, part.count, *settings, draw)
        noise = part.noise.draw(key, step)
        return rollout.noisy(
            self._decoder, part.noise, params, noise, sigma, prompts, ids, *settings, part.first_member, draw
        )

    def prepare(self, state: Any) -> tuple[sampler.Prompts, Answers]:
        """Compile the sampling of every part for states like ``state``; gives the shapes of prompts and answers.

        Sampling in segments is compiled when the first step needs it, as its shapes depend on what is sampled.
        """

        def of(problems: int) -> sampler.Prompts:
            shape = jax.ShapeDtypeStruct
            return sampler.Prompts(shape((problems, self._max_prompt), jnp.int32), shape((problems,), jnp.int32))

        def arguments(problems: int) -> tuple[Any, ...]:
            number = jax.ShapeDtypeStruct((), jnp.int32)
            return state.params, of(problems), state.key, state.clock, number, state.sigma.sigma, number

        if not self._config.rollout.segment:
            self._draw = {
                part: draw.lower(*arguments(self._block[part])).compile() for part, draw in self._draw.items()
            }
        problems = self._config.rollout.prompts
        early = () if self._parts.probes is None or not self._config.early_samples else (self._parts.probes,)
        shapes = [
            jax.eval_shape(partial(self.sampled, part, rollout.at_once), *arguments(problems))
            for part in (*early, *self._parts.rest)
        ]
        shapes = [one.replace(certainty=None, confidence=None, pooled=None) for one in shapes]
        return of(problems), jax.eval_shape(lambda *ones: jax.tree.map(lambda *x: jnp.concatenate(x), *ones), *shapes)

    def probe(self, state: Any, prompts: sampler.Prompts, turn: int, sigma: Any) -> Probes:
        """The probes' answers to packed prompts at ``sigma``, with the clean policy's where they are compared."""
        answers = self._answers(self._parts.probes, state, prompts, turn, sigma)
        found = Probes(prompts, answers, self.texts(answers))
        if self._parts.clean is None:
            return found
        clean = self._answers(self._parts.clean, state, prompts, turn, sigma)
        return found._replace(clean=clean, clean_texts=self.texts(clean))

    def pack(self, problems: Sequence[Any]) -> sampler.Prompts:
        """The problems as the sampler takes them."""
        ids = [self._words.prompt(problem.prompt) for problem in problems]
        return tokenizer.pack(ids, length=self._max_prompt, pad=self._words.pad)

    @property
    def compiled(self) -> dict[str, Any]:
        """What :meth:`prepare` compiled, by name."""
        if self._config.rollout.segment:
            return {}
        return {f"sampling {part.count} answers a problem": draw for part, draw in self._draw.items()}

    def gather(self, state: Any, decide: Callable[[Probes], Any] | None, clock: Clock) -> Gathered:
        """The experience of the step that ``state`` (``program.RlvrState``) stands at.

        ``decide(probes)`` gives the state of the scale after the probes, before any rollout. With
        refills, groups whose answers all score the same give way to further problems, as far as those go round;
        the batch keeps its size.
        """
        wanted, sigma, solved = self._config.rollout.prompts, state.sigma, state.solved
        kept: list[Experience] = []
        drawn = 0
        for turn in range(self._config.rollout.refills + 1):
            picked = data.pick(self._source, int(state.position) + drawn, wanted, solved)
            drawn += picked.taken
            found, sigma = self._turn(state, picked.problems, turn, sigma, decide if turn == 0 else None, clock)
            kept.append(found)
            if picked.numbers is not None:
                solved = data.now_solved(solved, picked.numbers, found.scores)
            if sum(int(np.sum(_telling(one))) for one in kept) >= wanted:
                break
        first = int(np.sum(_telling(kept[0])))
        whole = kept[0] if len(kept) == 1 else _pick(kept, wanted)
        return Gathered(whole, sigma, drawn, int(np.sum(_telling(whole))) - first, solved)

    def _turn(self, state, problems, turn, sigma, decide, clock) -> tuple[Experience, Any]:
        prompts = self.pack(problems)
        early, reused = [], bool(self._config.early_samples)
        # Later turns only need the probes that count among the answers; all probes have the last step's sigma.
        if self._parts.probes is not None and (decide is not None or reused):
            with clock("probe"):
                if decide is not None:
                    found = self.probe(state, prompts, turn, state.sigma.sigma)
                    probes, sigma = found.answers, decide(found)
                else:
                    probes = self._answers(self._parts.probes, state, prompts, turn, state.sigma.sigma)
            early = [probes] if reused else []
        with clock("sample"):
            rest = [self._answers(part, state, prompts, turn, sigma.sigma) for part in self._parts.rest]
            answers = rollout.join([*early, *rest])
        with clock("verify"):
            texts = self.texts(answers)
            scores = self._grade([one for one in problems for _ in texts[0]], [text for row in texts for text in row])
            scores = np.asarray(scores, np.float32).reshape(len(problems), -1)
        return Experience(problems, prompts, answers, texts, scores, scores + self._fine(answers)), sigma

    def _answers(self, part: Part, state: Any, prompts: sampler.Prompts, turn: int, sigma: Any) -> Answers:
        """A part's answers, on the host, block of problems after block."""
        size, found = self._block[part], []
        for begin in range(0, len(prompts.lengths), size):
            some = jax.tree.map(lambda leaf, begin=begin: leaf[begin : begin + size], prompts)
            placed = self._place.put(some, self._place.rows())
            given = (state.params, placed, state.key, state.clock, np.int32(turn), sigma, np.int32(begin))
            found.append(self._draw[part](*given))
        return rollout.beside(jax.device_get(found))

    def texts(self, answers: Answers) -> list[list[str]]:
        """The answers as text, [problem][sample]."""
        samples, problems = answers.lengths.shape
        return [
            [self._words.decode(answers.tokens[g, p, : answers.lengths[g, p]].tolist()) for g in range(samples)]
            for p in range(problems)
        ]

    def _fine(self, answers: Answers) -> np.ndarray:
        """What is taken off for length, [P, G]."""
        algorithm = self._config.algorithm
        if algorithm.overlong != "penalty":
            return np.zeros(answers.lengths.T.shape, np.float32)
        buffer = min(algorithm.overlong_buffer or overlong.BUFFER, self._max_tokens)
        return np.asarray(overlong.penalty(jnp.asarray(answers.lengths.T), self._max_tokens, buffer))


def block(problems: int, samples: int, rows: int, parts: int) -> int:
    """Problems of one call, so that with ``samples`` answers each there are at most ``rows`` (0: any number).

    The largest divisor of ``problems`` that does, among the multiples of ``parts``; never less than ``parts``.
    """
    sizes = [size for size in range(parts, problems + 1, parts) if problems % size == 0]
    return max((size for size in sizes if not rows or size * samples <= rows), default=sizes[0])


def _telling(experience: Experience) -> np.ndarray:
    """Groups whose answers do not all score the same, [P] bool."""
    return experience.scores.max(axis=1) != experience.scores.min(axis=1)


def _pick(kept: Sequence[Experience], wanted: int) -> Experience:
    """``wanted`` groups out of several turns: the telling ones first, in the order they came."""
    telling = np.concatenate([_telling(one) for one in kept])
    chosen = np.sort(np.argsort(~telling, kind="stable")[:wanted])

    def columns(pick: Callable[[Experience], Any], axis: int) -> Any:
        return jax.tree.map(lambda *leaves: np.take(np.concatenate(leaves, axis), chosen, axis), *map(pick, kept))

    def listed(pick: Callable[[Experience], list]) -> list:
        together = [item for one in kept for item in pick(one)]
        return [together[place] for place in chosen]

    wide = columns(lambda one: one.answers.replace(member=None, sigma=None), 1)
    return Experience(
        listed(lambda one: one.problems),
        columns(lambda one: one.prompts, 0),
        wide.replace(member=kept[0].answers.member, sigma=kept[0].answers.sigma),
        listed(lambda one: one.texts),
        *(columns(pick, 0) for pick in (lambda one: one.scores, lambda one: one.rewards)),
    )
