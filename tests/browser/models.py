"""What the page holds of the kernel's widgets: its models, and messages as no honest front end sends them."""

from __future__ import annotations

from browser.lab import PANEL, Lab

# The widget manager of the notebook in front, found through any widget that is shown.
MANAGER = (
    PANEL
    + """
const shown = function* (widget) {
  if (widget._view?.model) yield widget._view.model;
  for (const child of widget.children?.() ?? widget.widgets ?? []) yield* shown(child);
};
const found = () => {
  for (const cell of panel.content.widgets) {
    for (const model of shown(cell.outputArea ?? cell)) return model.widget_manager;
  }
};
const manager = window.vwManager ??= found();
"""
)


def page_models(lab: Lab) -> int:
    """How many widget models the page holds; one shown widget is needed to find them, the first time."""
    return lab.page.evaluate("() => {" + MANAGER + "return Object.keys(manager._models).length }")


def set_in_page(lab: Lab, model_id: str, state: dict[str, object]) -> None:
    """Set traits on a model of the page, and send them, as a panel (or what has got hold of it) would."""
    lab.page.evaluate(
        "async ({ id, state }) => {"
        + MANAGER
        + "const model = await manager.get_model(id); model.set(state); model.save_changes() }",
        {"id": model_id, "state": state},
    )


def in_page(lab: Lab, model_id: str, trait: str) -> object:
    """The value of a trait that the page's model has."""
    return lab.page.evaluate(
        "async ({ id, trait }) => {" + MANAGER + "return (await manager.get_model(id)).get(trait) ?? null }",
        {"id": model_id, "trait": trait},
    )


def send(lab: Lab, model_id: str, data: object) -> None:
    """Send a model's counterpart in the kernel any message at all."""
    lab.page.evaluate(
        "async ({ id, data }) => {" + MANAGER + "(await manager.get_model(id)).comm.send(data) }",
        {"id": model_id, "data": data},
    )
