"""What an evaluation of reasoning policies is asked; imports no JAX."""

from dataclasses import dataclass, field
from typing import Literal

from jaxpsn.core import checks, errors
from jaxpsn.rlvr.config import EvaluationConfig
from jaxpsn.rlvr.template import TemplateConfig
from jaxpsn.run.config import PROGRESS
from jaxpsn.tasks import file_task
from jaxpsn.tasks import files as problem_files
from jaxpsn.tasks.problem import TASKS


@dataclass(frozen=True)
class EvaluateJob:
    """What is judged, by which problems, and how.

    A policy is a run folder (its last whole checkpoint), RUN:STEP, RUN:base, a Hugging Face folder, or the .json of
    an evaluation made before.
    """

    policy: str | None = None
    """The policy to judge."""
    against: str | None = None
    """A second one: same problems, same random numbers, paired comparison."""
    replay: str | None = None
    """Instead: the run folder whose samples.jsonl is verified and scored anew."""
    step: int | None = None
    """The checkpoint of --policy, as RUN:STEP; with --replay the one step to replay."""
    task: str | None = None
    """Generated problems, such as 'countdown(numbers=5)'; left out, those of the run."""
    data: str | None = None
    """File of problems (JSON lines or array, Parquet), instead of a task."""
    data_kind: Literal["auto", "gsm8k", "math", "aime", "choice", "general"] = "auto"
    """How its rows are read; auto looks at each row."""
    verifier: Literal["auto", "math", "integer", "exact", "choice"] = "auto"
    """How answers to the file's problems are checked."""
    problems: int = EvaluationConfig.problems
    """Problems: the first of the task's test split, or of the file."""
    samples: int = EvaluationConfig.samples
    """Answers to each of them; the largest k."""
    temperature: float = 1.0
    """Sampling temperature."""
    top_p: float = 1.0
    """Nucleus; 1 for the whole distribution."""
    top_k: int = 0
    """Candidates; 0 for all."""
    noisy: bool = False
    """Judge perturbed weights, every answer by a perturbation of its own."""
    sigma: float | None = None
    """Scale of the perturbation; left out, the run's at that step."""
    thickets: tuple[float, ...] = ()
    """Scales at which --samples perturbations are judged one by one: which share is better than the policy."""
    structures: tuple[str, ...] = ()
    """Structures of these perturbations, such as lowrank dense; left out, that of the run."""
    seed: int = 0
    """Of problems and answers; 0 is what runs judge themselves by."""
    rows: int = EvaluationConfig.rows
    """Answers decoded (or scored) side by side; 0 for as many as hold a gibibyte, and at most 1024."""
    max_prompt: int | None = None
    """Longest prompt in tokens; left out, as the run has it, or what the task needs."""
    max_tokens: int | None = None
    """Longest answer in tokens, likewise."""
    segment: int | None = None
    """Tokens between compactions, in which ended answers leave; left out, as the run has it, else 0 (never)."""
    system: str | None = None
    """System message for the chat template of a Hugging Face folder."""
    template: TemplateConfig = field(default_factory=TemplateConfig)
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """Dtype of the weights in use; left out, the run's, else float32."""
    mesh: str | None = None
    """Devices, such as data=4,model=2; left out, one device."""
    tolerance: float | None = None
    """With --replay: nats a token by which log-probs may differ; left out, 0.0001 on a CPU, else 0.01; a sampler in
    float16 0.02, in bfloat16 0.1."""
    out: str = "results/evaluation"
    """Folder for evaluations/LABEL.json and pass_at_k.csv, .json and .svg."""
    progress: Literal["auto", "rich", "plain", "none"] = "auto"
    """Display on stderr: rich on a terminal, plain lines elsewhere."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("step", 0, 1 << 50), ("problems", 1, 1 << 16), ("samples", 1, 1 << 14), ("top_k", 0, 1 << 20),
            ("seed", 0, (1 << 31) - 1), ("rows", 0, 1 << 20), ("max_prompt", 1, 1 << 20), ("max_tokens", 1, 1 << 20),
            ("segment", 0, 1 << 20),
        ):  # fmt: skip
            if getattr(self, name) is not None:
                checks.whole(name, getattr(self, name), low, high)
        checks.real("temperature", self.temperature, 0.0, 100.0)
        checks.real("top_p", self.top_p, 0.0, 1.0, open_low=True)
        for name in ("sigma", "tolerance"):
            if getattr(self, name) is not None:
                checks.real(name, getattr(self, name), 0.0, 100.0)
        checks.choice("verifier", self.verifier, file_task.VERIFIERS)
        checks.choice("data_kind", self.data_kind, problem_files.KINDS)
        if self.dtype is not None:
            checks.choice("dtype", self.dtype, ("float32", "bfloat16", "float16"))
        checks.choice("progress", self.progress, PROGRESS)
        if self.task is not None:
            TASKS.make(self.task, "task")
        if self.verifier != "auto" and self.data is None:
            errors.refuse("verifier", self.verifier, "only together with data")
        self._check_together()

    def _check_together(self) -> None:
        if self.replay is not None and (self.policy, self.against) != (None, None):
            errors.refuse("replay", self.replay, "not together with policy or against")
        if self.replay is not None:
            self.template.refuse(self.system, "not together with replay, which is told what the run was")
        if self.against is not None and self.policy is None:
            errors.refuse("against", self.against, "only together with policy")
        if self.against is not None and self.against == self.policy and self.step is None:
            errors.refuse("against", self.against, "another policy than policy")
        if self.data is not None and self.task is not None:
            errors.refuse("data", self.data, "not together with a task")
        if self.data_kind != "auto" and self.data is None:
            errors.refuse("data_kind", self.data_kind, "only together with data")
        for sigma in self.thickets:
            checks.real("thickets", sigma, 0.0, 100.0, open_low=True)
        if self.structures and not self.thickets:
            errors.refuse("structures", " ".join(self.structures), "only together with thickets")
        if self.structures:
            from jaxpsn.noise.structures import STRUCTURES  # which needs JAX

            for structure in self.structures:
                STRUCTURES.make(structure, "structures")
        if self.thickets and (self.noisy or self.against or self.replay):
            errors.refuse("thickets", self.thickets, "not together with noisy, against or replay")
        if self.sigma is not None and not self.noisy:
            errors.refuse("sigma", self.sigma, "only together with noisy")
        if self.segment and self.mesh is not None:
            errors.refuse("segment", self.segment, "0 on a mesh, where every row stays to the end")
        if not self.out:
            errors.refuse("out", self.out, "the name of a folder")
