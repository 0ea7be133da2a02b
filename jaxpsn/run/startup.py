"""The first and the last words of a script; imports nothing heavy."""

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator

from jaxpsn.core import errors
from jaxpsn.run import interrupts, status


def script(main: Callable[[], int | None], greeting: str | None = "starting") -> int:
    """Run a script's ``main`` under :func:`main_guard`, signals answered from here to the end; the exit status.

    It is the first that a script does: what takes time to import is imported in ``main``.
    """
    interrupts.listen()
    if greeting is not None:
        speak(greeting)
    code = main_guard(main)()
    interrupts.settle()
    return code


_silent = False
_heard: list[object] | None = None


@contextlib.contextmanager
def within(heard: list[object], silent: bool) -> Iterator[None]:
    """While the block runs what is a script's is somebody else's program's.

    Results are put into ``heard`` instead of stdout; if ``silent``, nothing is spoken.
    """
    global _silent, _heard
    before = _silent, _heard
    _silent, _heard = silent, heard
    try:
        yield
    finally:
        _silent, _heard = before


def speak(text: str) -> None:
    """One line on stderr at once, before the imports that take seconds; a closed stderr is no error."""
    if _silent:
        return
    with contextlib.suppress(OSError, ValueError):
        print(f"jaxpsn: {text}", file=sys.stderr, flush=True)


def result(text: object) -> None:
    """The one line a script leaves on stdout; nobody reading it is no error."""
    if _heard is not None:
        _heard.append(text)
        return
    try:
        print(text, flush=True)
    except OSError:
        sys.stdout = None  # else the interpreter fails at exit over what is left in the buffer


def complain(error: BaseException | str) -> None:
    """``error: ...`` as one line on stderr."""
    with contextlib.suppress(OSError, ValueError):
        print(f"error: {errors.short(error)}", file=sys.stderr, flush=True)


def last_words(error: BaseException) -> int:
    """Say on stderr what ends the process, and return its exit status; see :func:`main_guard`."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else status.USER_ERROR
    if isinstance(error, errors.UserError):
        complain(error)
    elif isinstance(error, OSError):
        complain(f"{error.filename}: {error.strerror}" if error.filename else error)
    elif isinstance(error, KeyboardInterrupt):
        complain("interrupted")
        return status.INTERRUPTED
    elif _exhausted(error):
        complain("out of memory; lower the sizes of what was asked for")
    else:
        import traceback

        traceback.print_exception(error)
        return 1
    return status.USER_ERROR


def main_guard(main: Callable[..., int | None]) -> Callable[..., int]:
    """Wrap a script's ``main`` so that it returns an exit status and users never see a traceback for what they caused.

    UserError, memory that does not suffice and a disk that cannot be read or written give one line on stderr and
    status 2, Ctrl-C status 130; ``sys.exit(main())`` ends the script. Anything else is a fault of ours and keeps its
    traceback.
    """

    @functools.wraps(main)
    def guarded(*args: object, **kwargs: object) -> int:
        try:
            return main(*args, **kwargs) or status.DONE
        except (errors.UserError, OSError, KeyboardInterrupt) as error:
            return last_words(error)
        except Exception as error:
            if not _exhausted(error):
                raise
            return last_words(error)

    return guarded


def _exhausted(error: BaseException) -> bool:
    """Whether memory ran out; JAX is asked only where it is there."""
    if "jax" not in sys.modules:
        return isinstance(error, MemoryError)
    from jaxpsn.run import memory

    return memory.exhausted(error)
