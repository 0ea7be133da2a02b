"""What a run says while it runs: a live line on a terminal or in a notebook, plain lines elsewhere, or nothing."""

import contextlib
import html
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from io import TextIOBase
from pathlib import Path
from typing import Any

PLAIN_EVERY = 5.0
"""Seconds between plain lines."""
_NOTEBOOK_EVERY = 0.2
_STAYS = ("warning", "no learning signal")
SHOWN = (
    "return", "eval_return", "reward", "eval_pass_at_1", "sigma", "distance", "target", "noise_kl_k1", "indicator",
)  # fmt: skip
"""Metrics that are shown if the run has them; others are in metrics.csv."""


def memory() -> int:
    """Bytes of memory this process holds; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(max(seconds, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _rate(value: float) -> str:
    if value >= 1e4:
        return f"{value / 1e6:.2f}M" if value >= 1e6 else f"{value / 1e3:.1f}k"
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def describe(step: int, total: int, rate: float, left: float, shown: dict[str, float], unit: str = "steps") -> str:
    """The status as text: steps (or what is counted), share, steps/s, time left, metrics, memory."""
    parts = [f"{step:,}/{total:,} {unit}", f"{100 * step / max(total, 1):.0f}%", f"{_rate(rate)} {unit}/s"]
    parts += [f"ETA {_duration(left)}"] + [f"{name} {value:.4g}" for name, value in shown.items()]
    held = memory()
    return "  ".join(parts + ([f"{held / 2**30:.1f} GiB"] if held else []))


def _lead(title: str) -> str:
    return f"jaxpsn: {title}: " if title else "jaxpsn: "


class _Forgiving(TextIOBase):
    """A stream that nobody may be reading any more: what cannot be written is lost without an error."""

    def __init__(self, stream: TextIOBase):
        self._stream = stream

    @property
    def encoding(self) -> str:
        return getattr(self._stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        return self._stream.isatty()

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


class Progress:
    """The silent display, and the interface of the others. A display that fails falls silent; it never ends a run."""

    def say(self, text: str) -> None:
        """One message."""

    @contextlib.contextmanager
    def phase(self, label: str) -> Iterator[None]:
        """Show that ``label`` is under way, with its seconds, until the block ends."""
        yield

    def update(
        self, step: int, total: int, rate: float, left: float, shown: dict[str, float], unit: str = "steps"
    ) -> None:
        """Show where the run is: steps done and in all, steps per second, seconds left, metrics."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class Plain(Progress):
    """A line now and then: for logs."""

    def __init__(self, stream: TextIOBase, every: float = PLAIN_EVERY, title: str = ""):
        self._lead = _lead(title)
        self._stream, self._every, self._last = _Forgiving(stream), every, -every
        self._lock = threading.Lock()

    def say(self, text: str) -> None:
        """Print one line."""
        with self._lock:
            print(f"{self._lead}{text}", file=self._stream, flush=True)

    @contextlib.contextmanager
    def phase(self, label: str) -> Iterator[None]:
        """Print a line at the start, every few seconds, and at the end."""
        start, done = time.monotonic(), threading.Event()
        self.say(f"{label} ...")

        def tick() -> None:
            while not done.wait(self._every):
                self.say(f"{label} ... {time.monotonic() - start:.0f} s")

        ticker = threading.Thread(target=tick, daemon=True, name="progress")
        ticker.start()
        try:
            yield
            self.say(f"{label}: {time.monotonic() - start:.1f} s")
        finally:
            done.set()
            ticker.join()

    def update(
        self, step: int, total: int, rate: float, left: float, shown: dict[str, float], unit: str = "steps"
    ) -> None:
        """Print a line if the last one is old enough or the run is complete."""
        now = time.monotonic()
        if now - self._last >= self._every or step >= total:
            self._last = now
            self.say(describe(step, total, rate, left, shown, unit))


class Rich(Progress):
    """One line that renews itself, below the messages; drawn by a thread, so it ticks while XLA compiles."""

    def __init__(self, stream: TextIOBase, title: str = ""):
        from rich.console import Console
        from rich.live import Live

        self._lead, self._title = _lead(title), f"{title}  " if title else ""
        self._text, self._since, self._share = "starting", time.monotonic(), None
        self._console = Console(file=_Forgiving(stream), soft_wrap=True)
        self._live = Live(self, console=self._console, refresh_per_second=8, transient=True)
        self._live.start()

    def __rich__(self) -> Any:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        if self._share is None:
            return Text(f"{self._title}{self._text} ... {time.monotonic() - self._since:.0f} s", style="cyan")
        bar = ProgressBar(total=1.0, completed=self._share, width=min(60, self._console.width))
        return Group(bar, Text(self._title + self._text, overflow="ellipsis", no_wrap=False))

    def say(self, text: str) -> None:
        """Print a line above the live one."""
        self._console.print(f"{self._lead}{text}", markup=False, highlight=False)

    @contextlib.contextmanager
    def phase(self, label: str) -> Iterator[None]:
        """Show the label with its running seconds, and leave a line at the end."""
        self._text, self._since, self._share = label, time.monotonic(), None
        yield
        self.say(f"{label}: {time.monotonic() - self._since:.1f} s")

    def update(
        self, step: int, total: int, rate: float, left: float, shown: dict[str, float], unit: str = "steps"
    ) -> None:
        """Renew the live line."""
        self._text, self._share = describe(step, total, rate, left, shown, unit), step / max(total, 1)

    def close(self) -> None:
        """Remove the live line; the last status stays as text."""
        self._live.stop()
        if self._share is not None:
            self.say(self._text)
            self._share = None


class Notebook(Progress):
    """A bar and a line in the cell of a notebook that renew themselves; at the end only warnings are left."""

    def __init__(self, title: str = ""):
        from IPython import display

        self._title = f"{title}  " if title else ""
        self._warnings: list[str] = []
        self._show, self._made, self._last = display.display, None, 0.0
        self._draw("starting")

    def _draw(self, text: str, share: float | None = None) -> None:
        bar = "" if share is None else f'<progress value="{share:.4f}" max="1" style="width: 20em"></progress> '
        lines = [*self._warnings, f"{self._title}{text}" if text else ""]
        told = "<br>".join(html.escape(line) for line in lines if line)
        content = {"text/html": bar + told, "text/plain": "\n".join(filter(None, lines))}
        self._last = time.monotonic()
        with contextlib.suppress(Exception):  # a display that fails falls silent
            if self._made is None:
                self._made = self._show(content, raw=True, display_id=True)
            else:
                self._made.update(content, raw=True)

    def say(self, text: str) -> None:
        """Show the message; a warning stays."""
        if text.startswith(_STAYS):
            self._warnings.append(text)
            text = ""
        self._draw(text)

    @contextlib.contextmanager
    def phase(self, label: str) -> Iterator[None]:
        """Show the label."""
        self._draw(f"{label} ...")
        yield

    def update(
        self, step: int, total: int, rate: float, left: float, shown: dict[str, float], unit: str = "steps"
    ) -> None:
        """Renew bar and line, a few times a second at most."""
        if step >= total or time.monotonic() - self._last >= _NOTEBOOK_EVERY:
            self._draw(describe(step, total, rate, left, shown, unit), step / max(total, 1))

    def close(self) -> None:
        """Leave nothing but warnings."""
        self._draw("")


def _in_notebook() -> bool:
    """Whether this is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


def teller(show: Progress, unit: str = "steps") -> Callable[[int, int, dict[str, float]], None]:
    """``told(done, total, shown)``, which shows the rate and the time left as well, counted from now on."""
    begun = time.monotonic()

    def told(done: int, total: int, shown: dict[str, float]) -> None:
        rate = done / max(time.monotonic() - begun, 1e-3)
        show.update(done, total, rate, (total - done) / max(rate, 1e-9), shown, unit)

    return told


def make(mode: str, stream: TextIOBase | None = None, title: str = "") -> Progress:
    """The display of ``mode`` (auto, rich, plain, none) on ``stream`` (default: stderr); ``title`` begins its lines.

    In a notebook ``auto`` and ``rich`` are the cell's own.
    """
    if mode in ("auto", "rich") and stream is None and _in_notebook():
        return Notebook(title)
    stream = sys.stderr if stream is None else stream
    if mode == "none" or stream is None:
        return Progress()
    terminal = hasattr(stream, "isatty") and stream.isatty() and os.environ.get("TERM") != "dumb"
    rich = mode == "rich" or (mode == "auto" and terminal)
    return Rich(stream, title) if rich else Plain(stream, title=title)
