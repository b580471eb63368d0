import { describe, expect, test } from "vitest";
import { decode } from "../src/data/codec.ts";
import { differences, flat, packets } from "./vectors.ts";

const { good, damaged } = packets;
const bytesOf = (base64: string) => Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));

describe("decode", () => {
  test.each(good)("$name", (given) => {
    const { shape, values } = decode(bytesOf(given.packet));
    expect(shape).toEqual(given.shape);
    expect(differences(values, flat(given.values), 0)).toEqual([]);
  });

  test.each([0, 1, 2, 3, 5])("a DataView that begins at byte %i of a message", (offset) => {
    for (const given of good) {
      const packet = bytesOf(given.packet);
      const message = new Uint8Array(packet.length + 16).fill(255);
      message.set(packet, offset);
      const { values } = decode(new DataView(message.buffer, offset, packet.length));
      expect(differences(values, flat(given.values), 0)).toEqual([]);
    }
  });

  test("every float16", () => {
    // What the bits stand for, from the definition: (-1)^s * 2^(e - 15) * 1.fraction.
    const header = new TextEncoder().encode('{"dtype":"float16","shape":[65536],"scale":null}');
    const packet = new Uint8Array(8 + header.length + 2 * 65536);
    packet.set(new TextEncoder().encode("VWP1"));
    packet[4] = header.length;
    packet.set(header, 8);
    const view = new DataView(packet.buffer);
    for (let bits = 0; bits < 65536; bits++) view.setUint16(8 + header.length + 2 * bits, bits, true);
    const expected = new Float32Array(65536);
    for (let bits = 0; bits < 65536; bits++) {
      const text = bits.toString(2).padStart(16, "0");
      const exponent = Number.parseInt(text.slice(1, 6), 2);
      const fraction = Number.parseInt(text.slice(6), 2) / 1024;
      let size = 2 ** (exponent - 15) * (1 + fraction);
      if (exponent === 0) size = 2 ** -14 * fraction;
      if (exponent === 31) size = fraction === 0 ? Infinity : NaN;
      expected[bits] = text[0] === "1" ? -size : size;
    }
    expect(differences(decode(packet).values, expected, 0)).toEqual([]);
  });

  test("values live in memory of their own", () => {
    const packet = bytesOf(good[1].packet);
    const { values } = decode(packet);
    const before = values.slice();
    packet.fill(0);
    expect(differences(values, before, 0)).toEqual([]);
  });

  test.each(damaged)("refuses: $name", (given) => {
    expect(() => decode(bytesOf(given.packet))).toThrow(given.says);
    expect(() => decode(bytesOf(given.packet))).toThrow("packet");
  });
});
