// Small pictures put into one image by hand: thousands of them cost a canvas ten times as much as their pixels.

/** A colour as an image's pixel holds it: red in the lowest byte, opaque. */
export function pack(red: number, green: number, blue: number): number {
  return (0xff000000 | (blue << 16) | (green << 8) | red) >>> 0;
}

/** `pack` of "#rrggbb". */
export function packHex(colour: string): number {
  const bits = Number.parseInt(colour.slice(1), 16);
  return pack(bits >> 16, (bits >> 8) & 255, bits & 255);
}

/** `pack` of two colours mixed, `share` of the second. */
export function mix(one: number, other: number, share: number): number {
  const channel = (at: number) => {
    const from = (one >>> at) & 255;
    return Math.round(from + share * (((other >>> at) & 255) - from));
  };
  return pack(channel(0), channel(8), channel(16));
}

/** How far two colours are apart, all channels together: 0..765. */
export function difference(one: number, other: number): number {
  const channel = (at: number) => Math.abs(((one >>> at) & 255) - ((other >>> at) & 255));
  return channel(0) + channel(8) + channel(16);
}

/** How much of each of `side` x `side` pixels a shape covers, 0..255. */
export interface Mask {
  side: number;
  cover: Uint8Array;
}

/** A mask of what lies between two distances from the middle: of a disc, or of a square. */
export function ringMask(inner: number, outer: number, square = false): Mask {
  const reach = Math.ceil(outer + 0.5);
  const side = 2 * reach + 1;
  const cover = new Uint8Array(side * side);
  for (let i = 0; i < cover.length; i++) {
    const x = Math.abs((i % side) - reach);
    const y = Math.abs(Math.floor(i / side) - reach);
    const away = square ? Math.max(x, y) : Math.hypot(x, y);
    const part = Math.min(outer + 0.5 - away, inner > 0 ? away - inner + 0.5 : 1);
    cover[i] = Math.round(255 * Math.min(Math.max(part, 0), 1));
  }
  return { side, cover };
}

/** The pixels of a picture, row by row. */
export interface Pixels {
  width: number;
  values: Uint32Array;
}

/** One opaque image that is filled anew for each frame. Places are in its pixels; what would stick out is left out. */
export class Raster {
  #image = new ImageData(1, 1);
  #pixels = new Uint32Array(this.#image.data.buffer);

  /** Starts a frame of this size and colour. */
  start(width: number, height: number, colour: number): void {
    if (this.#image.width !== width || this.#image.height !== height) {
      this.#image = new ImageData(width, height);
      this.#pixels = new Uint32Array(this.#image.data.buffer);
    }
    this.#pixels.fill(colour);
  }

  /** Lays a colour over what is there, as far as a mask about (x, y) covers it. */
  stamp({ side, cover }: Mask, x: number, y: number, colour: number): void {
    const left = Math.round(x) - (side >> 1);
    const top = Math.round(y) - (side >> 1);
    if (!this.#holds(left, top, side)) return;
    const { width, data } = this.#image;
    const [red, green, blue] = [colour & 255, (colour >> 8) & 255, (colour >> 16) & 255];
    for (let row = 0, i = 0; row < side; row++) {
      let at = (top + row) * width + left;
      for (let col = 0; col < side; col++, i++, at++) {
        const part = cover[i];
        if (part === 255) {
          this.#pixels[at] = colour;
        } else if (part > 0) {
          const byte = 4 * at;
          data[byte] += ((red - data[byte]) * part) / 255;
          data[byte + 1] += ((green - data[byte + 1]) * part) / 255;
          data[byte + 2] += ((blue - data[byte + 2]) * part) / 255;
        }
      }
    }
  }

  /** Fills a square about (x, y). */
  square(x: number, y: number, side: number, colour: number): void {
    const left = Math.round(x) - (side >> 1);
    const top = Math.round(y) - (side >> 1);
    if (!this.#holds(left, top, side)) return;
    for (let row = top; row < top + side; row++) {
      const at = row * this.#image.width + left;
      this.#pixels.fill(colour, at, at + side);
    }
  }

  /** Copies a square whose first pixel is number `from` of a picture, so that its middle is (x, y). */
  paste({ width, values }: Pixels, from: number, side: number, x: number, y: number): void {
    const left = Math.round(x) - (side >> 1);
    const top = Math.round(y) - (side >> 1);
    if (!this.#holds(left, top, side)) return;
    const pixels = this.#pixels;
    const across = this.#image.width;
    for (let row = 0; row < side; row++) {
      let start = from + row * width;
      let at = (top + row) * across + left;
      for (const end = at + side; at < end; at++, start++) pixels[at] = values[start]; // for so few, set() is slow
    }
  }

  /** Shows the frame. */
  put(on: CanvasRenderingContext2D): void {
    on.putImageData(this.#image, 0, 0);
  }

  #holds(left: number, top: number, side: number): boolean {
    const { width, height } = this.#image;
    return left >= 0 && top >= 0 && left + side <= width && top + side <= height;
  }
}

let probe: CanvasRenderingContext2D | null = null;

/** What a browser makes of any CSS colour, on white. */
export function packCss(colour: string): number {
  probe ??= new OffscreenCanvas(1, 1).getContext("2d", {
    willReadFrequently: true,
  }) as unknown as CanvasRenderingContext2D;
  probe.fillStyle = "#fff";
  probe.fillRect(0, 0, 1, 1);
  probe.fillStyle = colour;
  probe.fillRect(0, 0, 1, 1);
  const [red, green, blue] = probe.getImageData(0, 0, 1, 1).data;
  return pack(red, green, blue);
}
