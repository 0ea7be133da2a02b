"""The display speaks at once, ticks while something blocks, keeps to its stream, and never ends a run."""

import io
import sys
import time
import types

import jax
import pytest

from jaxpsn.core.errors import UserError
from jaxpsn.run import cache, progress, startup, status


def test_plain_ticks_while_a_phase_lasts():
    stream = io.StringIO()
    show = progress.Plain(stream, every=0.05)
    with show.phase("compiling"):
        time.sleep(0.18)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "jaxpsn: compiling ..." and len(lines) >= 4 and lines[-1].startswith("jaxpsn: compiling: 0.")


def test_plain_prints_now_and_then_and_at_the_end():
    stream = io.StringIO()
    show = progress.Plain(stream, every=60.0)
    for step in range(10, 101, 10):
        show.update(step, 100, 20_000.0, 3.0, {"return": 1.23456})
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2 and "100/100 steps  100%  20.0k steps/s  ETA 0:03  return 1.235" in lines[1]


class Closed(io.StringIO):
    def write(self, text):
        raise BrokenPipeError("nobody listens")


@pytest.mark.parametrize("mode", ["rich", "plain", "none", "auto"])
def test_a_display_that_cannot_be_written_is_silent(mode):
    show = progress.make(mode, Closed())
    show.say("hello")
    with show.phase("compiling"):
        time.sleep(0.2)
    show.update(1, 2, 3.0, 4.0, {})
    show.close()


def test_rich_shows_phases_and_leaves_the_last_status():
    stream = io.StringIO()
    show = progress.make("rich", stream)
    with show.phase("compiling"):
        time.sleep(0.02)
    show.update(50, 100, 10.0, 5.0, {"sigma": 0.2})
    show.close()
    text = stream.getvalue()
    assert "compiling: 0.0 s" in text and "50/100 steps" in text and "sigma 0.2" in text


def test_modes(monkeypatch):
    assert type(progress.make("auto", io.StringIO())) is progress.Plain
    assert type(progress.make("none", io.StringIO())) is progress.Progress
    monkeypatch.setattr(sys, "stderr", None)
    progress.make("auto").say("no stream at all")


def test_memory_is_plausible():
    assert 50e6 < progress.memory() < 1e12


@pytest.mark.parametrize(
    ("raised", "code", "line"),
    [
        (UserError("steps = 0:\n  at least 1"), status.USER_ERROR, "error: steps = 0: at least 1\n"),
        (OSError(28, "No space left on device", "runs/a/metrics.csv"), status.USER_ERROR,
         "error: runs/a/metrics.csv: No space left on device\n"),
        (OSError(28, "No space left on device"), status.USER_ERROR, "error: [Errno 28] No space left on device\n"),
        (KeyboardInterrupt(), status.INTERRUPTED, "error: interrupted\n"),
    ],
)  # fmt: skip
def test_the_guard_turns_mistakes_into_one_line(raised, code, line, capsys):
    @startup.main_guard
    def main():
        raise raised

    assert main() == code
    assert capsys.readouterr() == ("", line)


def test_the_guard_lets_our_own_faults_through():
    @startup.main_guard
    def main():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        main()
    assert startup.main_guard(lambda: None)() == 0 and startup.main_guard(lambda: 3)() == 3


def test_nobody_reading_the_result_is_no_error(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Closed())
    startup.result("runs/a")
    monkeypatch.setattr(sys, "stderr", Closed())
    startup.speak("hello")


@pytest.fixture
def settings_restored():
    names = ("compilation_cache_dir", "persistent_cache_min_compile_time_secs", "persistent_cache_min_entry_size_bytes")
    before = {f"jax_{name}": getattr(jax.config, f"jax_{name}") for name in names}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def test_the_cache_lies_with_the_user_or_where_the_environment_says(tmp_path, monkeypatch, settings_restored):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.enable() == tmp_path / "jaxpsn" / "xla" and cache.enable().is_dir()
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "other"))
    assert cache.enable() == tmp_path / "other"
    assert jax.config.jax_persistent_cache_min_compile_time_secs == 0.0
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "file"))
    assert cache.enable() is None and jax.config.jax_compilation_cache_dir is None


class Cell:
    """What a notebook's cell shows, one entry a change."""

    def __init__(self):
        self.shown = []

    def display(self, content, raw, display_id):
        assert raw and display_id
        self.shown.append(content)
        return self

    def update(self, content, raw):
        self.shown.append(content)


def test_in_a_notebook_the_cell_shows_a_bar_that_goes_away(monkeypatch):
    cell, shell = Cell(), types.SimpleNamespace(kernel=object())
    fake = types.ModuleType("IPython")
    fake.get_ipython, fake.display = lambda: shell, types.SimpleNamespace(display=cell.display)
    monkeypatch.setitem(sys.modules, "IPython", fake)
    show = progress.make("auto", title="a<b")
    with show.phase("compiling"):
        assert "compiling ..." in cell.shown[-1]["text/plain"]
    show.say("warning: sigma rests at its bound")
    show.say("checkpoint: 3")
    show.update(50, 100, 10.0, 5.0, {"return": 1.0})
    show.update(100, 100, 10.0, 0.0, {"return": 1.0})
    assert 'value="1.0000"' in cell.shown[-1]["text/html"] and "a&lt;b" in cell.shown[-1]["text/html"]
    show.close()
    assert cell.shown[-1]["text/plain"] == "warning: sigma rests at its bound"
    shell.kernel = None
    assert not isinstance(progress.make("auto"), progress.Notebook), "IPython on a terminal is a terminal"
