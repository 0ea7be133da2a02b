"""Grading: completions in, rewards out. Own checkers run here; LaTeX that differs as text goes to worker processes."""

import importlib.util
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from jaxpsn.core import checks, errors, processes
from jaxpsn.tasks.problem import Problem, Task

MATH_VERIFY = "jaxpsn.tasks.worker:math_verify"
_REMEMBERED = 20_000  # verdicts kept; the table starts anew when it is full


class Grader:
    """Judges completions of one or several tasks; use it in a ``with`` block, which ends its worker processes.

    ``deadline``: seconds one answer may keep a worker; then the worker is killed, the answer scores 0, and ``killed``
    counts it. Workers start when the first answer needs one. ``verify``: "module:function" of (gold, answer, seconds)
    that workers run instead of math-verify. ``checked`` counts the answers that went to a worker, ``failed`` the
    completions whose checker raised (they score 0). Raises UserError where a task needs math-verify and the extra
    ``math`` is not installed; where all golds are numbers or letters, what needs algebra then scores 0.
    """

    def __init__(
        self, tasks: Task | Sequence[Task], *, workers: int = 2, deadline: float = 5.0, verify: str = MATH_VERIFY
    ):
        checks.whole("grading.workers", workers, 1, 256)
        checks.real("grading.deadline", deadline, 0.0, 3600.0, open_low=True)
        self._tasks = {task.name: task for task in ([tasks] if isinstance(tasks, Task) else tasks)}
        self._pool = _Pool(workers, float(deadline), verify)
        self._verdicts: dict[tuple[str, str], bool] = {}
        self.failed = self.checked = 0
        wanting = [task.name for task in self._tasks.values() if getattr(task, "needs_workers", False)]
        self._able = verify != MATH_VERIFY or importlib.util.find_spec("math_verify") is not None
        if wanting and not self._able:
            raise errors.UserError(f"task {wanting[0]}: LaTeX answers need math-verify; pip install 'jaxpsn[math]'")

    @property
    def killed(self) -> int:
        """How many answers cost a worker its life: by the deadline, by memory, or by a crash."""
        return self._pool.killed

    def __enter__(self) -> "Grader":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """End the worker processes; a later ``grade`` would start new ones."""
        self._pool.close()

    def grade(self, problems: Sequence[Problem], texts: Sequence[str]) -> list[float]:
        """1.0 for a right completion, 0.0 for any other; one text a problem. Never raises on account of a text."""
        rewards = [0.0] * len(texts)
        waiting: dict[tuple[str, str], list[int]] = {}
        for place, (problem, text) in enumerate(zip(problems, texts, strict=True)):
            task = self._task(problem)
            try:
                if task.check(problem, text):
                    rewards[place] = 1.0
                    continue
                pair = task.latex(problem, text) if self._able and hasattr(task, "latex") else None
            except Exception:  # a checker is total; should a user's own not be, the run goes on and says so
                self.failed += 1
                continue
            if pair is not None:
                waiting.setdefault(pair, []).append(place)
        self._judge(waiting)
        for pair, places in waiting.items():
            for place in places:
                rewards[place] = float(self._verdicts[pair])
        return rewards

    def _task(self, problem: Problem) -> Task:
        if problem.task not in self._tasks and len(self._tasks) > 1:
            errors.refuse("problem.task", problem.task, errors.nearest(problem.task, self._tasks))
        return self._tasks.get(problem.task) or next(iter(self._tasks.values()))

    def _judge(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Have every pair in the table of verdicts; equal pairs, in this call or an earlier one, are judged once."""
        if len(self._verdicts) > _REMEMBERED:
            self._verdicts = {}
        new = [pair for pair in pairs if pair not in self._verdicts]
        self.checked += len(new)
        self._verdicts.update(zip(new, self._pool.run(new), strict=True))


class _Worker(processes.Worker):
    """A worker process, and the job it has: none while it starts or idles."""

    job: int | None = None
    ready = False


class _Pool:
    """Worker processes that outlive calls; one answer at a time each, so that a kill costs no other answer."""

    def __init__(self, size: int, deadline: float, verify: str):
        self._size, self._deadline = size, deadline
        self._setup = {"verify": verify, "seconds": max(1, int(0.8 * deadline))}
        self._workers: list[_Worker] = []
        self.killed = 0

    def run(self, pairs: list[tuple[str, str]]) -> list[bool]:
        """The verdict for each pair; False for one whose worker had to be killed or died."""
        verdicts = [False] * len(pairs)
        queue = deque(range(len(pairs)))
        stillborn = 0
        while queue or any(worker.job is not None for worker in self._workers):
            self._staff(len(queue))
            for worker in self._workers:
                if worker.ready and worker.job is None and queue:
                    worker.job = queue.popleft()
                    worker.ask(pairs[worker.job], self._deadline)
            asked = [worker for worker in self._workers if worker.job is not None or not worker.ready]
            for worker, reply in processes.replies(asked).items():
                if isinstance(reply, processes.Silence) or (reply != processes.READY and not worker.ready):
                    stillborn += not worker.ready
                    self._lose(worker)
                elif not worker.ready:
                    worker.ready = True
                else:
                    verdicts[worker.job] = reply is True
                    worker.job = None
            if stillborn > 2 * self._size:
                verify = self._setup["verify"]
                raise errors.UserError(f"grading: worker processes for {verify} end before they are ready")
        return verdicts

    def _staff(self, queued: int) -> None:
        """Start what workers are missing, no more than there is work for; bury those that died while idle."""
        for worker in [each for each in self._workers if each.job is None and each.process.poll() is not None]:
            if worker.ready:
                self._lose(worker)
        idle = sum(worker.job is None for worker in self._workers)
        for _ in range(min(self._size - len(self._workers), queued - idle)):
            self._workers.append(_Worker("jaxpsn.tasks.worker", self._setup))

    def _lose(self, worker: _Worker) -> None:
        self.killed += worker.job is not None
        worker.end()
        self._workers.remove(worker)

    def close(self) -> None:
        for worker in self._workers:
            worker.end()
        self._workers = []
