"""A worker of a reasoning study that makes its unit at once, or fails as ``behave.json`` beside the study says."""

import json
import os
import signal
import sys
import time
from pathlib import Path

from jaxpsn.study.reasoning import record
from jaxpsn.study.reasoning.plan import Unit

HERE = Path(sys.argv[1])
KINDS = {"crash": 1, "user": 2, "not finite": 3}


def finish(path, **told):
    path.mkdir(parents=True, exist_ok=True)
    (path / record.FINISHED).write_text(json.dumps(told | {"versions": {"python": "0"}}))


def make(study, unit):
    if unit.kind == "base":
        finish(study.base(unit.task), backend="cpu")
        judged = {"label": "base", "step": 0, "n": 8, "temperature": 1.0, "noisy": False, "task": "x"}
        row = {"id": "a", "prompt": "a", "n": 8, "correct": study.config.steps, "distinct": 1, "solutions": 2}
        (study.base(unit.task) / "evaluations").mkdir()
        (study.base(unit.task) / "evaluations" / "base.json").write_text(json.dumps(judged | {"problems": [row]}))
    elif unit.kind == "tune":
        path = study.tuning(unit.task, unit.arm)
        path.mkdir(parents=True, exist_ok=True)
        grid = list(study.arm(unit.arm).scale.grid)
        told = {
            "field": "sigma.initial",
            "values": grid,
            "chosen": grid[-1],
            "seeds": [0],
            "scores": [[0.0]] * len(grid),
        }
        (path / record.CHOICE).write_text(json.dumps(told))
    else:
        for seed in study.seeds:
            finish(study.run(unit.task, unit.arm, seed))


def main():
    study, unit = record.load(HERE), Unit.of(sys.argv[2])
    with (HERE / "order.txt").open("a") as file:
        file.write(f"{unit} {os.environ.get('JAXPSN_STUDY_CORES', '')}\n")
    behave = json.loads((HERE.parent / "behave.json").read_text()).get(str(unit))
    if behave == "wait":
        signal.signal(signal.SIGTERM, lambda *_: (HERE.parent / "asked").touch() or sys.exit(143))
        print("waiting", flush=True)
        time.sleep(30)
    if behave in KINDS:
        print(f"error: {behave} of {unit}", file=sys.stderr)
        sys.exit(KINDS[behave])
    make(study, unit)
    print("made", flush=True)


main()
