"""The command line: ``vitwidgets demo`` opens JupyterLab on the tour notebook."""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
NOTEBOOK = "tour.ipynb"
PORTS = range(8888, 8988)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        The words after ``vitwidgets``; default: those the process was started with.

    Returns
    -------
    int
        Exit status: 0 when all went well, 1 with a message on the error stream otherwise.
    """
    parser = argparse.ArgumentParser(prog="vitwidgets", description="See inside vision transformers.")
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser(
        "demo",
        help="open JupyterLab on the tour notebook",
        description="Open JupyterLab on the tour notebook. It runs on the embedded model, without a network.",
    )
    demo.add_argument("--no-browser", action="store_true", help="print the address, open no browser")
    demo.add_argument("--port", type=int, help=f"default: the first free one from {PORTS.start} on")
    demo.add_argument(
        "--folder",
        type=Path,
        default=Path("vitwidgets-tour"),
        help="where your copy of the notebook lies; one that is there is kept (default: %(default)s)",
    )
    given = parser.parse_args(arguments)
    try:
        open_tour(given.folder, given.port, browser=not given.no_browser)
    except (RuntimeError, OSError) as error:
        print(f"vitwidgets demo: {error}", file=sys.stderr)
        return 1
    return 0


def open_tour(folder: Path, port: int | None = None, *, browser: bool = True) -> None:
    """Open JupyterLab on the reader's copy of the tour, until it is stopped.

    Parameters
    ----------
    folder : Path
        Where the copy lies or is to lie; made if it does not exist.
    port : int, optional
        Port to listen on, 1 to 65535; default: the first free one of `PORTS`.
    browser : bool
        Whether to open a browser. The address is printed either way.

    Raises
    ------
    RuntimeError
        When JupyterLab is missing, or no port is free.
    OSError
        When the folder cannot be written.
    """
    try:
        from jupyterlab import labapp
    except ModuleNotFoundError:
        message = 'JupyterLab is not installed. Install it with: pip install "vitwidgets[lab]"'
        raise RuntimeError(message) from None
    notebook = copy_tour(folder)
    port = free_port() if port is None else checked_port(port)
    token = secrets.token_hex(16)
    folder = notebook.resolve().parent
    print(
        f"The tour: {notebook}\n"
        f"Address:  http://127.0.0.1:{port}/lab/tree/{notebook.name}?token={token}\n"
        "Ctrl-C stops it.",
        flush=True,
    )
    # By the environment, since everyone on the machine can read a command line.
    os.environ["JUPYTER_TOKEN"] = token
    labapp.main(
        [
            *(str(notebook.resolve()), f"--ServerApp.root_dir={folder}", "--Application.log_level=WARN"),
            *("--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0"),
            "--ServerApp.answer_yes=True",
            *([] if browser else ["--no-browser"]),
            *(["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []),
        ]
    )


def tour() -> Path:
    """Path of the tour as it came: beside the package in a checkout, inside it when installed.

    Raises
    ------
    RuntimeError
        When it is in neither place.
    """
    for folder in (PACKAGE / "notebooks", PACKAGE.parent / "notebooks"):
        if (folder / NOTEBOOK).is_file():
            return folder / NOTEBOOK
    raise RuntimeError(f"{NOTEBOOK} is missing from the installation in {PACKAGE}. Install vitwidgets again")


def copy_tour(folder: Path) -> Path:
    """Copy the tour into ``folder`` unless one is there; return the path of the copy.

    Raises
    ------
    OSError
        When the folder cannot be made or written.
    """
    copy = folder / NOTEBOOK
    if not copy.exists():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(tour(), copy)
    return copy


def checked_port(port: int) -> int:
    """Return ``port`` if one can listen on it.

    Raises
    ------
    RuntimeError
        When it is outside 1 to 65535, or taken, or not ours to take.
    """
    if not 0 < port < 65536:
        raise RuntimeError(f"port {port} does not exist; expected 1 to 65535")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise RuntimeError(f"port {port} cannot be had ({error.strerror}); choose another") from None
    return port


def free_port() -> int:
    """Return the first of `PORTS` that is free.

    Raises
    ------
    RuntimeError
        When none is.
    """
    for port in PORTS:
        try:
            return checked_port(port)
        except RuntimeError:
            continue
    raise RuntimeError(f"no port from {PORTS.start} to {PORTS.stop - 1} is free; name one with --port")


if __name__ == "__main__":
    raise SystemExit(main())
