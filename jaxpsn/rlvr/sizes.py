"""What a reasoning run holds in memory, as shapes: known before a weight is read or trained."""

import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxpsn.lm import decoding, model
from jaxpsn.lm.config import DecoderConfig
from jaxpsn.lm.policies import Clean
from jaxpsn.lm.prompts import Prompts
from jaxpsn.rlvr import base as bases
from jaxpsn.rlvr import evaluation, gathering, learner, names, setup
from jaxpsn.rlvr.base import Base
from jaxpsn.rlvr.config import RlvrConfig
from jaxpsn.rlvr.placement import Placement
from jaxpsn.rlvr.program import perturbations


def parts(config: RlvrConfig, place: Placement) -> dict[str, tuple[Any, str]]:
    """By name the shapes of what a training step holds at once, with the fields that make them smaller.

    Raises UserError for a model that cannot be read, and for limits that it does not allow.
    """
    task = None if config.data is not None else config.task
    if config.model is None:
        form = bases.blank(config, task)
    else:
        form = bases.outline(Path(config.model), config.system)
    longest, answer = setup.limits(config, form, task, task is not None)
    held = weights(form.decoder, place)
    noise = perturbations(config, form.decoder, held)[0] if config.noise.learnt else None
    optimiser = learner.make(config, form.decoder, answer, form.words.vocab_size, place, noise).optimiser
    trained = learner.trained(config, form.decoder, held)
    moments = jax.eval_shape(optimiser.init, trained)
    moments = place.shapes(moments, place.moments(optimiser, moments, place.weights(form.decoder)))
    size = names.lowers_weights(config.model is not None)
    passing = {
        "gradient": (trained, size),
        "caches of a rollout": (_rollout(config, form, longest, answer, place), names.LOWERS_ROLLOUT),
        "caches of an evaluation": (_judged(config, form, longest, answer, place), names.LOWERS_EVALUATION),
    }
    most = max(passing, key=lambda name: _bytes(passing[name][0]))
    found = {"weights, and those of the start": ((held, trained), size), "optimiser": (moments, size)}
    return found | {most: passing[most]}


def _bytes(tree: Any) -> int:
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def weights(decoder: DecoderConfig, place: Placement | None = None) -> Any:
    """The parameters of a decoder as shapes, float32; with the shardings of a run where ``place`` has a mesh."""
    shapes = jax.tree.map(
        lambda shape: jax.ShapeDtypeStruct(shape, jnp.float32),
        model.parameter_shapes(decoder),
        is_leaf=lambda leaf: isinstance(leaf, tuple),
    )
    return shapes if place is None else place.shapes(shapes, place.weights(decoder))


def _rollout(config: RlvrConfig, form: Base, longest: int, answer: int, place: Placement) -> Any:
    """What decoding holds of the answers that are decoded side by side, on one device."""
    wanted = config.rollout
    problems = gathering.block(wanted.prompts, wanted.samples, wanted.rows, place.parts) // place.parts
    return decoded(form, gathering.sampled_in(config), problems, wanted.samples, longest, answer)


def _judged(config: RlvrConfig, form: Base, longest: int, answer: int, place: Placement) -> Any:
    wanted = config.evaluation
    most = max(wanted.problems * wanted.samples, wanted.monitor_problems * wanted.monitor_samples)
    rows = evaluation.rows(wanted.rows, form.decoder, longest + answer, config.dtype)
    return decoded(form, config.dtype, -(-min(rows, most) // place.parts), 1, longest, answer)


def decoded(form: Base, dtype: str, prompts: int, samples: int, longest: int, answer: int) -> Any:
    """The state of decoding ``samples`` answers to each of ``prompts``, of these lengths in tokens, as shapes.

    Caches, tokens and what is known of them, on one device and for one set of weights.
    """
    words, whole = form.words, jax.ShapeDtypeStruct
    sampling = decoding.Sampling(max_tokens=answer, ends=tuple(words.ends), pad=words.pad, vocab=words.vocab_size)
    params = jax.tree.map(lambda leaf: whole(leaf.shape, jnp.dtype(dtype)), weights(form.decoder))
    asked = Prompts(whole((prompts, longest), jnp.int32), whole((prompts,), jnp.int32))
    rows = whole((1, samples * prompts), jnp.int32)

    def begin(params: Any, asked: Prompts, rows: Any) -> Any:
        return decoding.begin(form.decoder, Clean(params), asked, rows, jax.random.key(0), jnp.float32(1.0), sampling)

    return jax.eval_shape(begin, params, asked, rows)
