"""A page in JupyterLab, driven as a reader would: open a notebook, run cells, look, click.

Playwright's own ``page`` is there for mouse, keyboard and locators; this adds what is particular to
JupyterLab. Every wait has a limit, and a failure says what the cells printed.
"""

from __future__ import annotations

import ast
import json
import re
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import nbformat
from browser.server import Server
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request
from playwright.sync_api import TimeoutError as PlaywrightTimeout

SCREENSHOTS = Path(__file__).parent / "screenshots"

LIGHT = "JupyterLab Light"
DARK = "JupyterLab Dark"
HIGH_CONTRAST = "JupyterLab Dark High Contrast"

# The notebook in front, whatever has the focus.
PANEL = """
const app = window.jupyterapp;
const panel = [...app.shell.widgets("main")].find(w => w.isVisible && w.content?.model?.cells);
"""

RUN = """
async command => {
  window.vwRun = null;
  try {
    const ok = await window.jupyterapp.commands.execute(command);
    window.vwRun = { ok: ok !== false };
  } catch (error) {
    window.vwRun = { ok: false, error: String(error) };
  }
}
"""

# One request to the kernel outside of the notebook's cells; answers once the kernel is done with it.
REQUEST = (
    """
async ({ code, expressions }) => {
"""
    + PANEL
    + """
  const kernel = panel.sessionContext.session?.kernel;
  if (!kernel) return { status: "error", ename: "NoKernel", evalue: "the notebook has no kernel" };
  const future = kernel.requestExecute({
    code, user_expressions: expressions, silent: false, store_history: false, stop_on_error: false,
    allow_stdin: false,
  });
  return (await future.done).content;
}
"""
)


class CellError(AssertionError):
    """A cell raised, or did not end in time; the message holds what the cells printed."""


class Lab:
    """One page on one notebook.

    Attributes
    ----------
    page : playwright.sync_api.Page
        For everything that is not particular to JupyterLab.
    errors : list of str
        What went to the browser's console as an error, or was thrown and not caught, so far.
    foreign : list of str
        Addresses outside this machine that the page asked for, so far.
    """

    def __init__(self, browser: Browser, server: Server, width: int = 1280, height: int = 900) -> None:
        self.server = server
        self.errors: list[str] = []
        self.foreign: list[str] = []
        self.path = ""
        self._address = f"{server.url}/lab/workspaces/{uuid4().hex}"
        self._context = browser.new_context(viewport={"width": width, "height": height})
        self.page: Page = self._context.new_page()
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.errors.append(f"{error}\n{error.stack or ''}"))
        self.page.on("request", self._on_request)
        self._load()

    def close(self) -> None:
        """Close the page and end its kernel."""
        if self.path:
            self.shutdown_kernel()
        self._context.close()

    # ------------------------------------------------------------ notebooks

    def new(self, *cells: str, name: str | None = None) -> None:
        """Make a notebook of these code cells and open it; nothing is run yet."""
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        )
        path = name or f"test-{uuid4().hex[:8]}.ipynb"
        nbformat.write(notebook, self.server.root / path)
        self.open(path)

    def open(self, path: str, timeout: float = 90) -> None:
        """Open a notebook, its path relative to the server's folder, and wait for its kernel."""
        self.path = path
        self.command("docmanager:open", path=path, factory="Notebook")
        ready = (
            f"return panel?.context.path === {json.dumps(path)} && panel.context.isReady && "
            "panel.sessionContext.isReady && panel.sessionContext.session?.kernel?.status === 'idle'"
        )
        self.wait_for("() => {" + PANEL + ready + "}", f"the notebook {path} with an idle kernel", timeout)

    def run_all(self, timeout: float = 180) -> None:
        """Run all cells and wait for the last; raises CellError where one raised or did not end."""
        self._run("notebook:run-all-cells", timeout)

    def run(self, code: str, timeout: float = 120) -> int:
        """Append a cell, run it and wait; returns its index. Raises CellError where it raised."""
        self._evaluate(
            """
            async code => {"""
            + PANEL
            + """
              const notebook = panel.content;
              notebook.activeCellIndex = notebook.widgets.length - 1;
              await app.commands.execute("notebook:insert-cell-below");
              notebook.activeCell.model.sharedModel.setSource(code);
              notebook.mode = "command";
            }""",
            code,
        )
        index = len(self.cells()) - 1
        self._run("notebook:run-cell", timeout, first=index)
        return index

    def save(self) -> Path:
        """Save the notebook; returns its path on disk."""
        self.command("docmanager:save")
        return self.server.root / self.path

    def reload(self, timeout: float = 90) -> None:
        """Load the page anew, with the same notebook; its kernel goes on."""
        self._load()
        self.open(self.path, timeout)

    def cells(self) -> list[dict[str, Any]]:
        """Return every cell of the notebook as nbformat has it."""
        return self._evaluate("() => {" + PANEL + "return panel.content.model.toJSON().cells }")

    def output_text(self, cell: int) -> str:
        """Everything that a cell put out, as text: streams, plain-text results, errors."""
        return "".join(_text(output) for output in self.cells()[cell].get("outputs", []))

    def cell(self, index: int) -> Locator:
        """Return a cell of the notebook in front."""
        return self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Notebook .jp-Cell").nth(index)

    def output(self, index: int) -> Locator:
        """Return what a cell put out (the widgets are in it), scrolled into view."""
        area = self.cell(index).locator(".jp-Cell-outputArea")
        area.scroll_into_view_if_needed()
        return area

    # --------------------------------------------------------------- kernel

    def value(self, expression: str) -> Any:
        """Return the value of a Python expression in the kernel, by way of JSON (arrays become lists).

        The answer comes after all that the page sent the kernel before: a click's effect can be read at once.
        """
        code = f"__import__('json').dumps(({expression}), default=lambda o: o.tolist())"
        content = self._request("", {"value": code})
        result = content["user_expressions"]["value"]
        if result["status"] != "ok":
            raise CellError(_error(result, expression))
        return json.loads(ast.literal_eval(result["data"]["text/plain"]))

    def execute(self, code: str) -> None:
        """Run Python statements in the kernel, outside of any cell; raises CellError where they raise."""
        self._request(code, {})

    def wait_value(self, expression: str, expected: object, timeout: float = 10) -> None:
        """Wait until a Python expression in the kernel has the expected value."""
        deadline = time.monotonic() + timeout
        while (value := self.value(expression)) != expected:
            if time.monotonic() > deadline:
                raise AssertionError(f"{expression} is {value!r} after {timeout} s, expected {expected!r}")
            self.page.wait_for_timeout(50)

    def shutdown_kernel(self) -> None:
        """End the notebook's kernel for good; what the page shows stays."""
        self._evaluate("async () => {" + PANEL + "await panel?.sessionContext.shutdown() }")
        self.wait_for("() => {" + PANEL + "return !panel?.sessionContext.session?.kernel }", "no kernel", 20)

    def restart_kernel(self, timeout: float = 60) -> None:
        """Restart the notebook's kernel and wait for it."""
        self._evaluate("async () => {" + PANEL + "await panel.sessionContext.restartKernel() }")
        ready = "() => {" + PANEL + "return panel.sessionContext.session?.kernel?.status === 'idle' }"
        self.wait_for(ready, "an idle kernel", timeout)

    # ------------------------------------------------------------ appearance

    def theme(self, name: str) -> None:
        """Switch to `LIGHT`, `DARK` or `HIGH_CONTRAST` and wait until it is painted."""
        self.command("apputils:change-theme", theme=name)
        quoted = json.dumps(name)
        self.wait_for(f"() => document.body.dataset.jpThemeName === {quoted}", f"the theme {name}", 20)
        self._wait_until_uncovered()
        self.settle()

    def viewport(self, width: int, height: int = 900) -> None:
        """Resize the page, in CSS pixels."""
        self.page.set_viewport_size({"width": width, "height": height})
        self.settle()

    def settle(self) -> None:
        """Wait for two animation frames: what was asked for before is painted now."""
        self._evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def screenshot(self, name: str, element: Locator | None = None) -> Path:
        """Save a picture of the page, or of one element, as ``screenshots/<name>.png``."""
        SCREENSHOTS.mkdir(exist_ok=True)
        path = SCREENSHOTS / f"{name}.png"
        (element or self.page).screenshot(path=path)
        return path

    # -------------------------------------------------------------- the page

    def command(self, name: str, **arguments: object) -> None:
        """Execute a command of JupyterLab and wait for it."""
        self._evaluate(
            "async ({ name, args }) => { await window.jupyterapp.commands.execute(name, args) }",
            {"name": name, "args": arguments},
        )

    def wait_for(self, condition: str, what: str, timeout: float = 10) -> None:
        """Wait until a JavaScript function answers with something true."""
        try:
            self.page.wait_for_function(condition, timeout=timeout * 1000, polling=50)
        except PlaywrightTimeout:
            raise AssertionError(f"waited {timeout} s for {what}\n{self._report()}") from None

    def assert_quiet(self, *allowed: str) -> None:
        """Fail if the console had an error, or the page asked for a foreign address.

        Parameters
        ----------
        *allowed : str
            Regular expressions; an error that one of them finds something in is let pass.
        """
        errors = [error for error in self.errors if not any(re.search(pattern, error) for pattern in allowed)]
        assert not errors, "errors in the browser's console:\n" + "\n".join(errors)
        assert not self.foreign, "the page asked for:\n" + "\n".join(self.foreign)

    # -------------------------------------------------------------- internal

    def _load(self) -> None:
        self.page.goto(f"{self._address}?reset", wait_until="domcontentloaded", timeout=90_000)
        self.wait_for("() => window.jupyterapp?.shell", "JupyterLab to load", 90)
        self._evaluate(
            "async () => { const app = window.jupyterapp; await app.restored; "
            "app.shell.collapseLeft(); app.shell.collapseRight() }"
        )
        self._wait_until_uncovered()

    def _wait_until_uncovered(self) -> None:
        # A theme changed while the last splash still fades makes JupyterLab remove that splash twice.
        self.wait_for("() => !document.getElementById('jupyterlab-splash')", "the splash to go", 30)

    def _evaluate(self, function: str, argument: object = None) -> Any:
        return self.page.evaluate(function, argument)

    def _request(self, code: str, expressions: dict[str, str]) -> dict[str, Any]:
        content = self._evaluate(REQUEST, {"code": code, "expressions": expressions})
        if content["status"] != "ok":
            raise CellError(_error(content, code or next(iter(expressions.values()))))
        return content

    def _run(self, command: str, timeout: float, first: int = 0) -> None:
        # Not awaited in the page: a cell that hangs must end in a report, not in a hanging test.
        self._evaluate("command => { (" + RUN + ")(command) }", command)
        self.wait_for("() => window.vwRun !== null", f"{command} to end", timeout)
        result = self._evaluate("() => window.vwRun")
        idle = "() => {" + PANEL + "return panel.sessionContext.session?.kernel?.status === 'idle' }"
        if result["ok"]:
            self.wait_for(idle, "an idle kernel", 30)
        outputs = [output for cell in self.cells()[first:] for output in cell.get("outputs", [])]
        if not result["ok"] or any(output["output_type"] == "error" for output in outputs):
            raise CellError(f"{result.get('error', 'a cell raised')}\n{self._report()}")

    def _report(self) -> str:
        """What the cells printed and the console said: the tail of each."""
        try:
            cells = self.cells() if self.path else []
        except Exception as error:
            return f"(no cells to be had: {error})"
        lines = []
        for index, cell in enumerate(cells):
            text = "".join(_text(output) for output in cell.get("outputs", []))
            lines.append(f"--- cell {index}: {str(cell['source'])[:200]!r}\n{text[-3000:]}")
        return "\n".join([*lines, "--- console:", *self.errors[-10:]])

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(f"{message.text} ({message.location.get('url', '')})")

    def _on_request(self, request: Request) -> None:
        if not request.url.startswith((self.server.url, "data:", "blob:", "about:")):
            self.foreign.append(request.url)


def _text(output: dict[str, Any]) -> str:
    """An output's text, without colours."""
    if output["output_type"] == "stream":
        text = output["text"]
    elif output["output_type"] == "error":
        text = "\n".join(output["traceback"])
    else:
        text = output["data"].get("text/plain", "")
    joined = text if isinstance(text, str) else "".join(text)
    return re.sub(r"\x1b\[[0-9;]*m", "", joined)


def _error(content: dict[str, Any], code: str) -> str:
    trace = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(content.get("traceback", [])))
    return f"{content.get('ename')}: {content.get('evalue')}\nin: {code}\n{trace}"
