"""Where tasks run. A port of one verb, so that a new kind of machine is one class."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from importlib import import_module
from types import TracebackType
from typing import Any, Protocol

from lamella.errors import InputError
from lamella.progress import Progress
from lamella.runtime import threads
from lamella.workflow.run_settings import RunSettings
from lamella.workflow.tasks import Failure, Outcome, Task, perform

__all__ = ["DaskExecutor", "Executor", "LocalExecutor", "TaskProgress", "open_executor"]


_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class TaskProgress(Protocol):
    """Told how far a task is, where the executor can know it."""

    def __call__(self, task: Task) -> Progress:
        """The progress to tell for this task."""
        ...


class Executor(Protocol):
    """Runs tasks and hands each outcome over as it comes; usable as a context."""

    name: str

    def run(self, tasks: Sequence[Task], progress: TaskProgress) -> Iterator[tuple[Task, Outcome]]:
        """Do every task once, in any order; a task that fails comes back as an outcome, never as an error."""
        ...

    def __enter__(self) -> Executor: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...


def open_executor(settings: RunSettings) -> Executor:
    """The executor that ``[run]`` asks for.

    Raises
    ------
    InputError
        if dask is asked for and not installed, or its scheduler does not answer.
    """
    if settings.executor == "dask":
        return DaskExecutor(workers=settings.workers, scheduler=settings.scheduler)
    return LocalExecutor(workers=settings.workers)


class LocalExecutor:
    """This process, or a few processes of this machine.

    One worker computes in this process with every core. More of them share the cores, which pays where many small
    series spend their time in steps that cannot fill the cores.

    Parameters
    ----------
    workers
        series worked on side by side.
    """

    name = "local"

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Let the processes go; work that was not begun is dropped."""
        self._close()

    def run(self, tasks: Sequence[Task], progress: TaskProgress) -> Iterator[tuple[Task, Outcome]]:
        """Do every task; see `Executor`."""
        if min(self.workers, len(tasks)) <= 1:
            for task in tasks:
                yield task, perform(task, progress(task))
            return
        shared = [replace(task, threads=max(1, threads() // self.workers)) for task in tasks]
        lost: list[Task] = []
        yield from self._side_by_side(shared, lost)
        for task in lost:  # what went down with a process is tried once more, in one of its own
            again: list[Task] = []
            yield from self._side_by_side([task], again)
            if again:
                yield task, _dead_worker(task)

    def _side_by_side(self, tasks: Sequence[Task], lost: list[Task]) -> Iterator[tuple[Task, Outcome]]:
        """Do tasks in the pool, which stays for the next step; what its end took along is put into `lost`."""
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.workers, context, _die_with_parent, (os.getpid(),))
        running = {self._pool.submit(perform, task): task for task in tasks}
        for future in as_completed(running):
            try:
                outcome = future.result()
            except BrokenProcessPool:
                lost.append(running[future])
            else:
                yield running[future], outcome
        if lost:
            self._close()

    def _close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


class DaskExecutor:
    """Dask workers: a cluster on this machine, or a scheduler's address.

    Parameters
    ----------
    workers
        of a cluster on this machine.
    scheduler
        address of a running scheduler; its workers must see the project under the same path, and have lamella.

    Raises
    ------
    InputError
        if dask is not installed, or the scheduler does not answer.
    """

    name = "dask"

    def __init__(self, workers: int = 1, scheduler: str = "") -> None:
        try:
            distributed: Any = import_module("distributed")
        except ImportError as error:
            raise InputError("dask is not installed", mend="pip install 'lamella[cluster]'") from error
        self._threads: int | None = None
        self._cluster: Any = None
        if scheduler:
            try:
                self._client: Any = distributed.Client(scheduler, timeout="10s", set_as_default=False)
            except (OSError, ValueError, TimeoutError) as error:
                raise InputError(
                    f"no dask scheduler answers at {scheduler}", mend="start `dask scheduler`, or check the address"
                ) from error
        else:
            self._threads = max(1, threads() // workers)
            self._cluster = distributed.LocalCluster(
                n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None, memory_limit=0
            )
            self._client = distributed.Client(self._cluster, set_as_default=False)

    def __enter__(self) -> DaskExecutor:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the connection, and the cluster that was opened with it."""
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()

    def workers(self) -> int:
        """Workers that the scheduler has now."""
        return len(self._client.scheduler_info(n_workers=-1)["workers"])

    def run(self, tasks: Sequence[Task], progress: TaskProgress) -> Iterator[tuple[Task, Outcome]]:
        """Do every task; see `Executor`. A task whose worker dies is run again on another."""
        distributed: Any = import_module("distributed")
        shared = [replace(task, threads=self._threads) for task in tasks]
        futures = [self._client.submit(perform, task, pure=False) for task in shared]
        by_key = {future.key: task for future, task in zip(futures, shared, strict=True)}
        try:
            for future in distributed.as_completed(futures, loop=self._client.loop):
                task = by_key[future.key]
                error = future.exception()
                yield task, (_dead_worker(task, error) if error is not None else future.result())
        finally:
            self._client.cancel([future for future in futures if not future.done()])


def _die_with_parent(parent: int) -> None:
    """Let the system end this process with its parent, so that nobody writes to a project that is unlocked."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it went before we asked
        os._exit(1)


def _dead_worker(task: Task, error: BaseException | None = None) -> Outcome:
    failure = Failure(
        kind=type(error).__name__ if error else "DeadWorker",
        problem=f"{task.series}: its worker process died" + (f" ({error})" if error else ""),
        mend="give it more memory, or let fewer series run side by side (--workers)",
    )
    return Outcome(series=task.series, failure=failure)
