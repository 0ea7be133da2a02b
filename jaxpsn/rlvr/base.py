"""The policy that reinforcement learning starts from: a Hugging Face folder, or a small decoder pre-trained once."""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxpsn.core import errors, files
from jaxpsn.lm import config as decoders
from jaxpsn.lm import model, tokenizer
from jaxpsn.lm.config import DecoderConfig
from jaxpsn.lm.folders import hub, places
from jaxpsn.rlvr import pretrain, words
from jaxpsn.rlvr.config import RlvrConfig
from jaxpsn.rlvr.template import TemplateConfig

SEAL = "seal.json"
"""SHA-256 of every other file of a kept base: a damaged one is trained again."""


class Base(NamedTuple):
    """A decoder with its weights and its tokens."""

    decoder: DecoderConfig
    params: model.Params | None
    """None where only the form was asked for."""
    words: Any
    """``lm.tokenizer.Tokenizer``."""
    folder: Path | None
    """Where it was read from."""


def read(
    folder: Path,
    dtype: str = "float32",
    system: str | None = None,
    shardings: Any = None,
    template: TemplateConfig | None = None,
) -> Base:
    """The policy of a Hugging Face folder, or of one that :func:`save` wrote.

    ``system``, ``template``: as :class:`jaxpsn.lm.hf_tokenizer.HubTokenizer` takes them. ``shardings``:
    ``decoder -> tree`` of shardings, so that every device reads its own part. Raises UserError for whatever is
    missing or unknown.
    """
    return loaded(outline(folder, system, template), dtype, shardings)


def loaded(form: Base, dtype: str = "float32", shardings: Any = None) -> Base:
    """What :func:`outline` gave, with its weights."""
    placed = None if shardings is None else shardings(form.decoder)
    return form._replace(params=hub.load(form.folder, form.decoder, jnp.dtype(dtype), placed))


def outline(
    folder: Path, system: str | None = None, template: TemplateConfig | None = None, now: str | None = None
) -> Base:
    """Decoder and tokens of a folder that :func:`read` reads, without weights; ``~`` and the like are worked out."""
    folder = places.known("model", folder) or folder
    decoder = hub.read_config(folder)
    return Base(decoder, None, words.read(folder, decoder.vocab_size, system, template, now), folder)


def save(folder: Path, base: Base, params: model.Params, seal: bool = False, alone: bool = False) -> None:
    """Write ``params`` with the decoder and tokens of ``base`` as a folder that :func:`read` and transformers load.

    The folder is whole or not there; one of that name gives way. ``seal`` adds the digests of its files. With several
    processes all of them call this, and the first writes; ``alone``: this one does, whatever the others do. Raises
    UserError or OSError where it cannot be written.
    """
    folder.parent.stat()  # made by the caller: one that went away is not made again
    beside, old = (files.partial(folder, word) for word in (".new", ".old"))
    try:
        own, specials = {}, None
        if isinstance(base.words, tokenizer.CharTokenizer):
            own = base.words.files() | {words.ALPHABET: json.dumps({"alphabet": base.words.alphabet})}
            specials = base.words.specials()
        hub.save(beside, base.decoder, params, base.folder, alone=alone, own=own, specials=specials)
        if jax.process_index() > 0 and not alone:
            return
        if seal:
            (beside / SEAL).write_text(json.dumps(_digests(beside)), encoding="utf-8")
        if folder.exists() or folder.is_symlink():
            folder.rename(old)
        beside.rename(folder)
    finally:
        for left in (beside, old):
            with contextlib.suppress(OSError):
                files.remove(left)


def _digests(folder: Path) -> dict[str, str]:
    found = {}
    for file in sorted(folder.iterdir()):
        if file.name != SEAL:
            with file.open("rb") as opened:
                found[file.name] = hashlib.file_digest(opened, "sha256").hexdigest()
    return found


def fingerprint(params: model.Params) -> str:
    """Sixteen hex digits of the bytes of all weights."""
    sha = hashlib.sha256()
    for leaf in jax.tree.leaves(params):
        sha.update(np.ascontiguousarray(leaf).tobytes())
    return sha.hexdigest()[:16]


def keep(folder: Path, base: Base) -> None:
    """Keep the base that a run starts from in the run itself, unless it is there.

    With several processes all of them call this, for a folder that is new, as weights may lie on the devices of all.
    """
    if jax.process_count() > 1 or not folder.exists():
        save(folder, base, base.params, seal=True)


def kept(folder: Path) -> Base:
    """What :func:`keep` kept. Raises UserError if a byte of it differs."""
    try:
        was = files.read_json(folder / SEAL)
        now = _digests(folder)
    except (OSError, errors.UserError):
        was, now = None, {}
    was = was if isinstance(was, dict) else None
    if was != now:
        changed = [name for name in sorted({*now, *was}) if was.get(name) != now.get(name)] if was else [SEAL]
        names = ", ".join(changed)[:100]
        raise errors.UserError(f"{folder}: not as the run kept it, and it starts from it: {names}")
    return read(folder)._replace(folder=None)


def blank(config: RlvrConfig, task: Any) -> Base:
    """Decoder and tokens that :func:`pretrained` trains, without the weights."""
    words = tokenizer.CharTokenizer(task.alphabet)
    size = config.decoder
    decoder = decoders.tiny(words.vocab_size, size.hidden_size, size.num_layers, size.num_heads)
    return Base(decoder, None, words, None)


def digest(config: RlvrConfig, task: Any) -> str:
    """Sixteen hex digits that name a pre-trained base: everything that its weights are a function of."""
    parts = (dataclasses.asdict(config.decoder), dataclasses.asdict(config.pretrain), repr(task), jax.__version__)
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def pretrained(config: RlvrConfig, task: Any, bases: Path, told: Callable[[int, float], None]) -> Base:
    """The small decoder of ``config``, from the folder ``bases`` if it was trained before, else trained and kept.

    A kept base of which a byte differs is trained again; so it is, next time, where ``bases`` cannot be written:
    neither is an error. ``told(step, loss)`` is the progress.
    """
    folder = bases / f"{task.name}-{digest(config, task)}"
    files.sweep(bases, held=False)
    with contextlib.suppress(OSError, ValueError, errors.UserError):
        if files.read_json(folder / SEAL) == _digests(folder):
            return read(folder)._replace(folder=None)
    base = blank(config, task)
    base = base._replace(params=pretrain.run(config.pretrain, base.decoder, task, base.words, told))
    with contextlib.suppress(OSError, errors.UserError):
        bases.mkdir(parents=True, exist_ok=True)
        save(folder, base, base.params, seal=True, alone=True)
    return base
