// One array as one byte string, written by vitwidgets/widgets/codec.py (which documents the layout):
// "VWP1", header length (uint32), JSON header {dtype, shape, scale} padded to 8 bytes, numbers.

/** What a packet holds: `values` in C order, always float32, in memory of its own. */
export interface Packet {
  shape: number[];
  values: Float32Array;
}

const ITEM_BYTES = { float16: 2, float32: 4, int8: 1, uint8: 1, sparse: 2 };
type Dtype = keyof typeof ITEM_BYTES;

/** Unpacks one packet. Throws an Error that says what is wrong with a damaged one. */
export function decode(packet: DataView | Uint8Array): Packet {
  const bytes = new Uint8Array(packet.buffer, packet.byteOffset, packet.byteLength);
  if (bytes.length < 8 || String.fromCharCode(...bytes.subarray(0, 4)) !== "VWP1") {
    throw new Error(`not a packet: it must begin with "VWP1" and a length; got ${bytes.length} bytes`);
  }
  const start = 8 + new DataView(bytes.buffer, bytes.byteOffset).getUint32(4, true);
  if (start > bytes.length) {
    throw new Error(
      `damaged packet: its header should end at byte ${start}, but there are ${bytes.length} bytes`,
    );
  }
  const { dtype, shape, scale } = parseHeader(new TextDecoder().decode(bytes.subarray(8, start)));
  const count = product(shape);
  const bits = dtype === "sparse" ? 2 * Math.ceil(count / 16) : 0; // bytes of them
  const kept = dtype === "sparse" ? ones(bytes.subarray(start, start + bits)) : count;
  const expected = bits + kept * ITEM_BYTES[dtype];
  if (bytes.length - start !== expected) {
    throw new Error(
      `damaged packet: ${dtype} of shape [${shape}] takes ${expected} bytes; got ${bytes.length - start}`,
    );
  }
  // A copy is aligned wherever the packet lies, and lets go of the message that it came in.
  const payload = bytes.slice(start).buffer;
  if (dtype === "float32") return { shape, values: new Float32Array(payload) };
  if (dtype === "float16") return { shape, values: widen(new Uint16Array(payload)) };
  if (dtype === "uint8") return { shape, values: Float32Array.from(new Uint8Array(payload)) };
  if (dtype === "sparse") {
    const numbers = widen(new Uint16Array(payload, bits));
    return { shape, values: spread(new Uint8Array(payload, 0, bits), numbers, count) };
  }
  return { shape, values: unscale(new Int8Array(payload), scale, shape[shape.length - 1]) };
}

/** Why there is no packet, where the kernel sent that instead ("VWE1", then text); otherwise empty. */
export function refusal(packet: DataView | Uint8Array): string {
  const bytes = new Uint8Array(packet.buffer, packet.byteOffset, packet.byteLength);
  if (String.fromCharCode(...bytes.subarray(0, 4)) !== "VWE1") return "";
  return new TextDecoder().decode(bytes.subarray(4));
}

function parseHeader(text: string): { dtype: Dtype; shape: number[]; scale: number[] } {
  let header: unknown;
  try {
    header = JSON.parse(text);
  } catch {
    header = null;
  }
  if (typeof header !== "object" || header === null) {
    throw new Error(
      `damaged packet: its header must be JSON with dtype, shape and scale; got ${text.slice(0, 80)}`,
    );
  }
  const { dtype, shape, scale } = header as Record<string, unknown>;
  if (!isDtype(dtype)) {
    const names = Object.keys(ITEM_BYTES).join(", ");
    throw new Error(`damaged packet: dtype must be one of ${names}; got ${JSON.stringify(dtype)}`);
  }
  if (!Array.isArray(shape) || !shape.every((n) => Number.isSafeInteger(n) && n >= 0)) {
    throw new Error(
      `damaged packet: shape must be a list of whole numbers, 0 or more; got ${JSON.stringify(shape)}`,
    );
  }
  if (dtype !== "int8") return { dtype, shape, scale: [] };
  const rows = product(shape.slice(0, -1));
  const numbers = Array.isArray(scale) && scale.every((s) => typeof s === "number");
  if (shape.length === 0 || !numbers || scale.length !== rows) {
    throw new Error(`damaged packet: int8 of shape [${shape}] needs a list of ${rows} numbers as its scale`);
  }
  return { dtype, shape, scale };
}

function isDtype(value: unknown): value is Dtype {
  return typeof value === "string" && Object.hasOwn(ITEM_BYTES, value);
}

function product(shape: number[]): number {
  return shape.reduce((all, n) => all * n, 1);
}

/** One table a page: every store is a module of its own, and a page never forgets a module. */
const page = globalThis as { vitwidgetsHalves?: Float32Array };

/** Every float16 as a float32: looking a value up is four times faster than working it out. */
function halfTable(): Float32Array {
  const table = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits++) {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    if (exponent === 0) table[bits] = sign * fraction * 2 ** -24;
    else if (exponent === 31) table[bits] = fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
    else table[bits] = sign * (1024 + fraction) * 2 ** (exponent - 25);
  }
  return table;
}

function widen(bits: Uint16Array): Float32Array {
  page.vitwidgetsHalves ??= halfTable();
  const table = page.vitwidgetsHalves;
  const values = new Float32Array(bits.length);
  for (let i = 0; i < bits.length; i++) values[i] = table[bits[i]];
  return values;
}

function unscale(whole: Int8Array, scale: number[], width: number): Float32Array {
  const values = new Float32Array(whole.length);
  for (let row = 0, i = 0; row < scale.length; row++) {
    const factor = Math.fround(scale[row]);
    for (let end = i + width; i < end; i++) values[i] = whole[i] * factor;
  }
  return values;
}

/** How many bits are set. */
function ones(bits: Uint8Array): number {
  let count = 0;
  for (let byte of bits) for (; byte; byte &= byte - 1) count++;
  return count;
}

/** `numbers` where a bit is set, the lowest of a byte first; zeros elsewhere. */
function spread(bits: Uint8Array, numbers: Float32Array, count: number): Float32Array {
  const values = new Float32Array(count);
  let next = 0;
  for (let byte = 0; byte < bits.length; byte++) {
    if (bits[byte] === 0) continue;
    for (let bit = 0; bit < 8; bit++) {
      if (bits[byte] & (1 << bit)) values[8 * byte + bit] = numbers[next++];
    }
  }
  return values;
}
