// Points in the plane as pairs of numbers: fitting them into a square, moving them, and finding them.
// All are searched one by one: 1,370 points take 3 µs, and an index of moving points would be rebuilt every frame.

/** Points in -1..1, and how many lie farther out and were moved to the edge. */
export interface Fitted {
  places: Float32Array;
  outside: number;
}

/** Points this many times as far from the middle as 95 % of all do not decide how large the picture is. */
const FAR = 2.5;

/** Fits `points` into the square -1..1 without distorting them; NaN stays NaN. */
export function fitPoints(points: Float32Array): Fitted {
  const middle = [median(points, 0), median(points, 1)];
  const away = (i: number) => Math.max(Math.abs(points[i] - middle[0]), Math.abs(points[i + 1] - middle[1]));
  const distances = [];
  for (let i = 0; i < points.length; i += 2) if (there(points, i)) distances.push(away(i));
  distances.sort((a, b) => a - b);
  const reach = FAR * (distances[Math.floor(0.95 * (distances.length - 1))] ?? 0);
  const low = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
  const high = [Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (let i = 0; i < points.length; i += 2) {
    if (!there(points, i) || away(i) > reach) continue;
    for (const axis of [0, 1]) {
      low[axis] = Math.min(low[axis], points[i + axis]);
      high[axis] = Math.max(high[axis], points[i + axis]);
    }
  }
  const half = Math.max(high[0] - low[0], high[1] - low[1]) / 2;
  const scale = half > 0 ? 1 / half : 0;
  const places = new Float32Array(points.length);
  let outside = 0;
  for (let i = 0; i < points.length; i += 2) {
    let clamped = false;
    for (const axis of [0, 1]) {
      const place = (points[i + axis] - (low[axis] + high[axis]) / 2) * scale;
      places[i + axis] = Math.min(Math.max(place, -1), 1);
      clamped ||= Math.abs(place) > 1.0001;
    }
    if (clamped) outside += 1;
  }
  return { places, outside };
}

function there(points: Float32Array, i: number): boolean {
  return Number.isFinite(points[i]) && Number.isFinite(points[i + 1]);
}

function median(points: Float32Array, axis: number): number {
  const values = points.filter((value, i) => i % 2 === axis && Number.isFinite(value)).sort();
  return values.length > 0 ? values[values.length >> 1] : 0;
}

/** Points on their way from where they were to where they belong. */
export class Motion {
  /** Where the points are now. */
  places: Float32Array = new Float32Array(0);
  #from: Float32Array = new Float32Array(0);
  #to: Float32Array = new Float32Array(0);
  #start = 0;
  #duration = 0;

  /** Sends the points to `to` within `duration` ms, from wherever they are; other points than before jump. */
  aim(to: Float32Array, now: number, duration: number): void {
    const same = to.length === this.places.length;
    this.#from = same ? this.places.slice() : to;
    this.#to = to;
    this.#start = now;
    this.#duration = same ? duration : 0;
    this.step(now);
  }

  /** Moves the points to where they are at a time; returns whether they still move. */
  step(now: number): boolean {
    const passed = this.#duration > 0 ? Math.min(Math.max((now - this.#start) / this.#duration, 0), 1) : 1;
    const share = passed * passed * (3 - 2 * passed);
    if (this.places.length !== this.#to.length) this.places = new Float32Array(this.#to.length);
    for (let i = 0; i < this.places.length; i++) {
      const from = this.#from[i];
      const to = this.#to[i];
      this.places[i] = passed === 1 || Number.isNaN(from) ? to : from + share * (to - from);
    }
    return passed < 1;
  }
}

/** The point nearest to (x, y) and at most `reach` away, or null; of equals the last, which is drawn on top. */
export function nearest(places: Float32Array, x: number, y: number, reach: number): number | null {
  let best = reach * reach;
  let found: number | null = null;
  for (let i = 0; i < places.length; i += 2) {
    const distance = (places[i] - x) ** 2 + (places[i + 1] - y) ** 2;
    if (distance <= best) {
      best = distance;
      found = i / 2;
    }
  }
  return found;
}

/**
 * The next point from point `at` in a direction (one of dx, dy is 1 or -1): among those within 45 degrees of it the
 * one that is nearest, sideways counting double. Null where there is none. Of points in one place, the next in number.
 */
export function towards(places: Float32Array, at: number, dx: number, dy: number): number | null {
  let best = Number.POSITIVE_INFINITY;
  let found: number | null = null;
  for (let i = 0; i < places.length; i += 2) {
    const x = places[i] - places[2 * at];
    const y = places[i + 1] - places[2 * at + 1];
    const along = x * dx + y * dy;
    const aside = Math.abs(x * dy) + Math.abs(y * dx);
    if (!(along > 0 && aside <= along)) continue;
    if (along + 2 * aside < best) {
      best = along + 2 * aside;
      found = i / 2;
    }
  }
  return found;
}

/** The points within a closed line, given as its corners x0, y0, x1, y1...; none where it has fewer than three. */
export function within(places: Float32Array, line: readonly number[]): number[] {
  const found: number[] = [];
  if (line.length < 6) return found;
  const [left, right] = ends(line, 0);
  const [top, bottom] = ends(line, 1);
  for (let i = 0; i < places.length; i += 2) {
    const [x, y] = [places[i], places[i + 1]];
    if (x > left && x < right && y > top && y < bottom && inside(x, y, line)) found.push(i / 2);
  }
  return found;
}

/** The least and the greatest of every other number. */
function ends(line: readonly number[], axis: number): [number, number] {
  let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (let i = axis; i < line.length; i += 2) {
    low = Math.min(low, line[i]);
    high = Math.max(high, line[i]);
  }
  return [low, high];
}

/** Whether a ray from (x, y) to the right crosses the line an odd number of times. */
function inside(x: number, y: number, line: readonly number[]): boolean {
  let odd = false;
  for (let i = 0, j = line.length - 2; i < line.length; j = i, i += 2) {
    const above = line[i + 1] > y;
    if (above !== line[j + 1] > y) {
      const share = (y - line[i + 1]) / (line[j + 1] - line[i + 1]);
      if (x < line[i] + share * (line[j] - line[i])) odd = !odd;
    }
  }
  return odd;
}
