"""What a reasoning experiment is made of, as frozen dataclasses that check themselves."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from jaxpsn.core import checks, errors
from jaxpsn.core.components import Sum, called, spec_of
from jaxpsn.rlvr.base_config import DecoderSize as DecoderSize
from jaxpsn.rlvr.base_config import LoraConfig as LoraConfig
from jaxpsn.rlvr.base_config import PretrainConfig as PretrainConfig
from jaxpsn.rlvr.exploration.noise_family import NOISES, Noise
from jaxpsn.rlvr.objective.algorithms import (
    ADVANTAGES,
    LOSSES,
    Advantage,
    Group,
    Loss,
    Ppo,
)
from jaxpsn.rlvr.objective.corrections import CORRECTIONS, Correction, Token, Uncorrected
from jaxpsn.rlvr.template import TemplateConfig
from jaxpsn.tasks import file_task, files, rewards
from jaxpsn.tasks.countdown import Countdown
from jaxpsn.tasks.problem import TASKS, Procedural


@dataclass(frozen=True)
class RolloutConfig:
    """How many answers are drawn in a step, and how."""

    prompts: int = 32
    """Problems in one step."""
    samples: int = 16
    """Answers to each problem (the group size G)."""
    max_prompt: int | None = None
    """Longest prompt in tokens; longer problems are left out of a file. None: what the task needs."""
    max_tokens: int | None = None
    """Longest answer in tokens. None: what the task needs."""
    temperature: float = 1.0
    """Sampling temperature; top-p and top-k belong to the evaluation alone."""
    rows: int = 0
    """Answers decoded side by side, to bound the memory of their caches; 0 for all of a step. Changes no answer."""
    segment: int = 0
    """Tokens between compactions, in which ended answers leave the batch; 0 decodes in one piece (as on a mesh)."""
    refills: int = 0
    """Dynamic sampling (DAPO): up to this many further batches of problems replace all-equal groups."""
    pool: int = 0
    """Generated problems that are asked again and again, in a new order each time; 0 for fresh ones for ever."""
    gate: Literal["none", "unsolved"] = "none"
    """Which problems of a file or pool are asked: all, or those that no answer has solved so far (arXiv 2606.15455);
    solved ones only where too few others are left."""
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """Dtype of the weights in sampling alone; left out, that of training. Log-probs of a sampler in float16 are closer
    to those in float32 than bfloat16's (arXiv 2510.26788); what is left the correction weighs, as it does noise."""

    def __post_init__(self) -> None:
        checks.whole("rollout.prompts", self.prompts, 1, 1 << 20)
        checks.whole("rollout.samples", self.samples, 1, 1 << 16)
        for name in ("max_prompt", "max_tokens"):
            if getattr(self, name) is not None:
                checks.whole(f"rollout.{name}", getattr(self, name), 1, 1 << 20)
        checks.real("rollout.temperature", self.temperature, 0.0, 100.0, open_low=True)
        for name in ("rows", "segment"):
            checks.whole(f"rollout.{name}", getattr(self, name), 0, 1 << 20)
        checks.whole("rollout.refills", self.refills, 0, 1000)
        checks.whole("rollout.pool", self.pool, 0, 1 << 20)
        checks.choice("rollout.gate", self.gate, ("none", "unsolved"))
        if self.dtype is not None:
            checks.choice("rollout.dtype", self.dtype, ("float32", "bfloat16", "float16"))
        if 0 < self.pool < self.prompts:
            errors.refuse("rollout.pool", self.pool, f"at least the {self.prompts} prompts of a step, or 0")


@dataclass(frozen=True)
class AlgorithmConfig:
    """The GRPO family: advantage, loss, correction and the optimiser. Texts of components are made into them."""

    advantage: Advantage | str = field(default_factory=Group)
    """group (GRPO), batch, none (Dr. GRPO), leave_one_out (RLOO), pass_at_k, or one of your own."""
    loss: Loss | str = field(default_factory=Ppo)
    """ppo (ratio of each token), gspo (ratio of the sequence), cispo, reinforce, or one of your own."""
    correction: Correction | str = field(default_factory=Token)
    """Weights against the noisy sampler: none, token (TIS), sequence, geometric, or your own; each takes a gate."""
    estimator: Literal["clean", "smoothed", "pooled", "evolution"] = "clean"
    """Weights at which the gradient is taken: the clean ones; each member's own, its answers compared among themselves
    (smoothed); each member's own, all answers of a group compared (pooled); or no derivative at all, but a step towards
    the members whose answers were worth most (evolution, EGGROLL)."""
    kl_coefficient: float = 0.0
    """Weight of the KL to the starting policy; 0 skips its computation (paper's code: 0.001)."""
    kl_estimator: Literal["k1", "k2", "k3", "k1+", "k3+"] = "k3"
    """Estimator of that KL; with a plus straight-through: its value, and the gradient of k2 (verl)."""
    kl_weight: Literal["none", "ratio", "correction", "both"] = "none"
    """What a token's KL is multiplied by: its ratio (DeepSeek-V3.2), the correction's weight, or both."""
    entropy_coefficient: float = 0.0
    """Weight of the entropy bonus (paper's code: 0.001)."""
    entropy_target: float | None = None
    """Mean entropy, nats a token, below which alone the bonus counts; left out, always."""
    top_entropy: float = 1.0
    """Share of the tokens, those of highest entropy, that the policy's loss learns from (arXiv 2506.01939: 0.2)."""
    overlong: Literal["keep", "mask", "penalty"] = "keep"
    """Answers that hit the limit: kept, left out of the loss, or fined on the way there."""
    overlong_buffer: int | None = None
    """Tokens before the limit over which the fine grows to -1 (penalty alone); left out, 16."""
    learning_rate: float = 1e-4
    """AdamW rate, after a linear warm-up."""
    warmup: int = 5
    """Updates of the warm-up."""
    weight_decay: float = 0.0
    """Decoupled weight decay."""
    grad_clip: float = 1.0
    """Bound on the global norm of the gradient."""
    epochs: int = 1
    """Passes over a step's answers."""
    mini_batches: int = 1
    """Updates in a pass, each on a share of the problems."""
    micro_batches: int = 1
    """Pieces in which a gradient is computed, to save memory; the result is the same."""
    token_budget: int = 0
    """Tokens that a pass of the update holds at once, prompts and answers, in pieces of texts sorted by length: short
    ones then cost what they are. In place of micro_batches; the result is the same. 0: all at once."""

    def __post_init__(self) -> None:
        for name, family in (("advantage", ADVANTAGES), ("loss", LOSSES), ("correction", CORRECTIONS)):
            object.__setattr__(self, name, family.make(getattr(self, name), f"algorithm.{name}"))
        checks.choice("algorithm.estimator", self.estimator, ("clean", "smoothed", "pooled", "evolution"))
        if self.estimator == "evolution":
            self._check_evolution()
        if self.estimator != "clean" and self.correction != Uncorrected():
            allowed = (
                f"none with estimator = {self.estimator}, as every answer is on-policy for the member that gave it"
            )
            errors.refuse("algorithm.correction", spec_of(self.correction), allowed)
        checks.choice("algorithm.kl_estimator", self.kl_estimator, ("k1", "k2", "k3", "k1+", "k3+"))
        checks.choice("algorithm.kl_weight", self.kl_weight, ("none", "ratio", "correction", "both"))
        checks.real("algorithm.top_entropy", self.top_entropy, 0.0, 1.0, open_low=True)
        checks.choice("algorithm.overlong", self.overlong, ("keep", "mask", "penalty"))
        for name in ("kl_coefficient", "entropy_coefficient", "weight_decay"):
            checks.real(f"algorithm.{name}", getattr(self, name), 0.0, 100.0)
        checks.real("algorithm.learning_rate", self.learning_rate, 0.0, 1.0)
        checks.real("algorithm.grad_clip", self.grad_clip, 0.0, 1e6, open_low=True)
        for name in ("epochs", "mini_batches", "micro_batches"):
            checks.whole(f"algorithm.{name}", getattr(self, name), 1, 1 << 20)
        checks.whole("algorithm.token_budget", self.token_budget, 0, 1 << 30)
        if self.token_budget and self.micro_batches > 1:
            errors.refuse("algorithm.micro_batches", self.micro_batches, "1 with a token_budget, which cuts the pieces")
        checks.whole("algorithm.warmup", self.warmup, 0, 1 << 30)
        if self.overlong_buffer is not None:
            checks.whole("algorithm.overlong_buffer", self.overlong_buffer, 1, 1 << 20)
            if self.overlong != "penalty":
                errors.refuse("algorithm.overlong_buffer", self.overlong_buffer, "nothing but with overlong = penalty")
        if self.kl_estimator != "k3" and not self.kl_coefficient:
            errors.refuse("algorithm.kl_estimator", self.kl_estimator, "k3 where kl_coefficient is 0, as none is used")
        if self.kl_weight != "none" and not self.kl_coefficient:
            errors.refuse("algorithm.kl_weight", self.kl_weight, "none where kl_coefficient is 0, as there is no KL")
        if self.entropy_target is not None:
            checks.real("algorithm.entropy_target", self.entropy_target, 0.0, 100.0, open_low=True)
            if not self.entropy_coefficient:
                allowed = "nothing where entropy_coefficient is 0, as there is no bonus"
                errors.refuse("algorithm.entropy_target", self.entropy_target, allowed)

    def _check_evolution(self) -> None:
        """Refuse what only a derivative of the policy has a use for."""
        still = {"loss": Ppo(), "kl_coefficient": 0.0, "entropy_coefficient": 0.0, "top_entropy": 1.0, "epochs": 1}
        for name, allowed in (still | {"mini_batches": 1}).items():
            found = getattr(self, name)
            if found != allowed:
                told, only = (spec_of(one) if isinstance(one, Loss) else one for one in (found, allowed))
                errors.refuse(
                    f"algorithm.{name}", told, f"{only} with estimator = evolution, which takes no derivative"
                )
        if self.overlong == "mask":
            allowed = "keep or penalty with estimator = evolution, which learns from whole answers"
            errors.refuse("algorithm.overlong", self.overlong, allowed)


@dataclass(frozen=True)
class EvaluationConfig:
    """How policies are judged: unbiased pass@k of the clean policy on problems never trained on."""

    problems: int = 128
    """Problems of the full evaluation, before and after training."""
    samples: int = 256
    """Answers to each of them; the largest k."""
    monitor_problems: int = 64
    """Problems of the short evaluations on the way."""
    monitor_samples: int = 8
    """Answers to each of them."""
    temperature: float = 1.0
    """Sampling temperature."""
    top_p: float = 1.0
    """Nucleus; 1 for the whole distribution."""
    top_k: int = 0
    """Candidates; 0 for all."""
    rows: int = 0
    """Answers decoded side by side; 0 for as many as hold a gibibyte in caches and logits, and at most 1024."""
    noisy: bool = False
    """Judge the perturbed policy as well."""

    def __post_init__(self) -> None:
        for name, high in (("problems", 1 << 16), ("samples", 1 << 14)):
            checks.whole(f"evaluation.{name}", getattr(self, name), 1, high)
        checks.whole("evaluation.rows", self.rows, 0, 1 << 20)
        checks.whole("evaluation.monitor_problems", self.monitor_problems, 1, 1 << 16)
        checks.whole("evaluation.monitor_samples", self.monitor_samples, 1, 1 << 14)
        checks.real("evaluation.temperature", self.temperature, 0.0, 100.0)
        checks.real("evaluation.top_p", self.top_p, 0.0, 1.0, open_low=True)
        checks.whole("evaluation.top_k", self.top_k, 0, 1 << 20)


@dataclass(frozen=True)
class RlvrConfig:
    """One reasoning experiment: model, problems, noise, algorithm and judgement."""

    model: str | None = None
    """Hugging Face folder or GGUF file; left out, a small decoder is pre-trained on the task."""
    data: str | None = None
    """File of training problems (JSON lines or array, Parquet); left out, the procedural task makes them."""
    test_data: str | None = None
    """File of evaluation problems; left out, a tenth of `data` is held out."""
    data_kind: Literal["auto", "gsm8k", "math", "aime", "choice", "general"] = "auto"
    """How the rows of these files are read; auto looks at each row."""
    verifier: Literal["auto", "math", "integer", "exact", "choice"] = "auto"
    """How answers to a file's problems are checked."""
    task: Procedural | str = field(default_factory=Countdown)
    """Generated problems: countdown, chain_sum, modular, target, swaps, grid, or a task of your own."""
    reward: rewards.Term | Sum | str | Callable[..., Any] = field(default_factory=rewards.Verifier)
    """What answers are worth in training: the verifier, a reward of your own, or a sum of several."""
    system: str | None = None
    """System message for a model's chat template."""
    template: TemplateConfig = field(default_factory=TemplateConfig)
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Dtype of a loaded model's weights in sampling, unless rollout.dtype is another, and training."""
    remat: bool = False
    """Recompute activations in the backward pass, to save memory."""
    mesh: str | None = None
    """Devices, such as data=4,model=2; left out, one device."""
    decoder: DecoderSize = field(default_factory=DecoderSize)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    lora: LoraConfig = field(default_factory=LoraConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    noise: Noise | str = "psn"
    """What perturbs the sampler's weights: psn, or none."""
    algorithm: AlgorithmConfig = field(default_factory=AlgorithmConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def __post_init__(self) -> None:
        object.__setattr__(self, "task", TASKS.make(self.task, "task"))
        object.__setattr__(self, "reward", rewards.make(self.reward, "reward"))
        object.__setattr__(self, "noise", NOISES.make(self.noise, "noise"))
        checks.choice("verifier", self.verifier, file_task.VERIFIERS)
        checks.choice("data_kind", self.data_kind, files.KINDS)
        checks.choice("dtype", self.dtype, ("float32", "bfloat16"))
        if self.test_data is not None and self.data is None:
            errors.refuse("test_data", self.test_data, "only together with data")
        if self.data_kind != "auto" and self.data is None:
            errors.refuse("data_kind", self.data_kind, "only together with data")
        if self.verifier != "auto" and self.data is None:
            errors.refuse("verifier", self.verifier, "only together with data; a generated task has its own checker")
        if self.data is not None and self.model is None:
            errors.refuse("data", self.data, "only together with model, as the small decoder knows one procedural task")
        if self.model is None:
            self.template.refuse(self.system, "only together with model, whose chat template it is for")
        if self.lora.rank and self.mesh is not None:
            errors.refuse("mesh", self.mesh, "left out where lora.rank is above 0, as adapters lie on one device")
        if self.lora.rank and self.algorithm.estimator == "evolution":
            allowed = "0 with estimator = evolution, which moves the perturbed matrices themselves"
            errors.refuse("lora.rank", self.lora.rank, allowed)
        if self.rollout.pool and self.data is not None:
            errors.refuse("rollout.pool", self.rollout.pool, "0 with data, whose problems are asked again anyway")
        if self.rollout.gate != "none" and self.data is None and not self.rollout.pool:
            allowed = "none, or a rollout.pool of generated problems, as each of them is asked once only"
            errors.refuse("rollout.gate", self.rollout.gate, allowed)
        self._check_groups()

    def _check_groups(self) -> None:
        samples, prompts, algorithm = self.rollout.samples, self.rollout.prompts, self.algorithm
        algorithm.advantage.check(samples)
        if prompts % algorithm.mini_batches:
            errors.refuse("algorithm.mini_batches", algorithm.mini_batches, f"a divisor of {prompts} prompts")
        share = prompts // algorithm.mini_batches
        if share % algorithm.micro_batches:
            allowed = f"a divisor of the {share} prompts of a mini-batch"
            errors.refuse("algorithm.micro_batches", algorithm.micro_batches, allowed)
        if algorithm.token_budget and self.mesh is not None:
            errors.refuse("algorithm.token_budget", algorithm.token_budget, "0 on a mesh, where no answer is moved")
        if self.rollout.segment and self.mesh is not None:
            errors.refuse("rollout.segment", self.rollout.segment, "0 on a mesh, where every row stays to the end")
        if self.probes and self.noisy_samples < 1:
            allowed = f"few enough to leave noisy answers in a group of {samples}"
            errors.refuse("noise.sigma.probes", self.probes, allowed)
        if self.members and self.noisy_samples % self.members:
            allowed = f"a divisor of the {self.noisy_samples} noisy answers"
            errors.refuse("noise.replicas", self.noise.replicas, allowed)
        if self.noise.antithetic:
            if self.members % 2:
                errors.refuse(
                    "noise.structure.antithetic", True, f"an even number of perturbations; here {self.members}"
                )
            if self.probe_members % 2:
                errors.refuse(
                    "noise.structure.antithetic", True, f"an even number of probes; here {self.probe_members}"
                )

        self._check_estimator()

    def _check_estimator(self) -> None:
        """Refuse noise of which no gradient at the perturbed weights can be taken."""
        estimator = self.algorithm.estimator
        if self.noise.learnt:
            self._check_learnt(estimator)
        if estimator == "clean":
            return
        if not self.members:
            errors.refuse("algorithm.estimator", estimator, "clean where noise = none, as nothing is perturbed")
        if self.noise.clean_share:
            allowed = f"0 with estimator = {estimator}, which learns from perturbed answers alone"
            errors.refuse("noise.clean_share", self.noise.clean_share, allowed)
        if self.early_samples:
            allowed = f"false with estimator = {estimator}, as probes have perturbations of their own"
            errors.refuse("noise.sigma.reuse_probes", True, allowed)
        if self.noise.within is not None:
            allowed = f"episode with estimator = {estimator}, which has one policy for an answer"
            errors.refuse("noise.hold", spec_of(self.noise.hold), allowed)
        each = self.noisy_samples // self.members
        if estimator == "evolution":
            if self.members < 2:
                errors.refuse("noise.per", self.noise.per, "sample or replica with estimator = evolution")
            if self.noise.relative:
                errors.refuse(
                    "noise.relative", True, "false with estimator = evolution, whose steps are those of sigma"
                )
            if not self.sigma.start:
                errors.refuse("noise.sigma", spec_of(self.sigma), "above 0 with estimator = evolution")
        if estimator == "smoothed":
            if each < 2:
                allowed = f"pooled where a member gives one answer to a problem (psn.per = {self.noise.per})"
                errors.refuse("algorithm.estimator", estimator, allowed)
            self.algorithm.advantage.check(each)

    def _check_learnt(self, estimator: str) -> None:
        """Refuse what does not go with noise whose optimiser learns a scale of each weight."""
        name = called(type(self.noise))
        if estimator not in ("smoothed", "pooled"):
            allowed = f"smoothed or pooled with noise = {name}, which is learnt from gradients at the perturbed weights"
            errors.refuse("algorithm.estimator", estimator, allowed)
        if self.algorithm.weight_decay:
            allowed = f"0 with noise = {name}, whose prior decays the weights"
            errors.refuse("algorithm.weight_decay", self.algorithm.weight_decay, allowed)
        if self.lora.rank:
            errors.refuse("lora.rank", self.lora.rank, f"0 with noise = {name}, which learns whole matrices")

    @property
    def sigma(self) -> Any:
        """The scale of the noise; without noise 0."""
        return self.noise.sigma

    @property
    def probed(self) -> Any:
        """The rule for sigma, if it is told of probes."""
        return self.sigma if "answers" in self.sigma.reads else None

    @property
    def probes(self) -> int:
        """Probe answers drawn before the rollouts of each problem."""
        return 0 if self.probed is None else self.probed.probes

    @property
    def early_samples(self) -> int:
        """Probes that count among the group's answers."""
        return self.probes if self.probed is not None and self.probed.reuse_probes else 0

    @property
    def clean_samples(self) -> int:
        """Answers of a group that the clean policy gives, probes of the clean policy included."""
        clean_probes = self.early_samples if self.probed and self.probed.probe_policy == "clean" else 0
        return max(round(self.noise.clean_share * self.rollout.samples), clean_probes)

    @property
    def noisy_samples(self) -> int:
        """Answers of a group that are drawn from perturbed weights after sigma is set."""
        noisy_probes = self.early_samples if self.probed and self.probed.probe_policy == "noisy" else 0
        return self.rollout.samples - self.clean_samples - noisy_probes

    @property
    def members(self) -> int:
        """Distinct perturbations of one step."""
        return self.noise.members(self.noisy_samples)

    @property
    def probe_members(self) -> int:
        """Distinct perturbations of a step's probes, if the noisy policy answers them; the probes' own."""
        if self.probed is None or self.probed.probe_policy == "clean":
            return 0
        return 1 if self.noise.per == "step" else self.probes
