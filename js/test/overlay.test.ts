import { describe, expect, test } from "vitest";
import { type Field, overlayField, type Spec, tokensOf, type View } from "../src/math/overlay.ts";
import { composeView } from "../src/math/views.ts";
import { source } from "./recorded.ts";
import { differences, flat, recorded, stages } from "./vectors.ts";

const label = (spec: Spec) => Object.values(spec).join(" ");

describe.each([
  ["one grid", recorded],
  ["changing grids", stages],
])("overlayField, %s", (_, vectors) => {
  const trace = source(vectors);
  for (const { spec, field, view, colours, missing } of vectors.cases) {
    test(label(spec), () => {
      const found = overlayField(spec, trace);
      if (view) {
        const { sight, shares, values, limit, peak, ...rest } = found as View;
        const { pixels, kernel } = sight;
        expect(rest).toMatchObject({ kind: "view", title: view.title, unit: view.unit });
        const composed = composeView(pixels, kernel, shares, new Float32Array(pixels.data.length));
        expect(differences(composed, flat(view.view))).toEqual([]);
        expect(differences(values, flat(view.values), 2e-5)).toEqual([]);
        expect(differences([limit, peak], [view.limit, view.peak])).toEqual([]);
        return;
      }
      if (colours) {
        const [rows, cols] = vectors.sizes.grids[spec.layer];
        expect(found).toEqual({
          kind: "colours",
          rgb: flat(colours.rgb),
          grid: { rows, cols },
          title: colours.title,
        });
        return;
      }
      if (!field) {
        expect(found).toEqual({ kind: "missing", reason: missing });
        return;
      }
      const { values, low, high, ...rest } = field;
      const [rows, cols] = vectors.sizes.grids[spec.layer];
      expect(found).toMatchObject({ kind: "field", grid: { rows, cols }, ...rest });
      const shown = found as Field;
      expect(differences(shown.values, flat(values))).toEqual([]);
      expect(differences([shown.low, shown.high], [low, high])).toEqual([]);
    });
  }

  test("writes where it is told to, over whatever is there", () => {
    for (const { spec, field } of vectors.cases) {
      if (!field) continue;
      const out = new Float32Array(tokensOf(trace, spec.layer)).fill(99);
      const found = overlayField(spec, trace, out) as Field;
      expect(found.values).toBe(out);
      expect(differences(out, flat(field.values))).toEqual([]);
    }
  });
});

describe("overlayField", () => {
  const ask = (rest: Partial<Spec>): Spec => ({
    overlay: "similarity",
    layer: 2,
    token: 4,
    head: null,
    neuron: 0,
    space: "residual",
    target: null,
    ...rest,
  });

  test.each<[Partial<Spec>, string[]]>([
    [{}, ["tokens_2"]],
    [{ overlay: "neuron" }, ["tokens_2"]],
    [{ overlay: "neuron", space: "mlp", layer: 1 }, ["mlp_1"]],
    [{ overlay: "rollout" }, ["rollout_2"]],
    [{ overlay: "attention_from" }, ["q_2", "k_2", "lse_2"]],
    [{ overlay: "attention_to", head: 1 }, ["q_2", "k_2", "lse_2"]],
    [{ overlay: "view" }, ["filters", "pixels", "rollout_2"]],
    [{ overlay: "view", layer: 0 }, ["filters", "pixels"]],
    [{ overlay: "view", token: null }, ["filters", "pixels"]],
    [{ overlay: "evidence" }, ["tokens_2"]],
    [{ overlay: "evidence" }, ["readout"]],
    [{ overlay: "norm" }, ["tokens_2"]],
    [{ overlay: "colours" }, ["colours_2"]],
  ])("%o waits for %o", (rest, needs) => {
    expect(overlayField(ask(rest), source(recorded, needs))).toEqual({ kind: "loading", needs });
    expect(overlayField(ask(rest), source(recorded, needs.slice(-1)))).toEqual({
      kind: "loading",
      needs: needs.slice(-1),
    });
  });

  test("rollout at layer 0 needs no packet", () => {
    const found = overlayField(
      ask({ overlay: "rollout", layer: 0 }),
      source(recorded, ["rollout_0"]),
    ) as Field;
    expect([...found.values]).toEqual(Array.from({ length: 14 }, (_, i) => Number(i === 4)));
  });

  test.each<[Partial<Spec>, string]>([
    [{ layer: 1.5 }, "there is no layer 1.5: layers are 0..2"],
    [{ layer: Number.NaN }, "there is no layer NaN: layers are 0..2"],
    [{ token: 2.5 }, "there is no token 2.5: tokens are 0..13"],
    [{ overlay: "neuron", neuron: Infinity }, "layer 2 has no neuron Infinity: its neurons are 0..7"],
  ])("absurd: %o", (rest, reason) => {
    expect(overlayField(ask(rest), source(recorded))).toEqual({ kind: "missing", reason });
  });

  test("attention that comes as weights waits for them alone", () => {
    const what = ask({ overlay: "attention_to" });
    expect(overlayField(what, source(stages, ["attention_2"]))).toEqual({
      kind: "loading",
      needs: ["attention_2"],
    });
  });

  test.each<[Partial<Spec>, string, string]>([
    [{ overlay: "attention_from" }, "k_2", "no attention at layer 2: out of memory"],
    [{ overlay: "similarity" }, "tokens_2", "no tokens at layer 2: out of memory"],
    [{ overlay: "neuron", space: "mlp" }, "mlp_2", "no MLP neurons at layer 2: out of memory"],
    [{ overlay: "rollout" }, "rollout_2", "no rollout at layer 2: out of memory"],
    [{ overlay: "view" }, "filters", "no view at layer 2: out of memory"],
    [{ overlay: "view" }, "rollout_2", "no view at layer 2: out of memory"],
    [{ overlay: "evidence" }, "readout", "no evidence at layer 2: out of memory"],
    [{ overlay: "colours" }, "colours_2", "no principal components at layer 2: out of memory"],
  ])("%o says why %s will not come", (rest, name, reason) => {
    const trace = source(recorded, [name], { [name]: "out of memory" });
    expect(overlayField(ask(rest), trace)).toEqual({ kind: "missing", reason });
  });

  test("of heads that are too large to send there is the mean, and no single one", () => {
    const { sizes, trace, cases } = stages;
    const heads = sizes.heads[2];
    const weights = flat(trace[2].attention);
    const N = Math.sqrt(weights.length / heads);
    const mean = Float32Array.from({ length: N * N }, (_, i) => {
      let sum = 0;
      for (let h = 0; h < heads; h++) sum += weights[h * N * N + i];
      return sum / heads;
    });
    const { attention: _, ...rest } = trace[2];
    const layers = [...trace];
    layers[2] = { ...rest, attention_mean: [...mean] };
    const large = source({ sizes, trace: layers, cases });
    const asked = cases.filter(({ spec }) => spec.overlay.startsWith("attention") && spec.layer === 2);
    expect(asked.length).toBeGreaterThan(10);
    for (const { spec, field } of asked) {
      const found = overlayField(spec, large);
      if (spec.head === null) {
        expect(differences((found as Field).values, flat(field?.values ?? []), 1e-5)).toEqual([]);
      } else {
        expect(found).toEqual({
          kind: "missing",
          reason: "single heads of this layer are too large to send",
        });
      }
    }
  });
});
