import { beforeAll, describe, expect, test } from "vitest";
import { difference, mix, pack, packHex, Raster, ringMask } from "../src/ui/raster.ts";

/** What node lacks of a browser: an image is its pixels. */
beforeAll(() => {
  (globalThis as Record<string, unknown>).ImageData ??= class {
    data: Uint8ClampedArray;
    constructor(
      public width: number,
      public height: number,
    ) {
      this.data = new Uint8ClampedArray(4 * width * height);
    }
  };
});

/** The pixels of what a raster shows. */
function shown(raster: Raster): Uint32Array {
  let pixels = new Uint32Array(0);
  const on = {
    putImageData: (image: ImageData) => {
      pixels = new Uint32Array(image.data.buffer.slice(0));
    },
  };
  raster.put(on as unknown as CanvasRenderingContext2D);
  return pixels;
}

const BACK = pack(0, 0, 0);
const RED = pack(255, 0, 0);

describe("colours", () => {
  test("are packed with red in the lowest byte", () => {
    expect([...new Uint8Array(Uint32Array.of(packHex("#0072b2")).buffer)]).toEqual([0, 0x72, 0xb2, 255]);
    expect(pack(1, 2, 3)).toBe(packHex("#010203"));
  });

  test("are mixed channel by channel", () => {
    expect(mix(pack(0, 100, 200), pack(100, 0, 255), 0.5)).toBe(pack(50, 50, 228));
    expect(mix(pack(9, 8, 7), pack(1, 2, 3), 0)).toBe(pack(9, 8, 7));
    expect(mix(pack(9, 8, 7), pack(1, 2, 3), 1)).toBe(pack(1, 2, 3));
  });
  test("differ by what their channels differ", () => {
    expect(difference(pack(10, 200, 30), pack(20, 100, 30))).toBe(110);
    expect(difference(pack(0, 0, 0), pack(255, 255, 255))).toBe(765);
    expect(difference(RED, RED)).toBe(0);
  });
});

describe("ringMask", () => {
  test("covers the area of a disc, and of a ring", () => {
    const area = (inner: number, outer: number) =>
      ringMask(inner, outer).cover.reduce((sum, part) => sum + part / 255, 0);
    expect(area(0, 6)).toBeCloseTo(Math.PI * 36, -0.5);
    expect(Math.abs(area(4, 6) - Math.PI * 20) / (Math.PI * 20)).toBeLessThan(0.03);
  });

  test("is full in the middle and empty in the corners", () => {
    const { side, cover } = ringMask(0, 3.3);
    expect(cover[(side * side) >> 1]).toBe(255);
    expect(cover[0]).toBe(0);
    expect(ringMask(2, 3, true).cover[(side * side) >> 1]).toBe(0);
  });
});

describe("Raster", () => {
  test("stamps a mask in proportion to its cover", () => {
    const raster = new Raster();
    raster.start(5, 5, BACK);
    raster.stamp({ side: 3, cover: Uint8Array.from([0, 51, 0, 51, 255, 51, 0, 51, 0]) }, 2, 2, RED);
    const pixels = shown(raster);
    expect(pixels[12]).toBe(RED);
    expect(pixels[7]).toBe(pack(51, 0, 0));
    expect(pixels[6]).toBe(BACK);
  });

  test("pastes the square that begins at a pixel of a picture", () => {
    const raster = new Raster();
    raster.start(6, 4, BACK);
    const values = Uint32Array.from({ length: 16 }, (_, i) => pack(i, 0, 0));
    raster.paste({ width: 4, values }, 6, 2, 3, 2);
    const pixels = shown(raster);
    expect([8, 9, 14, 15].map((at) => pixels[at] & 255)).toEqual([6, 7, 10, 11]);
    expect(pixels.filter((pixel) => pixel !== BACK).length).toBe(4);
  });

  test("leaves out what would stick out, and starts each frame anew", () => {
    const raster = new Raster();
    raster.start(4, 4, BACK);
    raster.square(0, 2, 3, RED);
    raster.stamp(ringMask(0, 2), 3, 3, RED);
    raster.paste({ width: 2, values: new Uint32Array(4) }, 0, 2, 4, 4);
    expect(shown(raster).every((pixel) => pixel === BACK)).toBe(true);
    raster.square(2, 2, 2, RED);
    expect(shown(raster).filter((pixel) => pixel === RED).length).toBe(4);
    raster.start(4, 4, BACK);
    expect(shown(raster).every((pixel) => pixel === BACK)).toBe(true);
  });
});
