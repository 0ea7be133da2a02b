"""A run folder that was moved, damaged, filled with strangers or asked for something impossible: nothing is lost."""

import json
import os
import shutil
import socket
import time

import pytest

from jaxpsn.core import files
from jaxpsn.core.errors import UserError
from jaxpsn.run.checkpoints import store
from jaxpsn.run.checkpoints.store import digest
from jaxpsn.run.loggers import sinks

UNTIMED = {"seconds", "steps_per_second"}


def contents(folder):
    """Every file below a folder, links as what they point to."""
    return {
        path.relative_to(folder).as_posix(): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def rows(folder):
    found = [json.loads(text) for text in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in UNTIMED} for row in found]


def events(folder, kind):
    found = [json.loads(text) for text in (folder / "events.jsonl").read_text().splitlines()]
    return [event["detail"] for event in found if event["event"] == kind]


def after(monkeypatch, step, action):
    """Do something right after the rows of a step were written."""
    write = sinks.Sinks.write

    def acting(self, rows):
        write(self, rows)
        if rows[0]["step"] == step:
            action()

    monkeypatch.setattr(sinks.Sinks, "write", acting)


def saved(folder, step):
    """Wait for the save that goes on in the background."""
    while step and not (folder / "checkpoints" / str(step)).is_dir():
        time.sleep(0.01)


# The folder goes away while the run goes on.


def test_a_folder_that_is_moved_is_an_error_that_says_where_it_is(train, monkeypatch, tmp_path):
    moved = tmp_path / "elsewhere"
    with monkeypatch.context() as patch, pytest.raises(UserError) as caught:
        after(patch, 80, lambda: (saved(tmp_path / "a", 40), (tmp_path / "a").rename(moved)))
        train(name="a")
    assert str(caught.value) == (
        f"run folder {tmp_path / 'a'} was moved to {moved} while the run went on; "
        "go on there with --resume, from checkpoints/40"
    )
    assert not (tmp_path / "a").exists()
    again = train(name=None, resume=str(moved))
    assert digest(again.state) == digest(train(name="whole").state)
    assert rows(moved) == rows(tmp_path / "whole")


@pytest.mark.parametrize("step", [40, 160])
def test_a_folder_that_is_deleted_is_an_error_and_no_ghost(train, monkeypatch, tmp_path, step):
    with monkeypatch.context() as patch, pytest.raises(UserError, match="deleted while the run went on"):
        after(patch, step, lambda: (saved(tmp_path / "a", step - 40), shutil.rmtree(tmp_path / "a")))
        train(name="a")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_replaced_is_left_to_its_owner(train, monkeypatch, tmp_path):
    def replace():
        saved(tmp_path / "a", 120)
        (tmp_path / "a").rename(tmp_path / "b")
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "mine").write_text("x")

    with monkeypatch.context() as patch, pytest.raises(UserError, match=rf"moved to {tmp_path}/b .*checkpoints/120"):
        after(patch, 160, replace)
        train(name="a")
    assert contents(tmp_path / "a") == {"mine": b"x"}


# A resume that is refused, or asks for what cannot be, changes nothing.


@pytest.fixture
def cut(train, monkeypatch, tmp_path):
    """The folder of a run that was killed after step 80, its checkpoint of which was written."""
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        after(patch, 120, lambda: (_ for _ in ()).throw(KeyboardInterrupt()))
        train(name="a")
    return tmp_path / "a"


def delete(*names):
    return lambda folder: [files.remove(folder / name) for name in names]


@pytest.mark.parametrize(("spoil", "fields", "said"), [
    (lambda folder: None, {"task": "b"}, "made with another config"),
    (lambda folder: None, {"steps": 60}, "steps = 60: at least 80"),
    (delete("checkpoints"), {}, "checkpoints, of which there were some, are gone"),
    (delete("metrics.csv", "metrics.jsonl"), {}, "3 of 3 rows up to step 80"),
    (delete("checkpoints/80/checkpoint.json", "checkpoints/40/checkpoint.json"), {}, "no whole checkpoint is left"),
    (lambda folder: [delete("metrics.csv")(folder), (folder / "metrics.csv").symlink_to("/etc/hostname")], {}, "link"),
    (lambda folder: [delete("run.lock")(folder), (folder / "run.lock").symlink_to("/tmp/x")], {}, "run.lock"),
    (lambda folder: [delete("events.jsonl")(folder), os.mkfifo(folder / "events.jsonl")], {}, "a plain file"),
])  # fmt: skip
def test_a_refused_resume_changes_nothing(train, cut, spoil, fields, said):
    spoil(cut)
    before = contents(cut)
    with pytest.raises(UserError) as caught:
        train(name=None, resume="a", **({"eval_every": 20} | fields))
    assert said in str(caught.value) and len(str(caught.value)) <= 300
    assert contents(cut) == before


def test_evaluations_may_stop_and_begin_again(train, cut, tmp_path):
    train(name=None, resume="a", eval_every=0, steps=120)
    again = train(name=None, resume="a", eval_every=80)
    assert digest(again.state) == digest(train(name="whole").state)
    judged = [row["step"] for row in rows(cut) if "eval_return" in row]
    assert judged == [0, 80, 160] and [row["step"] for row in rows(cut)] == [0, 40, 80, 120, 160]


def test_what_is_mended_is_said(train, cut):
    (cut / "metrics.csv").write_bytes((cut / "metrics.csv").read_bytes().replace(b"\n", b"\r\n")[:-1])
    (cut / "metrics.jsonl").unlink()
    again = train(name=None, resume="a")
    assert digest(again.state) == digest(train(name="whole").state)
    (told,) = events(cut, "mended")
    assert told == "3 of 3 rows of metrics.jsonl were lost or damaged; restored from metrics.csv, to its 9 digits"
    assert [row["step"] for row in rows(cut)] == [0, 40, 80, 120, 160]


# Strangers in the folder of checkpoints.


@pytest.mark.parametrize("name", [".DS_Store", "notes.txt~", ".nfs0000000012", "#80#", "d/.DS_Store", "saving-x"])
def test_a_stray_file_breaks_no_checkpoint(train, cut, name):
    stray = cut / "checkpoints" / "80" / name
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"\0stray")
    assert digest(train(name=None, resume="a").state) == digest(train(name="whole").state)
    assert events(cut, "fallback") == []


@pytest.mark.parametrize(("name", "folder"), [
    ("saving-120", False), ("160", False), ("saving-160", True), ("120", True), ("\u00b2", True), ("0120", True),
    ("deleting-1", False),
])  # fmt: skip
def test_what_is_called_like_a_checkpoint_blocks_no_save(train, cut, name, folder):
    stray = cut / "checkpoints" / name
    if folder:
        stray.mkdir()
    else:
        stray.write_text("mine")
    again = train(name=None, resume="a")
    assert digest(again.state) == digest(train(name="whole").state)
    found = store.read(cut / "checkpoints", {"clock": again.state.clock})
    assert (found.step, int(found.state["clock"])) == (160, 40)
    if not folder:
        assert "mine" in [path.read_text() for path in (cut / "checkpoints").iterdir() if path.is_file()]


def test_a_checkpoint_under_another_step_is_noticed_and_set_aside(train, cut):
    shutil.copytree(cut / "checkpoints" / "80", cut / "checkpoints" / "120")
    again = train(name=None, resume="a")
    assert digest(again.state) == digest(train(name="whole").state)
    (told,) = events(cut, "fallback")
    assert "checkpoint 120 is broken: it is the checkpoint of step 80 under another name" in told
    assert (cut / "checkpoints" / "broken-120").is_dir()


def test_a_checkpoint_that_was_renamed_is_not_taken_for_another_step(train, cut):
    shutil.rmtree(cut / "checkpoints" / "40")
    (cut / "checkpoints" / "80").rename(cut / "checkpoints" / "96")
    before = contents(cut)
    with pytest.raises(UserError, match="96 is broken: it is the checkpoint of step 80"):
        train(name=None, resume="a")
    with pytest.raises(UserError, match="it is the checkpoint of step 80"):
        store.read(cut / "checkpoints", {}, step=96)
    assert contents(cut) == before


def test_links_within_the_folder_are_not_followed(train, cut, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (cut / "checkpoints").rename(outside / "checkpoints")
    (cut / "checkpoints").symlink_to(outside / "checkpoints")
    before = contents(outside)
    with pytest.raises(UserError, match="links are not followed"):
        train(name=None, resume="a")
    assert contents(outside) == before


# Leftovers of kills.

GONE, HOST = 1 << 22, socket.gethostname().replace(".", "-")


def leave(path, seconds=0):
    if path.suffix in (".new", ".old", ".gone"):
        path.mkdir()
        (path / "half").write_text("x")
    else:
        path.write_text("x")
    for part in (*path.rglob("*"), path):
        os.utime(part, times=(part.stat().st_atime - seconds, part.stat().st_mtime - seconds))


def test_leftovers_of_kills_are_swept_when_their_process_is_gone(train, cut):
    gone = [
        f".config.json.{GONE}",
        f".report.html.{GONE}@{HOST}",
        f".model.{GONE}@{HOST}.new",
        f".model.{GONE}.old",
        f".a.{GONE}@{HOST}.gone",
    ]
    alive = [f".config.json.{os.getppid()}", f".config.json.{GONE}@another-host", f".notes.{GONE}", ".hidden"]
    for name in (*gone, *alive):
        leave(cut / name)
    leave(cut / f".old.json.{GONE}@another-host", 90_000)
    (cut / "evaluations").mkdir()
    leave(cut / "evaluations" / f".base.json.{GONE}")
    train(name=None, resume="a")
    assert sorted(path.name for path in cut.iterdir() if path.name.startswith(".")) == sorted(alive)
    assert list((cut / "evaluations").iterdir()) == []


def test_who_does_not_hold_the_lock_leaves_its_own_writing_alone(tmp_path):
    own = files.partial(tmp_path / "base", ".new")
    leave(own)
    files.sweep(tmp_path, held=False)
    assert own.is_dir()
    leave(files.partial(tmp_path / "x.json"))
    files.sweep(tmp_path, held=True)
    assert list(tmp_path.iterdir()) == []
