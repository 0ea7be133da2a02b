"""Run folders: claimed once, never emptied unasked, resumed only with the config they were made with."""

import json
import os
import subprocess
import sys

import pytest

from jaxpsn.core import files
from jaxpsn.core.errors import UserError
from jaxpsn.run import folder as folders
from jaxpsn.run.config import RunConfig
from jaxpsn.run.lock import LOCK, locked


def claim(tmp_path, config=None, **fields):
    run = RunConfig(**({"out": str(tmp_path), "name": "a"} | fields))
    with folders.claim(run, config or {"env": {"name": "ant"}, "size": [1, 2]}) as folder:
        return folder


def test_a_new_folder_records_what_runs(tmp_path):
    folder = claim(tmp_path)
    record = folders.read(folder.path)
    assert record["config"] == {"env": {"name": "ant"}, "size": [1, 2]} and record["run"]["name"] == "a"
    assert record["versions"]["jax"] and record["command"] == sys.argv and not folder.resumed


def test_names_are_made_up_and_never_shared(tmp_path):
    paths = {claim(tmp_path, name=None).path for _ in range(5)}
    assert len(paths) == 5


def test_an_existing_folder_is_refused_and_kept(tmp_path):
    folder = claim(tmp_path)
    folder.metrics.write_text("precious")
    with pytest.raises(UserError, match=r"exists, without a checkpoint to go on from; --overwrite begins anew"):
        claim(tmp_path)
    (folder.checkpoints / "160").mkdir(parents=True)
    (folder.checkpoints / "160" / "array").write_text("")
    with pytest.raises(UserError, match=r"exists; --resume .*a goes on with it, or choose another name"):
        claim(tmp_path)
    assert folder.metrics.read_text() == "precious"
    assert claim(tmp_path, overwrite=True).path == folder.path and not folder.metrics.exists()


def test_overwrite_empties_run_folders_only(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match="not a run folder"):
        claim(tmp_path, overwrite=True)
    assert (tmp_path / "a" / "thesis.tex").read_text() == "precious"


def test_out_must_be_a_folder(tmp_path):
    (tmp_path / "file").write_text("")
    for fields in ({"out": str(tmp_path / "file")}, {"out": "/proc/nowhere"}, {"name": "file"}):
        with pytest.raises(UserError):
            claim(tmp_path, **fields)


def test_resume_needs_a_run_folder_of_this_format(tmp_path):
    folder = claim(tmp_path)
    with pytest.raises(UserError, match="nearest: a"):
        claim(tmp_path, name=None, resume=str(tmp_path / "aa"))
    with pytest.raises(UserError, match="a run folder"):
        claim(tmp_path, name=None, resume=str(tmp_path.parent))
    record = json.loads(folder.config.read_text())
    for text, said in ((json.dumps(record | {"format": 99}), "a run folder of format 3"), ("[]", "a run folder"),
                       ("{half", "config.json: not valid JSON")):  # fmt: skip
        folder.config.write_text(text)
        with pytest.raises(UserError, match=said):
            claim(tmp_path, name=None, resume=str(folder.path))


def test_resume_with_another_config_names_the_fields(tmp_path):
    folder = claim(tmp_path)
    resume = {"name": None, "resume": str(folder.path)}
    assert claim(tmp_path, steps=10, chunk=5, keep=9, progress="none", **resume).resumed
    assert claim(tmp_path, name=None, resume="a").path == folder.path  # found under out as well
    with pytest.raises(UserError, match=r"another config: env.name = 'hopper' \(was 'ant'\), run.seed = 3 \(was 0\)"):
        claim(tmp_path, {"env": {"name": "hopper"}, "size": [1, 2]}, seed=3, **resume)
    with pytest.raises(UserError, match=r"more = 1 \(was 'absent'\)"):
        claim(tmp_path, {"env": {"name": "ant"}, "size": [1, 2], "more": 1}, **resume)


HOLD = """
import sys, time
from pathlib import Path
from jaxpsn.run.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_names_its_holder_and_dies_with_it(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    try:
        with pytest.raises(UserError, match=f"in use by another run .pid {holder.pid} "), locked(tmp_path):
            pass
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    with locked(tmp_path) as stale:
        assert stale == f"stale lock of pid {holder.pid} taken over"
        with pytest.raises(UserError, match=f"this process .pid {os.getpid()}"), locked(tmp_path):
            pass
    with locked(tmp_path) as stale:
        assert stale is None
    (tmp_path / LOCK).write_text("rubbish")
    with locked(tmp_path) as stale:
        assert "unknown" in stale


def test_two_runs_cannot_both_overwrite(tmp_path):
    claim(tmp_path)
    run = RunConfig(out=str(tmp_path), name="a", overwrite=True)
    with folders.claim(run, {}) as folder:
        with pytest.raises(UserError, match="in use"):
            claim(tmp_path, overwrite=True)
        assert folder.config.exists()


def test_writing_is_atomic(tmp_path):
    path = tmp_path / "x.json"
    files.write_atomically(path, "one")
    with pytest.raises(TypeError):
        files.write_atomically(path, 3)
    assert path.read_text() == "one" and [p.name for p in tmp_path.iterdir()] == ["x.json"]
