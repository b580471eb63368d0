import { describe, expect, test } from "vitest";
import { type Field, overlayField, type Spec } from "../src/math/overlay.ts";
import { source } from "./recorded.ts";
import { differences, flat, recorded } from "./vectors.ts";

const label = (spec: Spec) => Object.values(spec).join(" ");
const { cases } = recorded;

describe("overlayField", () => {
  const trace = source();
  for (const { spec, field, missing } of cases) {
    test(label(spec), () => {
      const found = overlayField(spec, trace);
      if (!field) {
        expect(found).toEqual({ kind: "missing", reason: missing });
        return;
      }
      const { values, low, high, ...rest } = field;
      expect(found).toMatchObject({ kind: "field", ...rest });
      const shown = found as Field;
      expect(differences(shown.values, flat(values))).toEqual([]);
      expect(differences([shown.low, shown.high], [low, high])).toEqual([]);
    });
  }

  test("writes where it is told to, over whatever is there", () => {
    for (const { spec, field } of cases) {
      if (!field) continue;
      const out = new Float32Array(trace.count).fill(99);
      const found = overlayField(spec, trace, out) as Field;
      expect(found.values).toBe(out);
      expect(differences(out, flat(field.values))).toEqual([]);
    }
  });

  const ask = (rest: Partial<Spec>): Spec => ({
    overlay: "similarity",
    layer: 2,
    token: 4,
    head: null,
    neuron: 0,
    space: "residual",
    ...rest,
  });

  test.each<[Partial<Spec>, string[]]>([
    [{}, ["tokens_2"]],
    [{ overlay: "neuron" }, ["tokens_2"]],
    [{ overlay: "neuron", space: "mlp", layer: 1 }, ["mlp_1"]],
    [{ overlay: "rollout" }, ["rollout_2"]],
    [{ overlay: "attention_from" }, ["q_2", "k_2", "lse_2"]],
    [{ overlay: "attention_to", head: 1 }, ["q_2", "k_2", "lse_2"]],
  ])("%o waits for %o", (rest, needs) => {
    expect(overlayField(ask(rest), source(needs))).toEqual({ kind: "loading", needs });
    expect(overlayField(ask(rest), source(needs.slice(-1)))).toEqual({
      kind: "loading",
      needs: needs.slice(-1),
    });
  });

  test("rollout at layer 0 needs no packet", () => {
    const found = overlayField(ask({ overlay: "rollout", layer: 0 }), source(["rollout_0"])) as Field;
    expect([...found.values]).toEqual(Array.from({ length: 14 }, (_, i) => Number(i === 4)));
  });

  test.each<[Partial<Spec>, string]>([
    [{ layer: 1.5 }, "there is no layer 1.5: layers are 0..2"],
    [{ layer: Number.NaN }, "there is no layer NaN: layers are 0..2"],
    [{ token: 2.5 }, "there is no token 2.5: tokens are 0..13"],
    [{ overlay: "neuron", neuron: Infinity }, "there is no neuron Infinity: neurons are 0..7"],
  ])("absurd: %o", (rest, reason) => {
    expect(overlayField(ask(rest), source())).toEqual({ kind: "missing", reason });
  });
});
