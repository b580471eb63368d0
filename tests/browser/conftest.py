"""Fixtures for tests in a real JupyterLab: one server and one Chromium for all, a fresh page for each."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from browser.lab import Lab
from browser.server import Server, serve
from browser.workbench import OPEN, SETUP, Workbench
from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

OpenLab = Callable[..., Lab]


def chromium() -> str:
    """Path of Chromium; without one the test is skipped, or fails where CI is set."""
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path:
        return path
    reason = (
        f"no Chromium: none of {', '.join(NAMES)} is on the PATH. Install it (Debian: apt-get install "
        "chromium) or set CHROMIUM to its path"
    )
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests."""
    path = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One JupyterLab for all tests, on a copy of the notebooks."""
    with serve(tmp_path_factory.mktemp("lab")) as server:
        yield server


@pytest.fixture(scope="session")
def open_lab(browser: Browser, server: Server) -> Iterator[OpenLab]:
    """Open a page: ``open_lab(width=1280, height=900) -> Lab``, for fixtures of a wider scope than a test."""
    with ExitStack() as stack:

        def open_page(**size: int) -> Lab:
            lab = Lab(browser, server, **size)
            stack.callback(lab.close)
            return lab

        yield open_page


@pytest.fixture
def lab(browser: Browser, server: Server, request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A fresh page in JupyterLab; pictured if the test fails, closed with its kernel at the end."""
    lab = Lab(browser, server)
    yield lab
    if request.node.stash.get(FAILED, False):
        lab.screenshot("failed-" + re.sub(r"\W+", "-", request.node.name))
    lab.close()


@pytest.fixture(scope="session")
def shared_bench(open_lab: OpenLab) -> Workbench:
    """One explorer with all of its numbers, for every test that leaves page and kernel as they are."""
    lab = open_lab(height=1500)
    lab.new(SETUP, OPEN)
    lab.run_all()
    return Workbench(lab, lab.output(1).locator(".vw-root")).ready()


@pytest.fixture
def bench(shared_bench: Workbench, request: pytest.FixtureRequest) -> Iterator[Workbench]:
    """The shared explorer, its cursor where it started; pictured if the test fails."""
    shared_bench.reset()
    yield shared_bench
    if request.node.stash.get(FAILED, False):
        shared_bench.lab.screenshot("failed-" + re.sub(r"\W+", "-", request.node.name))


FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Note on the test whether it failed, for the fixtures that end after it."""
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report
