// Colours of groups and clusters; vitwidgets/groups.py has the same ones, and says whose they are.

export const PALETTE: readonly string[] = [
  "#0072b2",
  "#e69f00",
  "#009e73",
  "#cc79a7",
  "#56b4e9",
  "#d55e00",
  "#f0e442",
  "#7a4fa3",
  "#8c6d31",
  "#7fb800",
  "#a2142f",
  "#5f6670",
];

/** The colour of number `index`; they repeat after the twelfth. */
export function categorical(index: number): string {
  return PALETTE[index % PALETTE.length];
}

/** The first colour that `taken` holds least often. */
export function nextColour(taken: readonly string[]): string {
  const count = (colour: string) => taken.filter((other) => other === colour).length;
  return PALETTE.reduce((best, colour) => (count(colour) < count(best) ? colour : best));
}
