// Files of safetensors: a header's length (8 bytes), the header as JSON, the numbers.

const HEADER_LIMIT = 100e6;
const WIDTHS = { F64: 8, F32: 4, F16: 2, BF16: 2, BOOL: 1, U8: 1 };

const broken = (message) => Object.assign(new Error(`not a whole safetensors file: ${message}`), { code: "file" });

/** The tensors of a file by name, each `{dtype, shape, bytes}` with the bytes of its own. Fails with the code "file". */
export function parse(buffer) {
  const bytes = new Uint8Array(buffer);
  if (bytes.length < 8) throw broken(`it has ${bytes.length} bytes, and its header's length alone takes 8`);
  const length = Number(new DataView(buffer).getBigUint64(0, true));
  if (length > Math.min(bytes.length - 8, HEADER_LIMIT)) {
    throw broken(`its header should have ${length} bytes, and the file has ${bytes.length}`);
  }
  let header;
  try {
    header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(8, 8 + length)));
  } catch {
    throw broken("its header is not JSON");
  }
  if (header === null || typeof header !== "object" || Array.isArray(header)) throw broken("its header is no object");
  const data = bytes.subarray(8 + length);
  const named = Object.entries(header).filter(([name]) => name !== "__metadata__");
  return Object.fromEntries(named.map(([name, entry]) => [name, tensor(name, entry, data)]));
}

function tensor(name, entry, data) {
  const { dtype, shape, data_offsets: offsets } = entry ?? {};
  const count = (n) => Number.isSafeInteger(n) && n >= 0;
  if (!Array.isArray(shape) || !shape.every(count)) throw broken(`\`${name}\` has no shape`);
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(count)) throw broken(`\`${name}\` has no data_offsets`);
  const [begin, end] = offsets;
  if (begin > end || end > data.length) throw broken(`the numbers of \`${name}\` end at byte ${end} of ${data.length}`);
  const width = WIDTHS[dtype];
  if (width === undefined) throw broken(`\`${name}\` is of dtype ${dtype}; this page reads ${Object.keys(WIDTHS).join(", ")}`);
  const elements = shape.reduce((product, axis) => product * axis, 1);
  if (elements * width !== end - begin) {
    throw broken(`\`${name}\` of shape [${shape.join(", ")}] takes ${elements * width} bytes as ${dtype}, and has ${end - begin}`);
  }
  return { dtype, shape, bytes: data.slice(begin, end) };
}

/** A file of float32 tensors, each `{data: Float32Array, shape}`. */
export function format(tensors) {
  const header = {};
  let offset = 0;
  for (const [name, { data, shape }] of Object.entries(tensors)) {
    header[name] = { dtype: "F32", shape: [...shape], data_offsets: [offset, (offset += data.length * 4)] };
  }
  let json = new TextEncoder().encode(JSON.stringify(header));
  // Spaces put the numbers on a multiple of 8 bytes.
  const padded = new Uint8Array(Math.ceil(json.length / 8) * 8).fill(0x20);
  padded.set(json);
  json = padded;
  const file = new Uint8Array(8 + json.length + offset);
  const view = new DataView(file.buffer);
  view.setBigUint64(0, BigInt(json.length), true);
  file.set(json, 8);
  let at = 8 + json.length;
  for (const { data } of Object.values(tensors)) {
    for (const x of data) {
      view.setFloat32(at, x, true);
      at += 4;
    }
  }
  return file;
}
