"""The update: clean log-probs, corrected loss, gradient step; the noisy policy enters through its log-probs alone.

Or, where the estimator says so, the gradient at the perturbed weights themselves, which needs no correction, or that
of an evolution strategy (:mod:`jaxpsn.rlvr.evolving`), which needs no derivative.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jax import lax
from jaxtyping import Array, PRNGKeyArray

from jaxpsn.core import compat
from jaxpsn.core.components import terms_of
from jaxpsn.lm import lora, packing, policies, scoring
from jaxpsn.lm.config import DecoderConfig
from jaxpsn.lm.sampler import Prompts
from jaxpsn.noise import Posterior
from jaxpsn.rlvr import evolving, rollout
from jaxpsn.rlvr.config import AlgorithmConfig, RlvrConfig
from jaxpsn.rlvr.exploration.perturbation import Perturbation
from jaxpsn.rlvr.objective import correction, diagnostics, losses, overlong
from jaxpsn.rlvr.objective.corrections import Correction, NoGate
from jaxpsn.rlvr.objective.gating import Seen
from jaxpsn.rlvr.objective.tokens import token_mask
from jaxpsn.rlvr.placement import Placement
from jaxpsn.rlvr.rollout import CLEAN, Answers

ADAPTERS = 0x4C4F5241
"""Folded into a run's key: where its adapters begin."""
LOGITS, STEPS = 1024, 128
"""Where the vocabulary is large: tokens whose logits exist at once on a device, and of each text at most."""
EACH = 16
"""Perturbations of a step that are reported one by one; of more only the spread."""


@struct.dataclass
class Batch:
    """What one update learns from: G answers to each of P problems, T tokens at most."""

    prompts: Any  # Prompts of P problems
    answers: Any  # Answers, [G, P, ...]
    advantages: Any  # [G, P] float32
    old: Any = None  # [G, P, T] float32, clean log-probs before the first update; None: those of the current policy
    reference: Any = None  # [G, P, T] float32, log-probs of the starting policy; None without a KL term
    seed: Any = None  # the run's key and the step, of which the perturbations are a function; None but where learnt at


class Learner(NamedTuple):
    """The update of one config; ``params`` and ``memory`` (of the optimiser) are float32."""

    config: RlvrConfig
    decoder: DecoderConfig
    settings: losses.Settings
    optimiser: optax.GradientTransformation
    vocab: int
    """Real tokens; a table may be padded beyond them."""
    place: Placement
    noise: Perturbation | None = None
    """The perturbation of the rollouts."""

    def scores(
        self,
        params: Any,
        prompts: Prompts,
        tokens: Any,
        lengths: Any,
        pieces: int = 1,
        perturbed: tuple[Any, Any] | None = None,
        frozen: Any = None,
    ) -> scoring.Scores:
        """A policy's view of answers at the sampling temperature, in ``pieces`` of problems one by one.

        The clean policy's; of ``perturbed``, a draw and the sigmas of its members, each answer by the member that gave
        it, differentiable in the clean weights; ``frozen``: what ``params`` are the adapters of. With a token budget
        the pieces are those of :mod:`jaxpsn.lm.packing`.
        """
        if self.config.algorithm.token_budget:
            return self._packed(params, prompts, tokens, lengths, perturbed, frozen)
        params = self.place.working(self.decoder, self.whole(params, frozen), self.config.dtype)
        policy = policies.Clean(params, tokens.shape[0])
        if perturbed is not None:
            policy = self.noise.policy(params, *perturbed)
        temperature = jnp.float32(self.config.rollout.temperature)

        def view(part: tuple[Prompts, Array, Array]) -> scoring.Scores:
            given = part if perturbed is None else rollout.of_members(policy.members, *part)
            chunk = min(STEPS, self._tokens(part[2].size))
            found = scoring.score(
                self.decoder, policy, *given, temperature, remat=self.config.remat, chunk=chunk, vocab=self.vocab
            )
            # As the answers stand: [members, repeats * P, ...] is [G, P, ...].
            return jax.tree.map(lambda leaf: leaf.reshape(*part[2].shape, *leaf.shape[2:]), found)

        if pieces == 1:
            return view((prompts, tokens, lengths))
        # Each piece is recomputed in the backward pass: one piece's activations at a time. Its problems are every
        # pieces-th, so that on a mesh all devices have a share of it.
        cut = jax.tree.map(lambda leaf: jnp.moveaxis(leaf.reshape(-1, pieces, *leaf.shape[1:]), 1, 0), prompts)
        each = [
            jnp.moveaxis(leaf.reshape(leaf.shape[0], -1, pieces, *leaf.shape[2:]), 2, 0) for leaf in (tokens, lengths)
        ]
        found = lax.map(jax.checkpoint(view), (cut, *each))
        return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, 2).reshape(leaf.shape[1], -1, *leaf.shape[3:]), found)

    def _packed(
        self, params: Any, prompts: Prompts, tokens: Any, lengths: Any, perturbed: Any, frozen: Any
    ) -> scoring.Scores:
        """The view of :meth:`scores`, of texts sorted by length; a member's pieces hold its own answers."""
        temperature, limit = jnp.float32(self.config.rollout.temperature), tokens.shape[-1]
        members = 1 if perturbed is None else self.noise.members
        texts = packing.joined(*rollout.of_members(members, prompts, tokens, lengths))
        at_once = self._tokens(members)

        def view(trained: Any, rest: tuple[Any, Any], part: packing.Texts) -> scoring.Scores:
            frozen, perturbed = rest
            weights = self.place.working(self.decoder, self.whole(trained, frozen), self.config.dtype)
            policy = policies.Clean(weights) if perturbed is None else self.noise.policy(weights, *perturbed)
            given = self.decoder, policy, part.tokens, part.lengths, part.first, limit, temperature
            return scoring.score_texts(*given, remat=self.config.remat, chunk=at_once, vocab=self.vocab)

        budget = self.config.algorithm.token_budget
        cut = packing.plan(budget, members, texts.tokens.shape[1], prompts.tokens.shape[1] + limit)
        found = packing.scores(view, cut, params, (frozen, perturbed), texts)
        return jax.tree.map(lambda leaf: leaf.reshape(*lengths.shape, *leaf.shape[2:]), found)

    def places(self) -> tuple[Any, ...]:
        """Shardings of weights, prompts, tokens and lengths."""
        return self.place.weights(self.decoder), self.place.rows(), self.place.answers(), self.place.answers()

    def log_probs(self, params: Any, prompts: Prompts, tokens: Any, lengths: Any) -> Array:
        """Log-probs [G, P, T] of a whole step's answers, no more of them at once than in an update."""
        return self.scores(params, prompts, tokens, lengths, self._pieces).log_probs

    def pooled(self, params: Any, prompts: Prompts, tokens: Any, lengths: Any) -> Array:
        """Mean hidden states [G, P, d] of answers, likewise."""
        return self.scores(params, prompts, tokens, lengths, self._pieces).pooled

    @property
    def _pieces(self) -> int:
        return self.config.algorithm.mini_batches * self.config.algorithm.micro_batches

    def _tokens(self, count: int) -> int:
        """Tokens of each of ``count`` texts, or members, whose logits exist at once; 0: of a small vocabulary all."""
        if self.decoder.vocab_size <= 4096:
            return 0
        return max(1, LOGITS * (1 if self.place.mesh is None else self.place.mesh.size) // count)

    def whole(self, trained: Any, frozen: Any) -> Any:
        """The weights that passes take: what is trained, or with LoRA the adapters on the ``frozen`` weights."""
        adapted = self.config.lora.rank and frozen is not None
        return lora.joined(frozen, trained, self.config.lora.scale) if adapted else trained

    def update(self, params: Any, memory: Any, batch: Batch, frozen: Any = None) -> tuple[Any, Any, dict[str, Array]]:
        """One gradient step; metrics are those of the loss and ``grad_norm``.

        ``params`` are what is trained: with LoRA adapters of the ``frozen`` weights, of which no gradient is taken.

        With them come the columns of :meth:`mismatch` where this is the step's only update; of several updates each
        sees a share of the answers, and a mean of their means would not be the mean over all tokens. An update of which
        the gate drops every token is skipped, the optimiser's memory included: ``skipped`` is 1.
        """
        if self.config.algorithm.estimator == "evolution":
            return evolving.update(self, params, memory, batch)
        answers, algorithm = batch.answers, self.config.algorithm
        mask = token_mask(answers.lengths, answers.tokens.shape[-1])
        counted = overlong.drop_truncated(mask, answers.ended) if algorithm.overlong == "mask" else mask
        given = batch.prompts, answers.tokens, answers.lengths
        first, perturbed = batch.old is None, self.perturbed(batch)

        def objective(weights: Any) -> tuple[Array, Any]:
            scores = self.scores(weights, *given, algorithm.micro_batches, perturbed, frozen)
            later = batch.old if perturbed is None else answers.log_probs
            old = lax.stop_gradient(scores.log_probs) if first else later
            seen = Seen(old, answers.log_probs, mask, batch.advantages)
            shares = correction.weights(self._correction, *seen)
            learnt = counted & correction.learnt(self._correction, seen)
            loss, metrics = losses.policy_loss(
                scores.log_probs, old, batch.advantages, learnt, shares, self.settings, batch.reference, scores.entropy
            )
            return loss, (metrics, old)

        drawn_from = params if perturbed is None else self.noise.weights(params, memory)
        gradient, (metrics, old) = jax.grad(objective, has_aux=True)(drawn_from)
        metrics["ppo_ratio"] = metrics.pop("ratio_mean")  # the correction has ratios of its own
        if first:
            clean = old if perturbed is None else self.log_probs(self.whole(params, frozen), *given)
            metrics |= self.mismatch(clean, answers, batch.advantages)
        with compat.foreign():
            metrics |= measured(drawn_from, gradient)
            change, moved = self.optimiser.update(gradient, memory, params)
            after = optax.apply_updates(params, change), moved
        if not self.gated:
            return *after, metrics
        some = jnp.any(correction.kept(self._correction, Seen(old, answers.log_probs, counted, batch.advantages)))
        metrics["skipped"] = 1.0 - some.astype(jnp.float32)
        params, memory = jax.tree.map(lambda new, was: jnp.where(some, new, was), after, (params, memory))
        return params, memory, metrics

    def perturbed(self, batch: Batch) -> tuple[Any, Any] | None:
        """The draw of the rollouts, made again, and the sigmas of its members; None where learning is clean.

        E over draws of the gradient at the perturbed weights is the gradient of the smoothed objective
        ``E_eps J(theta + eps)``: every answer is on-policy for the member that gave it, and nothing is to be weighed.
        """
        if self.config.algorithm.estimator == "clean":
            return None
        sigmas = batch.answers.sigma.reshape(self.noise.members, -1)[:, 0]
        return self.noise.draw(*batch.seed), sigmas

    @property
    def gated(self) -> bool:
        """Whether tokens may be dropped for the noise of the sampler."""
        return not all(isinstance(gate, NoGate) for gate in terms_of(self.config.algorithm.correction.gate))

    @property
    def _correction(self) -> Correction:
        return self.config.algorithm.correction.aimed(self.config.sigma.divergence)

    def mismatch(self, old: Array, answers: Answers, advantages: Array) -> dict[str, Array]:
        """How far the sampler was from the clean policy, over all tokens and for each perturbation.

        ``old`` are the clean policy's log-probs [G, P, T] before the first update, ``advantages`` [G, P].
        """
        members, mask = self.config.members, token_mask(answers.lengths, answers.tokens.shape[-1])
        noisy = jnp.broadcast_to((answers.member != CLEAN)[:, None], answers.lengths.shape)
        given = self._correction, old, answers.log_probs, mask
        columns = correction.diagnostics(*given, noisy=noisy, advantages=advantages)
        columns |= diagnostics.mismatch_columns(old, answers.log_probs, mask)
        if 1 < members <= EACH:
            for index in range(members):
                own = jnp.broadcast_to((answers.member == index)[:, None], answers.lengths.shape)
                each = correction.of_member(*given, own, advantages)
                columns |= {f"{name}_member_{index:02}": value for name, value in each.items()}
        return columns


def pieces(batch: Batch, count: int) -> list[Batch]:
    """The batch cut into ``count`` shares of its problems."""
    if count == 1:
        return [batch]
    size = batch.advantages.shape[1] // count

    def share(index: int) -> Batch:
        here = slice(index * size, (index + 1) * size)
        wide = batch.answers.replace(member=None, sigma=None)
        kept = jax.tree.map(lambda leaf: leaf[:, here], batch.replace(prompts=None, answers=wide, seed=None))
        kept = kept.replace(prompts=jax.tree.map(lambda leaf: leaf[here], batch.prompts), seed=batch.seed)
        return kept.replace(answers=kept.answers.replace(member=batch.answers.member, sigma=batch.answers.sigma))

    return [share(index) for index in range(count)]


def trained(config: RlvrConfig, decoder: DecoderConfig, params: Any) -> Any:
    """The tree that a run trains: that of ``params``, or with LoRA of its adapters, as shapes."""
    asked = config.lora
    return lora.as_shapes(decoder, asked.rank, asked.targets) if asked.rank else params


def adapters(config: RlvrConfig, decoder: DecoderConfig, key: PRNGKeyArray) -> Any:
    """The adapters that a run of ``key`` begins with; they change nothing yet."""
    return lora.init(decoder, config.lora.rank, config.lora.targets, jax.random.fold_in(key, ADAPTERS))


def own_groups(config: RlvrConfig) -> int:
    """Pieces of a group in which answers are compared: a member's own where each has an objective of its own."""
    return max(config.members, 1) if config.algorithm.estimator == "smoothed" else 1


def make(
    config: RlvrConfig,
    decoder: DecoderConfig,
    limit: int,
    vocab: int,
    place: Placement,
    noise: Perturbation | None = None,
) -> Learner:
    """The learner of a config; ``limit`` is the longest answer in tokens, ``vocab`` the number of real tokens.

    ``noise`` is that of the rollouts, for an estimator that learns at the perturbed weights.
    """
    algorithm = config.algorithm
    settings = losses.Settings(
        loss=algorithm.loss,
        length=limit,
        kl_estimator=algorithm.kl_estimator,
        kl_coefficient=algorithm.kl_coefficient,
        kl_weight=algorithm.kl_weight,
        entropy_target=algorithm.entropy_target,
        top_entropy=algorithm.top_entropy,
        entropy_coefficient=algorithm.entropy_coefficient,
    )
    return Learner(config, decoder, settings, _optimiser(algorithm, noise), vocab, place, noise)


def measured(weights: Any, gradient: Any) -> dict[str, Array]:
    """The gradient's norm; where scales are learnt that to the means, and the root mean square of the scales."""
    if not isinstance(weights, Posterior):
        return {"grad_norm": optax.tree.norm(gradient)}
    entries = sum(leaf.size for leaf in weights.scale.values())
    deviation = optax.tree.norm(weights.scale) / np.sqrt(np.float32(entries))
    return {"grad_norm": optax.tree.norm(gradient.mean), "posterior_std": deviation}


def _optimiser(algorithm: AlgorithmConfig, noise: Perturbation | None) -> optax.GradientTransformation:
    """AdamW behind a bound on the gradient's norm, or what the noise brings; the rate rises linearly, then stays."""
    rate = optax.linear_schedule(
        algorithm.learning_rate / (algorithm.warmup + 1), algorithm.learning_rate, algorithm.warmup
    )
    if noise is not None and noise.learnt is not None:
        return noise.learnt.optimizer(rate, algorithm.grad_clip, noise.spec)
    return optax.chain(
        optax.clip_by_global_norm(algorithm.grad_clip),
        optax.adamw(rate, b2=0.95, weight_decay=algorithm.weight_decay),
    )
