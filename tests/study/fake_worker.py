"""A worker that makes its unit of a reasoning study at once, or fails as ``behave.json`` beside the study says."""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from jaxpsn.study import kinds, record, units
from jaxpsn.study.units import Result, Unit

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
        told = {"field": "sigma.initial", "values": grid, "chosen": grid[-1], "seeds": [0]}
        (path / record.CHOICE).write_text(json.dumps(told | {"scores": [[0.0]] * len(grid)}))
    else:
        for seed in study.seeds:
            finish(study.run(unit.task, unit.arm, seed))


def fail(study, unit, code):
    if code == 3:
        for seed in study.seeds:
            path = study.run(unit.task, unit.arm, seed)
            path.mkdir(parents=True)
            (path / record.FAILED).write_text(json.dumps({"reason": "not finite at step 1"}))


def wait(folder):
    def leave(*_):
        (HERE.parent / "asked").touch()
        units.end(folder, Result(143))
        os._exit(143)

    def follow():
        os.read(0, 1)
        leave()

    signal.signal(signal.SIGTERM, leave)
    threading.Thread(target=follow, daemon=True).start()
    time.sleep(60)


def main():
    study, unit = kinds.load(HERE), Unit.of(sys.argv[2])
    folder = units.place(HERE, unit)
    with units.claimed(folder):
        with (HERE / "order.txt").open("a") as file:
            file.write(f"{unit} {os.environ.get('JAXPSN_STUDY_CORES', '')}\n")
        behave = json.loads((HERE.parent / "behave.json").read_text())
        told = behave.get(str(unit))
        if isinstance(told, list):  # once each
            told = told.pop(0) if told else None
            (HERE.parent / "behave.json").write_text(json.dumps(behave | {str(unit): behave.get(str(unit))}))
        if told == "wait":
            wait(folder)
        if told == "lost":
            os.kill(os.getpid(), signal.SIGKILL)
        if told == "told to end":
            units.end(folder, Result(143))
            return 143
        if told in KINDS:
            fail(study, unit, KINDS[told])
            units.end(folder, Result(KINDS[told], f"{told} of {unit}"))
            return KINDS[told]
        make(study, unit)
        units.say(folder, "made")
        units.end(folder, Result(0))
    return 0


sys.exit(main())
