"""``vitwidgets demo``: a copy of the tour, an address that works, and words where it cannot."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from jupyter_env import NOTEBOOKS, isolated

from vitwidgets import cli

TOUR = NOTEBOOKS / "tour.ipynb"


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def status(address: str) -> int:
    try:
        with urllib.request.urlopen(address, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.slow
def test_the_printed_address_opens_the_copy(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vitwidgets.cli", "demo", "--no-browser", "--folder", "mine"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=isolated(tmp_path / "jupyter"), stdout=subprocess.PIPE, text=True
    )
    try:
        lines = iter(process.stdout.readline, "")
        address = next(line.split()[1] for line in lines if line.startswith("Address:"))
        host, path, token = re.fullmatch(
            r"(http://127\.0\.0\.1:\d+)/lab/tree/(.+)\?token=(\w+)", address
        ).groups()
        contents = f"{host}/api/contents/{path}"
        for _ in range(300):
            try:
                assert status(f"{contents}?token={token}") == 200
                break
            except urllib.error.URLError:
                assert process.poll() is None, "JupyterLab ended by itself"
                time.sleep(0.2)
        else:
            pytest.fail(f"nothing answers at {address}")
        assert status(f"{contents}?token=wrong") == 403
        assert (tmp_path / "mine/tour.ipynb").read_bytes() == TOUR.read_bytes()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        process.kill()


def test_a_copy_with_the_readers_changes_is_kept(tmp_path: Path) -> None:
    copy = tmp_path / "deep/folder/tour.ipynb"
    assert cli.copy_tour(copy.parent) == copy
    assert copy.read_bytes() == TOUR.read_bytes()
    copy.write_text("changed")
    cli.copy_tour(copy.parent)
    assert copy.read_text() == "changed"


def test_without_jupyterlab_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "jupyterlab", None)
    assert cli.main(["demo", "--folder", str(tmp_path / "mine")]) == 1
    assert 'pip install "vitwidgets[lab]"' in capsys.readouterr().err
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize("port", ["0", "70000", "-1"])
def test_a_port_that_does_not_exist(port: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", f"--port={port}", "--folder", str(tmp_path)]) == 1
    assert "expected 1 to 65535" in capsys.readouterr().err


def test_a_taken_port(taken_port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", f"--port={taken_port}", "--folder", str(tmp_path)]) == 1
    assert f"port {taken_port} cannot be had" in capsys.readouterr().err


def test_the_first_free_port(taken_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "PORTS", range(taken_port, taken_port + 50))
    assert taken_port < cli.free_port() < taken_port + 50
    monkeypatch.setattr(cli, "PORTS", range(taken_port, taken_port + 1))
    with pytest.raises(RuntimeError, match="--port"):
        cli.free_port()


def test_a_folder_that_cannot_be_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert cli.main(["demo", "--folder", str(tmp_path / "file/inside")]) == 1
    assert "file/inside" in capsys.readouterr().err
