"""Work beside the kernel's main thread, of which only the last request counts."""

from __future__ import annotations

import asyncio
import atexit
import logging
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Generic, TypeVar
from weakref import WeakSet

Result = TypeVar("Result")

STEP = 0.05  # seconds between two reports of progress, at least
_PATIENCE = 10.0  # seconds that the interpreter waits at its end for what is still running

_all: WeakSet[LatestRun[object]] = WeakSet()


class Run:
    """One request, as its work sees it.

    Parameters
    ----------
    cancelled : callable
        Whether the result is still wanted: work polls it and ends early where it is not.
    progress : callable
        Takes how much is done, 0..1.
    """

    def __init__(self, cancelled: Callable[[Run], bool], progress: Callable[[Run, float], None]) -> None:
        self._cancelled, self._progress = cancelled, progress

    def cancelled(self) -> bool:
        """Whether a later request, or nobody, wants the result."""
        return self._cancelled(self)

    def progress(self, share: float) -> None:
        """Report how much is done, 0..1; as often as the work likes."""
        self._progress(self, share)


class LatestRun(Generic[Result]):
    """Runs the last thing asked for in one thread beside the caller's.

    A request takes the place of the one before: a waiting one is forgotten, a running one is cancelled, and
    what it returns or raises all the same is dropped. So no queue builds up, and the callbacks only ever hear
    of the last request.

    The callbacks are called on the event loop on which the request was made, which is where traits of widgets
    may be set; in a script, where no loop runs, in the working thread. The thread ends when there is nothing
    to do.

    Parameters
    ----------
    done : callable
        Takes the result.
    failed : callable
        Takes the exception, where the work raised one.
    progress : callable, optional
        Takes how much is done, 0..1: 0 when the work starts, then what it reports, some 20 times a second at
        most.
    delay : float
        Seconds that a request rests before it starts: one made meanwhile takes its place.

    Examples
    --------
    >>> runs = LatestRun(done=print, failed=print, delay=0)
    >>> runs.request(lambda run: 6 * 7)
    >>> _ = runs.wait()
    42
    """

    def __init__(
        self,
        *,
        done: Callable[[Result], None],
        failed: Callable[[Exception], None],
        progress: Callable[[float], None] | None = None,
        delay: float = 0.06,
    ) -> None:
        self._done, self._failed, self._told, self._delay = done, failed, progress, delay
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._current: Run | None = None  # asked for, and neither delivered nor cancelled
        self._work: Callable[[Run], Result] | None = None  # of the current one, until it starts
        self._due = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._home: int | None = None  # the thread that the loop runs in
        self._reports: deque[tuple[Run, Callable[[], None], bool]] = deque()
        self._next_progress = 0.0
        self._closed = False
        _all.add(self)  # type: ignore[arg-type]

    @property
    def busy(self) -> bool:
        """Whether a request waits, runs, or is being delivered."""
        return self._current is not None

    def request(self, work: Callable[[Run], Result]) -> None:
        """Run `work` after the delay, in place of what was asked for before.

        Parameters
        ----------
        work : callable
            Takes a `Run`. Called in the working thread.

        Raises
        ------
        RuntimeError
            If this is closed.
        """
        with self._changed:
            if self._closed:
                raise RuntimeError("this LatestRun is closed and takes no more requests")
            self._current = Run(self._is_stale, self._report_progress)
            self._work = work
            self._due = monotonic() + self._delay
            self._loop, self._home = _running_loop(), threading.get_ident()
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="vitwidgets-run", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def cancel(self) -> None:
        """Forget what was asked for; no callback hears of it any more."""
        with self._changed:
            self._current = self._work = None
            self._reports.clear()
            self._changed.notify_all()

    def close(self) -> None:
        """Cancel, and take no more requests. The thread ends as soon as its work notices."""
        self._closed = True
        self.cancel()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the last request is delivered, or cancelled.

        Called on the loop's own thread, as in a notebook's cell, it makes the callbacks itself: the loop
        stands still meanwhile.

        Parameters
        ----------
        timeout : float, optional
            Seconds; by default as long as it takes.

        Returns
        -------
        bool
            False if time ran out.
        """
        end = None if timeout is None else monotonic() + timeout
        while True:
            left = None if end is None else max(0.0, end - monotonic())
            with self._changed:
                in_time = self._changed.wait_for(self._something_to_do, left)
                if not in_time or self._current is None:
                    return in_time
            self._deliver()

    def _something_to_do(self) -> bool:
        """Whether one who waits should wait no longer, or has to deliver a report."""
        at_home = self._loop is not None and self._home == threading.get_ident()
        return self._current is None or (at_home and bool(self._reports))

    def _serve(self) -> None:
        """Take one request after another; end when there is none."""
        while True:
            with self._changed:
                while self._work is not None and (left := self._due - monotonic()) > 0:
                    self._changed.wait(left)
                run, work = self._current, self._work
                if run is None or work is None:
                    self._thread = None
                    return
                self._work, self._next_progress = None, 0.0
            report = self._outcome(run, work)
            self._post(run, report, last=True)
            del work, report  # what the work holds is not kept while the thread rests

    def _outcome(self, run: Run, work: Callable[[Run], Result]) -> Callable[[], None]:
        try:
            run.progress(0.0)
            return partial(self._done, work(run))
        except Exception as error:
            return partial(self._failed, error)

    def _is_stale(self, run: Run) -> bool:
        return self._current is not run

    def _report_progress(self, run: Run, share: float) -> None:
        now = monotonic()
        if self._told is None or now < self._next_progress:
            return
        self._next_progress = now + STEP
        self._post(run, partial(self._told, min(max(share, 0.0), 1.0)), last=False)

    def _post(self, run: Run, report: Callable[[], None], *, last: bool) -> None:
        """Bring a report to where the callbacks are called."""
        with self._changed:
            if run is not self._current:
                return
            self._reports.append((run, report, last))
            self._changed.notify_all()
            loop = self._loop
        if loop is None:
            try:
                self._deliver()
            except Exception:
                logging.getLogger(__name__).exception("what takes the results of a run failed")
            return
        try:
            loop.call_soon_threadsafe(self._deliver)
        except RuntimeError:  # the loop has ended, and with it whoever wanted to know
            self.cancel()

    def _deliver(self) -> None:
        """Make the calls that are due, of the current run alone."""
        while True:
            with self._changed:
                if not self._reports:
                    return
                run, report, last = self._reports.popleft()
                if run is not self._current:
                    continue
            try:
                report()
            finally:
                with self._changed:
                    if last and run is self._current:
                        self._current = None
                    self._changed.notify_all()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


@atexit.register
def _end_all() -> None:
    """Let no thread work on while the interpreter is taken apart."""
    for runs in list(_all):
        thread = runs._thread
        runs.close()
        if thread is not None:
            thread.join(_PATIENCE)
