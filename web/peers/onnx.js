// ONNX models of one operator, as bytes: just what protocol buffers need for that.

const VARINT = 0;
const BYTES = 2;
const FOUR_BYTES = 5;

function varint(value) {
  const bytes = [];
  let rest = BigInt(value);
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  return [...bytes, Number(rest)];
}

const tagged = (field, wire, bytes) => [...varint((field << 3) | wire), ...bytes];
const int = (field, value) => tagged(field, VARINT, varint(value));
const float = (field, value) => tagged(field, FOUR_BYTES, new Uint8Array(new Float32Array([value]).buffer));
const message = (field, ...parts) => {
  const bytes = parts.flat();
  return tagged(field, BYTES, [...varint(bytes.length), ...bytes]);
};
const text = (field, value) => message(field, [...new TextEncoder().encode(value)]);

// Numbers of enumerations in onnx.proto.
const ELEMENTS = { float32: 1, int32: 6 };
const FLOAT = 1;
const INT = 2;

/** Names for the axes, so that no length is part of the model. */
function valueInfo(field, { name, type, rank }) {
  const axes = Array.from({ length: rank }, (_, axis) => message(1, text(2, `${name}_${axis}`)));
  return message(field, text(1, name), message(2, message(1, int(1, ELEMENTS[type]), message(2, ...axes))));
}

function attribute([name, value]) {
  const whole = Number.isInteger(value);
  return message(5, text(1, name), whole ? int(3, value) : float(2, value), int(20, whole ? INT : FLOAT));
}

/**
 * A model of one operator. Inputs and outputs are `{ name, type, rank }`; `null` among the inputs is one left out.
 * Attributes are whole numbers where their values are.
 */
export function model({ operator, domain = "", attributes = {}, inputs, outputs }) {
  const node = message(
    1,
    ...inputs.map((input) => text(1, input?.name ?? "")),
    ...outputs.map(({ name }) => text(2, name)),
    text(4, operator),
    ...Object.entries(attributes).map(attribute),
    text(7, domain),
  );
  const graph = message(
    7,
    node,
    text(2, operator),
    ...inputs.filter(Boolean).map((input) => valueInfo(11, input)),
    ...outputs.map((output) => valueInfo(12, output)),
  );
  const operators = [["", 23], ["com.microsoft", 1]];
  const versions = operators.map(([name, version]) => message(8, text(1, name), int(2, version)));
  return new Uint8Array([...int(1, 10), graph, ...versions].flat());
}
