import { describe, expect, test } from "vitest";
import { fitPoints, Motion, nearest, towards, within } from "../src/math/layout.ts";

/** Numbers in 0..1 that are the same every time. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 16807) % 2147483647;
    return state / 2147483647;
  };
}

function cloud(count: number, seed: number): Float32Array {
  const draw = random(seed);
  return Float32Array.from({ length: 2 * count }, () => 6 * draw() - 2);
}

describe("fitPoints", () => {
  test("fills the square on the longer axis, and keeps the shape", () => {
    const points = Float32Array.from([0, 0, 4, 0, 4, 2, 0, 2, 2, 1]);
    expect([...fitPoints(points).places]).toEqual([-1, -0.5, 1, -0.5, 1, 0.5, -1, 0.5, 0, 0]);
  });

  test("a point far out is moved to the edge and counted, and does not shrink the rest", () => {
    const points = cloud(100, 3);
    const far = Float32Array.from([...points, 1000, 0]);
    const fitted = fitPoints(far);
    expect(fitted.outside).toBe(1);
    expect(fitted.places[200]).toBe(1);
    expect([...fitted.places.subarray(0, 200)]).toEqual([...fitPoints(points).places]);
  });

  test("no place stays none, and equal points lie in the middle", () => {
    const { places, outside } = fitPoints(Float32Array.from([Number.NaN, Number.NaN, 3, 4, 3, 4]));
    expect([...places]).toEqual([Number.NaN, Number.NaN, 0, 0, 0, 0]);
    expect(outside).toBe(0);
    expect([...fitPoints(new Float32Array(4).fill(Number.NaN)).places]).toEqual(
      new Array(4).fill(Number.NaN),
    );
  });
});

describe("Motion", () => {
  const a = Float32Array.from([0, 0, 1, 1]);
  const b = Float32Array.from([1, 0, 1, -1]);

  test("goes from where it is to where it is sent, and rests there", () => {
    const motion = new Motion();
    motion.aim(a, 0, 180);
    expect([...motion.places]).toEqual([...a]); // the first places are not travelled to
    motion.aim(b, 100, 180);
    expect(motion.step(190)).toBe(true);
    expect([...motion.places]).toEqual([0.5, 0, 1, 0]);
    expect(motion.step(280)).toBe(false);
    expect([...motion.places]).toEqual([...b]);
  });

  test("is sent elsewhere midway without a jump", () => {
    const motion = new Motion();
    motion.aim(a, 0, 0);
    motion.aim(b, 0, 180);
    motion.step(90);
    const midway = [...motion.places];
    motion.aim(a, 90, 180);
    expect([...motion.places]).toEqual(midway);
    motion.step(270);
    expect([...motion.places]).toEqual([...a]);
  });

  test("jumps where there is no time, where there are other tokens, and from no place", () => {
    const motion = new Motion();
    motion.aim(a, 0, 180);
    motion.aim(b, 0, 0);
    expect([...motion.places]).toEqual([...b]);
    const three = Float32Array.from([1, 2, 3, 4, 5, 6]);
    motion.aim(three, 0, 180);
    expect([...motion.places]).toEqual([...three]);
    motion.aim(Float32Array.from([1, 2, Number.NaN, Number.NaN, 5, 6]), 0, 0);
    motion.aim(three, 0, 180);
    motion.step(1);
    expect([...motion.places.subarray(2, 4)]).toEqual([3, 4]);
  });
});

describe("finding points", () => {
  test("nearest is what a search of all distances finds, within reach alone", () => {
    const points = cloud(200, 11);
    const draw = random(5);
    for (let round = 0; round < 50; round++) {
      const [x, y] = [6 * draw() - 2, 6 * draw() - 2];
      const distances = Array.from({ length: 200 }, (_, i) =>
        Math.hypot(points[2 * i] - x, points[2 * i + 1] - y),
      );
      const least = Math.min(...distances);
      expect(nearest(points, x, y, 10)).toBe(distances.indexOf(least));
      expect(nearest(points, x, y, 0.99 * least)).toBeNull();
    }
    expect(nearest(Float32Array.from([Number.NaN, Number.NaN]), 0, 0, 9)).toBeNull();
  });

  test("of two points in one place the one on top is found", () => {
    expect(nearest(Float32Array.from([1, 1, 1, 1, 5, 5]), 1, 1, 2)).toBe(1);
  });

  test("an arrow goes to the next point in its direction, and nowhere at the edge", () => {
    const points = Float32Array.from([0, 0, 2, 0.5, 1, 3, -4, 0, 5, 0]);
    expect(towards(points, 0, 1, 0)).toBe(1);
    expect(towards(points, 0, 0, 1)).toBe(2);
    expect(towards(points, 0, -1, 0)).toBe(3);
    expect(towards(points, 0, 0, -1)).toBeNull();
  });

  test("a lasso holds what lies within, also where it is not convex", () => {
    const u = [0, 0, 9, 0, 9, 9, 6, 9, 6, 3, 3, 3, 3, 9, 0, 9];
    const points = Float32Array.from([1, 8, 4.5, 8, 8, 8, 4.5, 1, 12, 1, Number.NaN, 1]);
    expect(within(points, u)).toEqual([0, 2, 3]);
  });

  test("a lasso around a circle holds the points nearer than its radius", () => {
    const points = cloud(300, 17);
    const circle = Array.from({ length: 400 }, (_, i) => {
      const angle = (Math.PI * i) / 200;
      return [1 + 1.5 * Math.cos(angle), 1 + 1.5 * Math.sin(angle)];
    }).flat();
    const inside = Array.from({ length: 300 }, (_, i) => i).filter(
      (i) => Math.hypot(points[2 * i] - 1, points[2 * i + 1] - 1) < 1.499,
    );
    expect(within(points, circle)).toEqual(inside);
    expect(inside.length).toBeGreaterThan(20);
  });

  test("a lasso of a point or a line holds nothing", () => {
    const points = Float32Array.from([0, 0, 1, 1]);
    expect(within(points, [])).toEqual([]);
    expect(within(points, [0, 0, 2, 2])).toEqual([]);
  });
});
