// What goes into a call of the layer: a file's tensors or random numbers, and masks.
import { generator, uniform } from "./random.js";
import { parse } from "./safetensors.js";

const NUMBERS = { query: "query", key: "key", value: "value" };
const MASKS = { attention_mask: "attentionMask", query_mask: "queryMask", value_mask: "valueMask", key_mask: "keyMask" };

const refused = (message) => Object.assign(new Error(message), { code: "file" });

/** The inputs in a safetensors file, by the names of the package's `CallInputs`. */
export function inputsOf(buffer) {
  const tensors = parse(buffer);
  const unknown = Object.keys(tensors).filter((name) => !(name in NUMBERS) && !(name in MASKS));
  if (unknown.length > 0) {
    throw refused(`\`${unknown[0]}\` is no input of the layer; inputs are ${[...Object.keys(NUMBERS), ...Object.keys(MASKS)].join(", ")}`);
  }
  for (const name of ["query", "value"]) if (!tensors[name]) throw refused(`it has no \`${name}\``);
  const inputs = {};
  for (const [name, tensor] of Object.entries(tensors)) {
    if (name in MASKS) inputs[MASKS[name]] = maskOf(name, tensor);
    else inputs[name] = numbersOf(name, tensor);
  }
  return inputs;
}

function numbersOf(name, { dtype, shape, bytes }) {
  if (shape.length !== 3) throw refused(`\`${name}\` has shape [${shape.join(", ")}], and needs three axes: batch, length, features`);
  const { buffer } = bytes;
  if (dtype === "F32") return { data: new Float32Array(buffer), shape };
  if (dtype === "F64") return { data: Float32Array.from(new Float64Array(buffer)), shape };
  if (dtype === "F16") return { data: new Uint16Array(buffer), shape, dtype: "float16" };
  if (dtype === "BF16") return { data: new Uint16Array(buffer), shape, dtype: "bfloat16" };
  throw refused(`\`${name}\` is of dtype ${dtype}, and must be F32, F64, F16 or BF16`);
}

function maskOf(name, { dtype, shape, bytes }) {
  if (dtype !== "BOOL" && dtype !== "U8") throw refused(`\`${name}\` is of dtype ${dtype}, and must be BOOL or U8`);
  return { data: bytes, shape };
}

/** Random inputs for a layer of these widths: query `[1,T,C]` and value `[1,S,Cv]`, and a key where its width differs. */
export function randomInputs({ query, key, value }, { queries, keys, seed }) {
  const next = generator(seed);
  const inputs = { query: uniform([1, queries, query], next), value: uniform([1, keys, value], next) };
  if (key !== value) inputs.key = uniform([1, keys, key], next);
  return inputs;
}

/**
 * The inputs with more keys hidden: the last `padding` keys of every batch entry, and those where `mask` (`[T,S]`, may be
 * missing) is 0.
 */
export function withMasks(inputs, { padding, mask }) {
  const [batch, queries] = inputs.query.shape;
  const [, keys] = inputs.value.shape;
  const all = { ...inputs };
  if (padding > 0) {
    const shown = { data: new Uint8Array(batch * keys), shape: [batch, keys] };
    for (let i = 0; i < shown.data.length; i += 1) shown.data[i] = Number(i % keys < keys - padding);
    all.valueMask = both(inputs.valueMask, shown);
  }
  if (mask) all.attentionMask = both(inputs.attentionMask, { data: mask, shape: [queries, keys] });
  return all;
}

/** Where both masks show: of the shape that they have in common, axes of 1 standing for any length. */
export function both(a, b) {
  if (!a) return b;
  const rank = Math.max(a.shape.length, b.shape.length);
  const aligned = ({ shape }) => [...Array(rank - shape.length).fill(1), ...shape];
  const [left, right] = [aligned(a), aligned(b)];
  const shape = left.map((axis, i) => (axis === 1 ? right[i] : axis));
  const data = new Uint8Array(shape.reduce((product, axis) => product * axis, 1));
  const at = Array(rank).fill(0);
  const indexIn = (axes) => axes.reduce((index, axis, i) => index * axis + (axis === 1 ? 0 : at[i]), 0);
  for (let n = 0; n < data.length; n += 1) {
    data[n] = Number(a.data[indexIn(left)] && b.data[indexIn(right)] ? 1 : 0);
    for (let i = rank - 1; i >= 0 && (at[i] += 1) === shape[i]; i -= 1) at[i] = 0;
  }
  return { data, shape };
}
