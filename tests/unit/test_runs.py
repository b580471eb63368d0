"""Work in the background: the last request wins, nothing queues up, nothing is left behind."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from vitwidgets.runs import LatestRun, Run


class Heard:
    """What the callbacks were called with, and in which thread."""

    def __init__(self) -> None:
        self.results: list[Any] = []
        self.errors: list[Exception] = []
        self.shares: list[float] = []
        self.threads: set[int] = set()

    def done(self, result: Any) -> None:
        self.threads.add(threading.get_ident())
        self.results.append(result)

    def failed(self, error: Exception) -> None:
        self.threads.add(threading.get_ident())
        self.errors.append(error)

    def progress(self, share: float) -> None:
        self.threads.add(threading.get_ident())
        self.shares.append(share)


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def make(heard: Heard) -> Iterator[Callable[..., LatestRun[Any]]]:
    made = []

    def make(**options: Any) -> LatestRun[Any]:
        runs = LatestRun[Any](
            done=heard.done, failed=heard.failed, progress=heard.progress, **{"delay": 0.0, **options}
        )
        made.append(runs)
        return runs

    yield make
    for runs in made:
        runs.close()
    wait_until(lambda: not workers())


def workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "vitwidgets-run"]


def wait_until(condition: Callable[[], bool], timeout: float = 5) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


def until_cancelled(started: threading.Event) -> Callable[[Run], str]:
    """Work that does not end before it is cancelled."""

    def work(run: Run) -> str:
        started.set()
        wait_until(run.cancelled)
        return "too late"

    return work


def test_in_a_script_the_result_is_there_after_waiting(
    make: Callable[..., LatestRun[Any]], heard: Heard
) -> None:
    runs = make()
    runs.request(lambda _run: threading.get_ident())
    assert runs.wait(5)
    assert len(heard.results) == 1
    assert heard.results != [threading.get_ident()]  # it ran in another thread
    assert not runs.busy


def test_a_request_takes_the_place_of_one_that_rests(
    make: Callable[..., LatestRun[Any]], heard: Heard
) -> None:
    runs, called = make(delay=0.15), []

    def work(number: int, _run: Run) -> int:
        called.append(number)
        return number

    for number in range(20):
        runs.request(partial(work, number))
    assert runs.wait(5)
    assert called == heard.results == [19]


def test_a_request_cancels_the_one_that_runs_and_its_result_is_dropped(
    make: Callable[..., LatestRun[Any]], heard: Heard
) -> None:
    runs, started = make(), threading.Event()
    runs.request(until_cancelled(started))
    assert started.wait(5)
    runs.request(lambda _run: "last")
    assert runs.wait(5)
    wait_until(lambda: not workers())
    assert heard.results == ["last"]


def test_an_error_of_what_was_cancelled_is_dropped_too(
    make: Callable[..., LatestRun[Any]], heard: Heard
) -> None:
    runs, started = make(), threading.Event()

    def work(run: Run) -> None:
        until_cancelled(started)(run)
        raise ValueError("nobody asked")

    runs.request(work)
    assert started.wait(5)
    runs.cancel()
    assert runs.wait(5)
    wait_until(lambda: not workers())
    assert (heard.results, heard.errors) == ([], [])


def test_one_thread_at_most_however_many_requests(make: Callable[..., LatestRun[Any]]) -> None:
    runs, together, most = make(), [0], [0]

    def work(_run: Run) -> None:
        together[0] += 1
        most[0] = max(most[0], together[0], len(workers()))
        time.sleep(0.005)
        together[0] -= 1

    for _ in range(10):
        runs.request(work)
        time.sleep(0.003)
    assert runs.wait(5)
    assert most == [1]


def test_an_exception_is_delivered_and_the_next_request_runs(
    make: Callable[..., LatestRun[Any]], heard: Heard
) -> None:
    runs = make()
    runs.request(lambda _run: 1 // 0)
    assert runs.wait(5)
    runs.request(lambda _run: 2)
    assert runs.wait(5)
    assert [type(error) for error in heard.errors] == [ZeroDivisionError]
    assert heard.results == [2]


def test_a_callback_that_raises_does_not_stop_the_next(
    heard: Heard, caplog: pytest.LogCaptureFixture
) -> None:
    runs = LatestRun[int](done=lambda result: heard.done(6 // result), failed=heard.failed, delay=0)
    for divisor in (0, 3):
        runs.request(partial(lambda divisor, _run: divisor, divisor))
        assert runs.wait(5)
    assert heard.results == [2]
    assert "ZeroDivisionError" in caplog.text


def test_a_callback_that_raises_tells_whoever_waits_on_the_loops_thread(heard: Heard) -> None:
    async def main() -> None:
        runs = LatestRun[int](done=lambda result: heard.done(6 // result), failed=heard.failed, delay=0)
        runs.request(lambda _run: 0)
        with pytest.raises(ZeroDivisionError):
            runs.wait(5)
        assert not runs.busy

    asyncio.run(main())


def test_progress_starts_at_0_stays_within_1_and_is_thinned(
    make: Callable[..., LatestRun[Any]], heard: Heard
) -> None:
    runs = make()

    def work(run: Run) -> None:
        for step in range(1000):
            run.progress(step / 500)
            time.sleep(0.0002)

    runs.request(work)
    assert runs.wait(10)
    assert heard.shares[0] == 0
    assert heard.shares == sorted(heard.shares)
    assert heard.shares[-1] == 1
    assert 2 <= len(heard.shares) <= 40


def test_on_a_loop_everything_is_delivered_in_the_loops_thread(
    make: Callable[..., LatestRun[Any]], heard: Heard
) -> None:
    def work(run: Run) -> str:
        run.progress(0.5)
        return "here"

    async def main() -> None:
        runs = make()
        runs.request(work)
        while runs.busy:
            await asyncio.sleep(0.002)

    asyncio.run(main())
    assert heard.results == ["here"]
    assert heard.threads == {threading.get_ident()}


def test_waiting_on_the_loops_own_thread_delivers(make: Callable[..., LatestRun[Any]], heard: Heard) -> None:
    async def main() -> None:
        runs = make(delay=0.02)
        runs.request(lambda _run: "here")
        assert runs.wait(5)
        assert heard.results == ["here"]
        await asyncio.sleep(0.01)  # the loop's own turn delivers nothing twice

    asyncio.run(main())
    assert heard.results == ["here"]
    assert heard.threads == {threading.get_ident()}


def test_a_request_made_by_a_callback_is_waited_for(heard: Heard) -> None:
    def done(result: int) -> None:
        heard.done(result)
        if result < 3:
            runs.request(lambda _run: result + 1)

    runs = LatestRun[int](done=done, failed=heard.failed, delay=0)
    runs.request(lambda _run: 0)
    assert runs.wait(5)
    assert heard.results == [0, 1, 2, 3]


def test_waiting_ends_when_time_runs_out(make: Callable[..., LatestRun[Any]]) -> None:
    runs, started = make(), threading.Event()
    runs.request(until_cancelled(started))
    assert not runs.wait(0.05)
    assert runs.busy


def test_nothing_to_wait_for(make: Callable[..., LatestRun[Any]]) -> None:
    assert make().wait(0)


def test_the_thread_ends_when_there_is_nothing_to_do(make: Callable[..., LatestRun[Any]]) -> None:
    runs = make()
    for _ in range(3):
        runs.request(lambda _run: None)
        assert runs.wait(5)
        wait_until(lambda: not workers())


def test_closing_cancels_and_refuses(make: Callable[..., LatestRun[Any]], heard: Heard) -> None:
    runs, started = make(), threading.Event()
    runs.request(until_cancelled(started))
    assert started.wait(5)
    runs.close()
    wait_until(lambda: not workers())
    with pytest.raises(RuntimeError, match="closed"):
        runs.request(lambda _run: None)
    assert heard.results == []


def test_an_ended_loop_is_no_error(make: Callable[..., LatestRun[Any]], heard: Heard) -> None:
    go = threading.Event()

    async def main() -> LatestRun[Any]:
        runs = make()
        runs.request(lambda _run: go.wait(5))
        return runs

    runs = asyncio.run(main())
    go.set()
    wait_until(lambda: not runs.busy)
    assert heard.results == []


def test_the_interpreter_ends_while_work_runs() -> None:
    code = """
import time
from vitwidgets.runs import LatestRun
def work(run):
    while not run.cancelled():
        time.sleep(0.01)
    print("ended", flush=True)
runs = LatestRun(done=print, failed=print, delay=0)
runs.request(work)
time.sleep(0.1)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "ended\n", "")
