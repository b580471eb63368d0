// A page that was saved: its models are all there is.

/** Whether no kernel knows `model`: what is set here nobody answers. */
export function alone(model: { get(name: string): unknown }): boolean {
  // ipywidgets keeps this of every model; anywidget shows us that of the one that each widget's layout is.
  const layout = model.get("layout") as { comm_live?: boolean } | null | undefined;
  return layout?.comm_live === false;
}
