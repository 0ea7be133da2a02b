"""The programs of a run: traced one after the other, or taken from a shelf, and compiled side by side."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax

from jaxpsn.core import platforms
from jaxpsn.core.placement import Placement
from jaxpsn.run.exported import Shelf


class Part:
    """A program that is being compiled, to be called once it is; ``outs``: a tree of the structure of its results."""

    def __init__(self, outs: Any, compiled: "Future[Any]", flat: bool, begun: float):
        self.outs, self._future, self._begun = outs, compiled, begun
        self._tree = jax.tree.structure(outs) if flat else None
        self._compiled: Any = None
        self.seconds = 0.0
        """From the beginning of its trace to the end of its compilation."""
        compiled.add_done_callback(self._done)

    def _done(self, _: Any) -> None:
        self.seconds = time.monotonic() - self._begun

    def wait(self) -> Any:
        """XLA's executable. Raises what compiling raised."""
        if self._compiled is None:
            self._compiled = self._future.result()
        return self._compiled

    def __call__(self, *args: Any) -> Any:
        """Run it."""
        if self._tree is None:
            return self.wait()(*args)
        return jax.tree.unflatten(self._tree, self.wait()(*jax.tree.leaves(args)))


class Workshop:
    """Compiles in threads of its own: two on a CPU, as much of XLA's work there keeps a single core busy, else one.

    On a GPU XLA tries kernels out, which must not disturb each other, and processes of one mesh compile in one order.
    ``options``: what XLA is told of every program.
    """

    def __init__(self, place: Placement, shelf: Shelf | None, options: dict[str, str]):
        self._place, self._shelf, self._options = place, shelf, options
        alone = place.platform == platforms.CPU and place.mesh is None
        self._pool = ThreadPoolExecutor(2 if alone else 1, thread_name_prefix="compile")

    def add(
        self, name: str, function: Callable[..., Any], args: Any, shardings: tuple[Any, Any],
        told: Callable[[Any], Any], read: Callable[[Any], Any], donate: bool = False,
    ) -> Part:  # fmt: skip
        """Trace ``function(*args)``, shapes or arrays, and begin to compile it.

        ``told`` makes JSON of the structure of what it returns, and ``read`` a tree of that structure again.
        ``donate``: its first argument may be overwritten.
        """
        begun = time.monotonic()
        jitted = self._place.jit(function, *shardings, donate_argnums=(0,) if donate else ())
        if found := self._shelf and self._shelf.ready(name, args):
            done: Future[Any] = Future()
            done.set_result(found[0])
            return Part(read(found[1]), done, True, begun)
        if kept := self._shelf and self._shelf.lower(name, jitted, args, told, donate, self._options):
            return Part(read(kept.outs), self._pool.submit(kept.compile), True, begun)
        lowered = jitted.lower(*args)
        compiled = self._pool.submit(lowered.compile, compiler_options=self._options)
        return Part(lowered.out_info, compiled, False, begun)

    def alone(self, name: str, function: Callable[..., Any], args: Any, outline: Any) -> Part:
        """``function(*args)`` on one device, which returns a tree of the structure of ``outline``."""
        return self.add(name, function, args, (None, None), lambda made: None, lambda told: outline)

    def __enter__(self) -> "Workshop":
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        """Compile what is left, or after an error only what was begun, and end the threads."""
        self._pool.shutdown(cancel_futures=kind is not None)
