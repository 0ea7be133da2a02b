"""A rollout engine for tunix that samples from perturbed weights and puts the clean ones back."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import AxisType
from tunix.rl import common
from tunix.rl.rollout import base_rollout, vanilla_rollout

from jaxpsn.adapters.tunix.perturbation import Perturbation, replaced
from jaxpsn.core import compat, errors


class Order(NamedTuple):
    """What the engine samples from while it stands: the policies of one step, and where in the step it goes on.

    ``members[c]`` is the perturbation of answer c of each group, -1 for the clean policy; rows come group by group.
    ``key`` is the sampler's, of this step; ``start`` the number of rows that the step has had so far.
    """

    members: tuple[int, ...]
    key: Any
    step: int = 0
    sigma: Any = 0.0
    perturbation: Perturbation | None = None
    start: int = 0


class Answers(NamedTuple):
    """Sampled answers in the order of the prompts, as NumPy arrays."""

    tokens: Any  # [rows, T] int32, padded
    lengths: Any  # [rows], the end token included
    log_probs: Any  # [rows, T] float32 of the policy that sampled, at the sampling temperature
    noisy: Any  # [rows] bool: by a perturbed policy


class PSNRollout(vanilla_rollout.VanillaRollout):
    """tunix's own sampler on weights ``theta + sigma * eps`` within :meth:`sampling`; outside of it, on ``theta``.

    Give the class itself as ``ClusterConfig.rollout_engine``. The weights that the trainer holds are never written
    to, and nothing compiles again. Raises UserError for a model or a mesh on which tunix would go wrong.
    """

    def __init__(self, rollout_actor: nnx.Module, tokenizer: Any, mesh: Any, rollout_config: Any):
        check_model(rollout_actor)
        check_mesh(mesh)
        shape = rollout_actor.config
        cache = base_rollout.CacheConfig(
            cache_size=rollout_config.kv_cache_size,
            num_layers=shape.num_layers,
            num_kv_heads=shape.num_kv_heads,
            head_dim=shape.head_dim,
        )
        super().__init__(rollout_actor, tokenizer, cache)
        self._temperature = float(rollout_config.temperature)
        self._order: Order | None = None
        self._drawn: list[Answers] = []
        self._last: Any = None
        decode = self._sampler._compiled_decode_fn

        def kept(params: Any, state: Any) -> Any:
            self._last = decode(params, state)
            return self._last

        # The sampler's own answers lack their end tokens; its buffers, which it gives to no one, have them.
        self._sampler._compiled_decode_fn = kept

    @contextlib.contextmanager
    def sampling(self, order: Order) -> Iterator[list[Answers]]:
        """Sample by ``order`` until the block ends; the list holds the answers of each call of :meth:`generate`."""
        self._order, self._drawn = order, []
        try:
            yield self._drawn
        finally:
            self._order = None

    def generate(self, prompts: list[str], rollout_config: Any, **kwargs: Any) -> Any:
        """Answers to ``prompts``, in their order; by tunix itself where no order stands."""
        if self._order is None:
            with compat.foreign():
                return super().generate(prompts, rollout_config, **kwargs)
        self._check_prompts(prompts, rollout_config.max_prompt_length)
        order, first = self._order, self._order.start + sum(len(drawn.lengths) for drawn in self._drawn)
        members = np.asarray(order.members)[(first + np.arange(len(prompts))) % len(order.members)]
        found, parts, places = [], [], []
        for member in sorted(set(members.tolist())):
            rows = np.flatnonzero(members == member)
            # Folded by what the call is for, never by how many calls there were.
            key = jax.random.fold_in(jax.random.fold_in(order.key, first), member + 1)
            asked = dataclasses.replace(rollout_config, seed=key, return_logprobs=True)
            with self._weights(order, member), compat.foreign():
                found.append(super().generate([prompts[row] for row in rows], asked, **kwargs))
            parts.append(self._answers(found[-1], asked, member))
            places.append(rows)
        back = np.argsort(np.concatenate(places))
        answers = Answers(*(np.concatenate(column)[back] for column in zip(*parts, strict=True)))
        self._drawn.append(answers)
        return _output(found, answers, back)

    def get_per_token_logps(self, prompt_tokens: Any, completion_tokens: Any) -> Any:
        """Log-probs of answers under the clean weights, float32 ``[rows, T]``, at the sampling temperature."""
        graph, state = self._sampler.model_def_and_state()
        with compat.foreign():
            scores = common.compute_per_token_logps(
                graph,
                state,
                prompt_tokens=prompt_tokens,
                completion_tokens=completion_tokens,
                pad_id=self.pad_id(),
                eos_id=self.eos_id(),
                temperature=self._temperature,
            )
        return scores.astype(jnp.float32)

    @contextlib.contextmanager
    def _weights(self, order: Order, member: int) -> Iterator[None]:
        if member < 0 or order.perturbation is None:
            yield
            return
        clean = self._sampler.transformer_state
        noisy = replaced(clean, lambda params: order.perturbation.weights(params, order.step, member, order.sigma))
        try:
            self._sampler.transformer_state = noisy
            yield
        finally:
            self._sampler.transformer_state = clean

    def _check_prompts(self, prompts: list[str], most: int) -> None:
        """Refuse what tunix would pad to a width of each call's own."""
        longest = max(len(self._sampler.tokenize(prompt)) for prompt in set(prompts))
        if longest > most:
            errors.refuse("max_prompt_length", most, f"at least {longest}, the tokens of the longest prompt")

    def _answers(self, output: Any, asked: Any, member: int) -> Answers:
        """The answers of the last call, with the end tokens that ``output`` lacks."""
        width = output.left_padded_prompt_tokens.shape[1]
        tokens, log_probs = (
            np.asarray(buffer)[:, width:] for buffer in (self._last.token_buffer, self._last.logprobs_buffer)
        )
        self._last = None
        ends = np.isin(tokens, asked.eos_tokens or [self.eos_id()])
        lengths = np.where(ends.any(axis=1), np.argmax(ends, axis=1) + 1, tokens.shape[1])
        beyond = np.arange(tokens.shape[1]) >= lengths[:, None]
        tokens = np.where(beyond, self.pad_id(), tokens)
        return Answers(tokens, lengths, np.where(beyond, 0.0, log_probs), np.full(len(lengths), member >= 0))


def _output(found: list[Any], answers: Answers, back: Any) -> Any:
    """What tunix expects of a rollout."""
    texts = [text for output in found for text in output.text]
    rows = list(zip(answers.tokens, answers.log_probs, answers.lengths, strict=True))
    return base_rollout.RolloutOutput(
        text=[texts[place] for place in back],
        logits=[],
        tokens=[tokens[:length] for tokens, _, length in rows],
        left_padded_prompt_tokens=np.concatenate([output.left_padded_prompt_tokens for output in found])[back],
        logprobs=[log_probs[:length] for _, log_probs, length in rows],
    )


def check_model(model: Any) -> None:
    """Refuse a model that tunix computes wrongly."""
    if type(model).__module__.startswith("tunix.models.llama"):
        allowed = "Qwen2 or Qwen3; tunix 0.1.7 drops Llama's rope_theta and scaling, so its text is another model's"
        errors.refuse("actor", type(model).__name__, allowed)


def check_mesh(mesh: Any) -> None:
    """Refuse explicit mesh axes, with which tunix's embedding look-up fails."""
    if any(kind != AxisType.Auto for kind in mesh.axis_types):
        allowed = "jax.make_mesh(shape, names, axis_types=(AxisType.Auto,) * len(names))"
        errors.refuse("role_to_mesh", str(mesh.axis_types), allowed)


def check_sampling(config: Any) -> None:
    """Refuse to train on answers that are not drawn from the whole distribution, as their weights would be wrong."""
    if config.top_p != 1.0:  # None is greedy decoding
        errors.refuse("top_p", config.top_p, "1.0 in training, or the weights are off by the mass that is cut")
    if config.top_k is not None and config.top_k > 0:
        errors.refuse("top_k", config.top_k, "None in training, or the weights are off by the mass that is cut")
    if not config.temperature > 0.0:
        errors.refuse("temperature", config.temperature, "above 0 in training")
