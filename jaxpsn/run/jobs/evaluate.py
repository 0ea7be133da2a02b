"""The evaluation job: one policy judged, two compared on the same problems, or a run's sample log replayed."""

import contextlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxpsn.core import errors, files
from jaxpsn.lm.templates import clock
from jaxpsn.rlvr.config import RlvrConfig
from jaxpsn.run import command, component_flags, interrupts, progress, startup, status
from jaxpsn.run.reasoning import origins
from jaxpsn.run.reasoning.evaluate_job import EvaluateJob
from jaxpsn.run.reasoning.origins import Origin

if TYPE_CHECKING:
    from jaxpsn.stats.evaluations import Evaluation


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

    if job.thickets:
        return _thickets(job, found["policy"], out)
    show = progress.make(job.progress)
    with contextlib.closing(show), interrupts.stage(lost, show.close):
        judged = _judged(job, found, out, show)
        text = _written(judged, out, show)
    startup.result(text.rstrip())
    startup.speak(f"written: {out}/pass_at_k.csv, .json and .svg, and {out}/evaluations")
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
    from jaxpsn.stats import evaluations

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
    asked, ready = _ready(job, live, show)
    from jaxpsn.run import memory
    from jaxpsn.run.reasoning import judging
    from jaxpsn.tasks import grading

    for one in before:
        _refuse_others(one, [problem.id for problem in asked.problems])
    with grading.Grader(asked.task) as grader, memory.told("rows, max_tokens, max_prompt"):
        return {
            name: judging.judge(one, asked, job, grader.grade, out, labels[name], show) for name, one in ready.items()
        }


def _ready(job: EvaluateJob, live: dict[str, Origin], show: progress.Progress) -> tuple[Any, dict[str, Any]]:
    """What is asked, and the policies without their weights, by the fields that name them."""
    with show.phase("loading JAX"):
        from jaxpsn.run import cache, draws
        from jaxpsn.run.reasoning import judging

        draws.fix()
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
    return asked, ready


def _thickets(job: EvaluateJob, origin: Origin, out: Path) -> int:
    """Judge perturbations one by one; returns the exit status."""
    if origin.kind == "file":
        errors.refuse("policy", job.policy, "a run or a model, of which perturbations can be made")
    show = progress.make(job.progress)
    lost = "ended before the probe was complete; no table was written"
    with contextlib.closing(show), interrupts.stage(lost, show.close):
        asked, ready = _ready(job, {"policy": origin}, show)
        from jaxpsn.report.charts import picture
        from jaxpsn.report.reasoning import thicket_plot
        from jaxpsn.run import memory
        from jaxpsn.run.reasoning import thickets
        from jaxpsn.stats import thickets as shares
        from jaxpsn.tasks import grading

        with grading.Grader(asked.task) as grader, memory.told("rows, max_tokens, max_prompt"):
            found = thickets.probe(ready["policy"], asked, job, grader.grade, origin.label, show)
        out.mkdir(parents=True, exist_ok=True)
        files.write_atomically(out / "thickets.csv", shares.csv_text(found))
        files.write_atomically(out / "thickets.json", shares.json_text(found))
        picture.write([thicket_plot.chart(found)], out)
    startup.result(shares.table(found).rstrip())
    startup.speak(f"written: {out}/thickets.csv, .json and .svg")
    return status.DONE


def _refuse_others(one: "Evaluation", ids: list[str]) -> None:
    """Say before the sampling that nothing could be compared afterwards."""
    if set(ids) != set(one.ids):
        shared = len(set(ids) & set(one.ids))
        errors.refuse("problems", len(ids), f"the {len(one.ids)} of {one.label}, of which {shared} are among these")


def _written(judged: list["Evaluation"], out: Path, show: progress.Progress) -> str:
    """Write CSV, JSON and plot; returns the table."""
    from jaxpsn.report.reasoning import judgement
    from jaxpsn.stats import comparison

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
        from jaxpsn.report.charts import picture
        from jaxpsn.report.reasoning import evaluation_plot
        from jaxpsn.report.reasoning.folder import Judged

        picture.write([evaluation_plot.pass_at_k(Judged(tuple(judged[::-1]), compared, ()))], out)
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
            from jaxpsn.run import cache, draws, memory
            from jaxpsn.run.reasoning import replay

            draws.fix()
            cache.enable()
        with memory.told("rows"):
            told = replay.replay(found, job, show)
    startup.result("\n".join(told.lines))
    return status.DIFFERENT if told.differences else status.DONE


def main(argv: Sequence[str]) -> int:
    """Do what ``argv`` asks for; returns the exit status."""
    about = "Unbiased pass@k of a policy, two policies compared in pairs, or a sample log verified and scored anew."
    return run(command.flags(EvaluateJob, component_flags.prepare(argv), EvaluateJob(), about))


if __name__ == "__main__":
    sys.exit(startup.script(lambda: main(sys.argv[1:])))
