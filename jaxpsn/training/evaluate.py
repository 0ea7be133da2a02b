"""The evaluation job: one policy judged, two compared on the same problems, or a run's sample log replayed."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from jaxpsn import checks, errors, files
from jaxpsn.lm import clock
from jaxpsn.rlvr.config import EvaluationConfig, RlvrConfig
from jaxpsn.rlvr.template import TemplateConfig
from jaxpsn.tasks import file_task
from jaxpsn.tasks import files as problem_files
from jaxpsn.training import command, interrupts, origins, progress, startup, status
from jaxpsn.training.config import PROGRESS
from jaxpsn.training.origins import Origin

if TYPE_CHECKING:
    from jaxpsn.analysis.evaluations import Evaluation


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
    """Procedural task; left out, that of the run."""
    task_options: dict[str, str] = field(default_factory=dict)
    """Options of the task, such as numbers 4."""
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
    seed: int = 0
    """Of problems and answers; 0 is what runs judge themselves by."""
    rows: int = EvaluationConfig.rows
    """Answers decoded (or scored) side by side."""
    max_prompt: int | None = None
    """Longest prompt in tokens; left out, as the run has it, or what the task needs."""
    max_tokens: int | None = None
    """Longest answer in tokens, likewise."""
    segment: int | None = None
    """Tokens between compactions, in which ended answers leave; left out, as the run has it, else 0 (never)."""
    system: str | None = None
    """System message for the chat template of a Hugging Face folder."""
    template: TemplateConfig = field(default_factory=TemplateConfig)
    dtype: Literal["float32", "bfloat16"] | None = None
    """Dtype of the weights in use; left out, the run's, else float32."""
    mesh: str | None = None
    """Devices, such as data=4,model=2; left out, one device."""
    tolerance: float | None = None
    """With --replay: nats a token by which log-probs may differ; left out, 0.0001 on a CPU, else 0.01; bfloat16 0.1."""
    out: str = "results/evaluation"
    """Folder for evaluations/LABEL.json and pass_at_k.csv, .json and .png."""
    progress: Literal["auto", "rich", "plain", "none"] = "auto"
    """Display on stderr: rich on a terminal, plain lines elsewhere."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("step", 0, 1 << 50), ("problems", 1, 1 << 16), ("samples", 1, 1 << 14), ("top_k", 0, 1 << 20),
            ("seed", 0, (1 << 31) - 1), ("rows", 1, 1 << 20), ("max_prompt", 1, 1 << 20), ("max_tokens", 1, 1 << 20),
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
            checks.choice("dtype", self.dtype, ("float32", "bfloat16"))
        checks.choice("progress", self.progress, PROGRESS)
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
        if self.data is not None and (self.task is not None or self.task_options):
            errors.refuse("data", self.data, "not together with a task")
        if self.data_kind != "auto" and self.data is None:
            errors.refuse("data_kind", self.data_kind, "only together with data")
        if self.sigma is not None and not self.noisy:
            errors.refuse("sigma", self.sigma, "only together with noisy")
        if self.segment and self.mesh is not None:
            errors.refuse("segment", self.segment, "0 on a mesh, where every row stays to the end")
        if not self.out:
            errors.refuse("out", self.out, "the name of a folder")


def run(job: EvaluateJob) -> int:
    """Do the job; returns the exit status."""
    if job.replay is not None:
        return _replay(job)
    if job.policy is None:
        errors.refuse("policy", None, "a run folder, a Hugging Face folder or an evaluation; or --replay RUN")
    found = {"policy": origins.find("policy", job.policy, job.step)}
    if job.against is not None:
        found["against"] = origins.find("against", job.against)
    out = _out(job, list(found.values()))
    before = _evaluations(out)

    def lost() -> str:
        new = sorted(_evaluations(out) - before)
        kept = f"; judged and kept: {', '.join(map(str, new))} (to be named in place of its policy)" if new else ""
        return f"ended before the evaluation was complete; no table was written{kept}"

    show = progress.make(job.progress)
    with contextlib.closing(show), interrupts.stage(lost, show.close):
        judged = _judged(job, found, out, show)
        text = _written(judged, out, show)
    startup.result(text.rstrip())
    startup.speak(f"written: {out}/pass_at_k.csv, .json and .png, and {out}/evaluations")
    return status.DONE


def _evaluations(out: Path) -> set[Path]:
    return set((out / "evaluations").glob("*.json"))


def _out(job: EvaluateJob, found: list[Origin]) -> Path:
    """Where the results go: never into a run, whose folder is its own record."""
    out = Path(job.out)
    for one in found:
        if one.job is not None and one.path.resolve() in (out.resolve(), *out.resolve().parents):
            errors.refuse("out", job.out, f"a folder outside the run {one.path}")
    if out.exists() and not out.is_dir():
        errors.refuse("out", job.out, "a folder; there is a file of that name")
    return out


def _judged(job: EvaluateJob, found: dict[str, Origin], out: Path, show: progress.Progress) -> list["Evaluation"]:
    """The evaluations of the policies, in their order; what was judged before is read."""
    from jaxpsn.analysis import evaluations

    used: list[str] = []
    judged = {}
    for name, one in found.items():
        if one.kind == "file":
            read = evaluations.read(one.path)
            judged[name] = replace(read, label=_label(used, one, False, None))
    live = {name: one for name, one in found.items() if one.kind != "file"}
    if live:
        labels = {name: partial(_label, used, one, job.noisy) for name, one in live.items()}
        judged |= _live(job, live, labels, list(judged.values()), out, show)
    return [judged[name] for name in found]


def _label(used: list[str], one: Origin, noisy: bool, step: int | None) -> str:
    """A label that no other policy has."""
    plain = one.label(step) + ("-noisy" if noisy else "")
    used.append(plain if plain not in used else f"{plain}-2")
    return used[-1]


def _live(
    job: EvaluateJob,
    live: dict[str, Origin],
    labels: dict[str, Callable[[int | None], str]],
    before: list["Evaluation"],
    out: Path,
    show: progress.Progress,
) -> dict[str, "Evaluation"]:
    """Sample and judge."""
    with show.phase("loading JAX"):
        from jaxpsn.tasks import grading
        from jaxpsn.training import cache, judging, memory

        cache.enable()
    run = next((one for one in live.values() if one.config is not None), None)
    config = RlvrConfig() if run is None else run.config
    now = config.template.clock or clock.now()
    with show.phase("making the problems"):
        asked = judging.questions(job, run, show.say)
        ready = {
            name: judging.candidate(getattr(job, name), one, one.config or config, job.system, job.template, now)
            for name, one in live.items()
        }
        asked = judging.fitting(asked, list(ready.values()), job, show.say)
        judging.refuse_large(list(ready.values()), asked, job)
    for one in before:
        _refuse_others(one, [problem.id for problem in asked.problems])
    with grading.Grader(asked.task) as grader, memory.told("rows, max_tokens, max_prompt"):
        return {
            name: judging.judge(one, asked, job, grader.grade, out, labels[name], show) for name, one in ready.items()
        }


def _refuse_others(one: "Evaluation", ids: list[str]) -> None:
    """Say before the sampling that nothing could be compared afterwards."""
    if set(ids) != set(one.ids):
        shared = len(set(ids) & set(one.ids))
        errors.refuse("problems", len(ids), f"the {len(one.ids)} of {one.label}, of which {shared} are among these")


def _written(judged: list["Evaluation"], out: Path, show: progress.Progress) -> str:
    """Write CSV, JSON and plot; returns the table."""
    from jaxpsn.analysis import comparison, judgement

    if len(judged) == 2:
        compared = comparison.compare(*judged)
        table, rows, content = compared.table(), compared.csv(), compared.json()
    else:
        compared, (one,) = None, judged
        table, rows, content = judgement.table(one), judgement.csv_text(one), judgement.json_text(one)
    out.mkdir(parents=True, exist_ok=True)
    files.write_atomically(out / "pass_at_k.csv", rows)
    files.write_atomically(out / "pass_at_k.json", content)
    with show.phase("drawing the plot"):
        from jaxpsn.analysis import evaluation_plot, figures
        from jaxpsn.analysis.reasoning import Judged

        figures.write([evaluation_plot.pass_at_k(Judged(tuple(judged[::-1]), compared, ()))], out)
    return table


def _replay(job: EvaluateJob) -> int:
    """Replay a sample log; returns the exit status."""
    found = origins.find("replay", job.replay or "")
    if found.kind != "run" or found.step is not None:
        errors.refuse("replay", job.replay, "a run folder; --step chooses a step")
    show = progress.make(job.progress)
    lost = "ended before the replay was complete; nothing was written, nothing changed"
    with contextlib.closing(show), interrupts.stage(lost, show.close):
        with show.phase("loading JAX"):
            from jaxpsn.training import cache, memory, replay

            cache.enable()
        with memory.told("rows"):
            told = replay.replay(found, job, show)
    startup.result("\n".join(told.lines))
    return status.DIFFERENT if told.differences else status.DONE


def main(argv: Sequence[str]) -> int:
    """Do what ``argv`` asks for; returns the exit status."""
    about = "Unbiased pass@k of a policy, two policies compared in pairs, or a sample log verified and scored anew."
    return run(command.flags(EvaluateJob, argv, EvaluateJob(), about))
