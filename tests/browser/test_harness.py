"""The harness itself, on a widget of a few lines: what the other browser tests take for granted."""

from __future__ import annotations

import sys

import pytest
from browser.lab import DARK, HIGH_CONTRAST, LIGHT, CellError, Lab
from browser.server import Server

COUNTER = '''
import anywidget, traitlets

class Counter(anywidget.AnyWidget):
    _esm = """
    function render({ model, el }) {
      const button = document.createElement("button");
      button.className = "vw-probe";
      const show = () => { button.textContent = `count ${model.get("count")}` };
      button.onclick = () => { model.set("count", model.get("count") + 1); model.save_changes() };
      model.on("change:count", show);
      show();
      el.append(button);
    }
    export default { render };
    """
    _css = ".vw-probe { background: var(--jp-layout-color1); color: var(--jp-ui-font-color1) }"
    count = traitlets.Int(0).tag(sync=True)

counter = Counter()
counter
'''


def background(lab: Lab) -> str:
    return lab.page.locator(".vw-probe").evaluate("element => getComputedStyle(element).backgroundColor")


def test_click_reaches_python_and_python_reaches_the_page(lab: Lab) -> None:
    lab.new(COUNTER, "print('two'); 1 + 2")
    lab.run_all()
    button = lab.output(0).locator(".vw-probe")
    assert button.inner_text() == "count 0"
    button.click()
    button.click()
    lab.wait_value("counter.count", 2)
    lab.execute("counter.count = 40")
    lab.wait_for("() => document.querySelector('.vw-probe').textContent === 'count 40'", "the new count")
    assert lab.output_text(1) == "two\n3"
    assert lab.output_text(lab.run("print(counter.count)")) == "40\n"
    assert lab.value("__import__('numpy').eye(2)") == [[1, 0], [0, 1]]
    lab.assert_quiet()


def test_themes_and_pictures(lab: Lab) -> None:
    lab.new(COUNTER)
    lab.run_all()
    colours = {}
    for theme in (DARK, HIGH_CONTRAST, LIGHT):
        lab.theme(theme)
        colours[theme] = background(lab)
    assert colours[LIGHT] == "rgb(255, 255, 255)"
    assert colours[DARK] != colours[LIGHT]
    lab.viewport(600)
    assert lab.page.evaluate("innerWidth") == 600
    assert lab.screenshot("harness-page").stat().st_size > 1000
    assert lab.screenshot("harness-element", lab.output(0)).stat().st_size > 100
    lab.assert_quiet()


def test_the_page_outlives_its_kernel(lab: Lab) -> None:
    lab.new(COUNTER)
    lab.run_all()
    lab.shutdown_kernel()
    button = lab.page.locator(".vw-probe")
    button.click()
    assert button.inner_text() == "count 1"
    with pytest.raises(CellError, match="no kernel"):
        lab.value("counter.count")


def test_reload_keeps_the_kernel(lab: Lab) -> None:
    lab.new(COUNTER)
    lab.run_all()
    lab.page.locator(".vw-probe").click()
    lab.save()
    lab.reload()
    assert lab.value("counter.count") == 1
    lab.wait_for("() => document.querySelector('.vw-probe')?.textContent === 'count 1'", "the widget", 20)


def test_failures_say_what_happened(lab: Lab, server: Server) -> None:
    lab.new("print('before')", "1 / 0")
    with pytest.raises(CellError, match=r"(?s)before.*ZeroDivisionError"):
        lab.run_all()
    with pytest.raises(CellError, match="NameError"):
        lab.value("no_such_name")
    with pytest.raises(CellError, match="KeyError"):
        lab.execute("{}['missing']")
    with pytest.raises(AssertionError, match=r"is 4 after .*, expected 5"):
        lab.wait_value("2 + 2", 5, timeout=0.2)
    lab.page.evaluate("console.error('a word')")
    with pytest.raises(AssertionError, match="a word"):
        lab.assert_quiet()
    lab.assert_quiet("a word")
    assert (server.root / lab.path).is_file()


def test_a_hanging_cell_ends_in_a_report(lab: Lab) -> None:
    lab.new("print('started', flush=True)\nimport time; time.sleep(600)")
    with pytest.raises(AssertionError, match=r"(?s)waited 3 s.*started"):
        lab.run_all(timeout=3)


def test_the_kernel_is_this_python_without_a_network(lab: Lab) -> None:
    lab.new()
    assert lab.value("__import__('sys').executable") == sys.executable
    with pytest.raises(CellError, match="no network in this test"):
        lab.execute("import urllib.request; urllib.request.urlopen('http://example.org')")
