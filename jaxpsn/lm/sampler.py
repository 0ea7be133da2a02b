"""Sampling completions: one compiled call, and a host-side sampler for hundreds of samples a prompt."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Int, PRNGKeyArray

from jaxpsn.core import checks
from jaxpsn.core.errors import refuse
from jaxpsn.lm import decoding
from jaxpsn.lm.config import DecoderConfig
from jaxpsn.lm.decoding import Sampling as Sampling
from jaxpsn.lm.policies import Clean, Policy
from jaxpsn.lm.prompts import BUCKET
from jaxpsn.lm.prompts import Prompts as Prompts

# A batch shrinks by halves, at most this often: each size is a program of its own, and a small batch saves little.
_HALVINGS = 3


@struct.dataclass
class Samples:
    """Completions of M members to R prompts, and what was known of each token when it was drawn.

    The first ``lengths`` tokens of a row are its completion, the end token included; what follows is filler (zero in
    the float arrays). The last three are None unless ``Sampling.indicators``.
    """

    tokens: Any  # i32[M, R, T]
    log_probs: Any  # f32[M, R, T]: under the distribution drawn from (temperature, top-p, top-k, renormalised)
    lengths: Any  # i32[M, R]
    ended: Any  # bool[M, R]: false where max_tokens cut it
    entropy: Any  # f32[M, R, T]: of that distribution, nats
    certainty: Any  # f32[M, R]: mean KL(U || p) over the row's tokens, before top-p and top-k
    confidence: Any  # f32[M, R]: mean KL(p || U) = log V - H, likewise
    pooled: Any  # f32[M, R, hidden]: mean final hidden state of the generated tokens


def _samples(state: decoding.State) -> Samples:
    """What a state holds of its rows."""
    certainty = confidence = pooled = None
    if state.sums is not None:
        count = jnp.maximum(state.lengths, 1).astype(jnp.float32)
        certainty, confidence = state.sums.certainty / count, state.sums.confidence / count
        pooled = state.sums.pooled / count[..., None]
    return Samples(
        state.tokens, state.log_probs, state.lengths, ~state.open, state.entropy, certainty, confidence, pooled
    )


def sample(
    config: DecoderConfig,
    policy: Policy,
    prompts: Prompts,
    rows: Int[Array | np.ndarray, "members rows"],
    key: PRNGKeyArray,
    temperature: Any,
    sampling: Sampling,
) -> Samples:
    """Every member's completion of every prompt; jittable with ``config`` and ``sampling`` static.

    ``rows`` are global row ids, not negative: token t of row i is drawn with ``fold_in(fold_in(key, i), t)``, so the
    tokens do not depend on how rows are laid out or cut into calls. ``temperature`` is a traced scalar; at 0 the most
    likely token is taken, and ``log_probs`` and ``entropy`` are those at temperature 1 (of a point mass they would say
    nothing). Decoding stops when all rows have ended.

    With ``rows`` of k R columns each member answers each of the R prompts k times: column c is an answer to prompt
    ``c % R``. However many the answers, a prompt is read once per member (once in all if the policy is clean).
    """
    decoding.check(config, sampling)
    members, count = policy.members, prompts.tokens.shape[0]
    if rows.shape[0] != members or not rows.shape[1] or rows.shape[1] % count:
        refuse("rows", rows.shape, f"[{members} members, {count} prompts or a multiple of them]")
    temperature = jnp.asarray(temperature, jnp.float32)
    rows = jnp.asarray(rows, jnp.int32)
    # Clean members could be folded into the rows, but no partitioner keeps the prompts of a mesh apart through that.
    state = decoding.begin(config, policy, prompts, rows, key, temperature, sampling)
    stop = jnp.int32(sampling.max_tokens)
    return _samples(decoding.advance(config, policy, state, key, temperature, sampling, stop))


_begin = jax.jit(decoding.begin, static_argnums=(0, 6))
_advance = jax.jit(decoding.advance, static_argnums=(0, 5), donate_argnums=2)
_kept = jax.jit(decoding.kept)
_read = jax.jit(_samples)


class _Collected:
    """Finished rows on the host, ``[samples * prompts, ...]``; allocated when the first come in."""

    def __init__(self, count: int) -> None:
        self.count, self.arrays = count, None

    def put(self, found: Samples, place: np.ndarray, leaving: np.ndarray) -> None:
        """Take the rows of ``found`` that are ``leaving``, each to its ``place``."""
        found = jax.tree.map(np.asarray, found)
        if self.arrays is None:
            self.arrays = jax.tree.map(lambda x: np.zeros((self.count, *x.shape[2:]), x.dtype), found)

        def write(array, value):
            array[place[leaving]] = value[leaving]

        jax.tree.map(write, self.arrays, found)


class Sampler:
    """Many samples a prompt, cut into batches of at most ``max_rows`` rows; the tokens are those of :func:`sample`.

    Prompts of similar length share a batch, each read once per member. Every ``segment`` tokens the rows that have
    ended leave the batch once it can be halved, so that one long answer does not hold up a thousand short ones; each
    size is compiled once. A batch has at least one row of each member. ``row_steps`` counts the rows times steps
    decoded since construction: over the sum of lengths it says what is wasted.
    """

    def __init__(self, config: DecoderConfig, sampling: Sampling, max_rows: int = 1024, segment: int = 64) -> None:
        checks.whole("max_rows", max_rows, 1)
        checks.whole("segment", segment, 1)
        decoding.check(config, sampling)
        self.config, self.sampling, self.max_rows, self.segment = config, sampling, max_rows, segment
        self.row_steps = 0

    def __call__(
        self,
        policy: Policy,
        prompts: Prompts,
        key: PRNGKeyArray,
        temperature: float,
        samples: int | None = None,
        rows: Int[Array | np.ndarray, "samples prompts"] | None = None,
    ) -> Samples:
        """``samples`` completions of every prompt, as NumPy arrays ``[samples, prompts, ...]``.

        Sample s comes from member ``s % members``; None takes one of each member. ``rows`` are the global row ids, by
        default ``s * prompts + r``, so that who asks for more samples keeps those they have. Refuses prompts that leave
        no room for ``max_tokens`` in the decoder's positions, and a negative temperature.
        """
        samples = policy.members if samples is None else samples
        # Clean members are all alike, so one of them answers for all and its rows may leave in any order.
        policy = Clean(policy.params) if isinstance(policy, Clean) else policy
        members, count = policy.members, len(prompts.tokens)
        checks.whole("samples", samples, 1)
        if samples % members:
            refuse("samples", samples, f"a multiple of the policy's {members} members")
        checks.real("temperature", float(temperature), 0.0)
        tokens, lengths = np.asarray(prompts.tokens, np.int32), np.asarray(prompts.lengths, np.int32)
        self._check(tokens, lengths)
        if rows is None:
            rows = np.arange(samples * count).reshape(samples, count)
        rows = np.asarray(rows, np.int32)
        if rows.shape != (samples, count) or rows.min() < 0:
            refuse("rows", rows.shape, f"[{samples} samples, {count} prompts], none negative")
        found = _Collected(samples * count)
        for width, chosen, repeats in self._batches(lengths, tokens.shape[1], members, samples // members):
            # Columns are [repeat, prompt].
            sample_of = repeats[None, :, None] * members + np.arange(members)[:, None, None]
            real = (repeats >= 0)[None, :, None] & (chosen >= 0)[None, None]
            place = np.where(real, sample_of * count + chosen[None, None], -1).reshape(members, -1)
            read = np.where(chosen >= 0, chosen, chosen[0])
            packed = Prompts(tokens[read][:, tokens.shape[1] - width :], lengths[read])
            ids = np.where(place >= 0, rows.reshape(-1)[place], -1).astype(np.int32)
            self._batch(policy, packed, ids, place, key, jnp.float32(temperature), found)
        return jax.tree.map(lambda x: x.reshape(samples, count, *x.shape[1:]), found.arrays)

    def _check(self, tokens: np.ndarray, lengths: np.ndarray) -> None:
        """Refuse prompts that do not fit."""
        room = self.config.max_positions - self.sampling.max_tokens
        for index, length in enumerate(lengths.tolist()):
            if not 1 <= length <= tokens.shape[1]:
                refuse(f"prompts[{index}]", f"length {length}", f"from 1 to the width {tokens.shape[1]}")
            if length > room:
                positions = f"{self.config.max_positions} positions less {self.sampling.max_tokens} new tokens"
                refuse(f"prompts[{index}]", f"{length} tokens", f"at most {room}, the decoder's {positions}")

    def _batches(
        self, lengths: np.ndarray, widest: int, members: int, repeats: int
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Width, prompts and repeats of every batch (-1 is filler); batches of one width have one shape."""
        widths = np.minimum(-(-lengths // BUCKET) * BUCKET, widest)
        rounds = _even(np.arange(repeats), self.max_rows // members)
        for width in np.unique(widths):
            chosen = np.flatnonzero(widths == width)
            for part in _even(chosen, self.max_rows // (members * rounds.shape[1])):
                for some in rounds:
                    yield int(width), part, some

    def _batch(
        self,
        policy: Policy,
        prompts: Prompts,
        rows: np.ndarray,
        place: np.ndarray,
        key: PRNGKeyArray,
        temperature: Array,
        found: _Collected,
    ) -> None:
        """Decode one batch in segments; column c of member m goes to ``place[m, c]`` of ``found`` (-1: nowhere)."""
        steps, step = self.sampling.max_tokens, 1
        smallest = -(-place.shape[1] // (1 << _HALVINGS))
        state = _begin(self.config, policy, prompts, rows, key, temperature, self.sampling)
        while True:
            stop = jnp.int32(min(step + self.segment, steps))
            state = _advance(self.config, policy, state, key, temperature, self.sampling, stop)
            self.row_steps += (int(state.step) - step) * place.size
            step, still = int(state.step), np.asarray(state.open)
            if step == steps or not still.any():
                return found.put(_read(state), place, place >= 0)
            size = place.shape[1]
            while -(-size // 2) >= max(still.sum(axis=1).max(), smallest) and size > 1:
                size = -(-size // 2)
            if size < place.shape[1]:
                found.put(_read(state), place, (place >= 0) & ~still)
                columns = np.argsort(~still, axis=1, kind="stable")[:, :size].astype(np.int32)
                state = _kept(state, columns)
                place = np.take_along_axis(np.where(still, place, -1), columns, axis=1)


def _even(items: np.ndarray, most: int) -> np.ndarray:
    """``items`` in rows of one length, at most ``most`` (but at least 1), filled up with -1 as little as can be."""
    parts = -(-len(items) // max(1, most))
    each = -(-len(items) // parts)
    return np.concatenate([items, np.full(parts * each - len(items), -1)]).reshape(parts, each)
