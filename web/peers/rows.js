// What is compared: shapes, their random inputs, and what the results should be.

/** q [B,T,H,D], k and v [B,S,Hkv,D]; B is 1. The names are those of the benchmark suite. */
export const ROWS = [
  { name: "A1 full", T: 1024, S: 1024, H: 8, Hkv: 2, D: 64, causal: false },
  { name: "A1 causal", T: 1024, S: 1024, H: 8, Hkv: 2, D: 64, causal: true },
  { name: "A3 decode", T: 1, S: 4096, H: 32, Hkv: 8, D: 128, causal: false },
  { name: "A4 full", T: 1024, S: 1024, H: 8, Hkv: 2, D: 128, causal: false },
  { name: "A4 causal", T: 1024, S: 1024, H: 8, Hkv: 2, D: 128, causal: true },
];

/** Numbers in [-1, 1) that are the same each time (xorshift32). */
function random(length, seed) {
  let state = seed;
  return Float32Array.from({ length }, () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 31 - 1;
  });
}

export function inputsOf({ T, S, H, Hkv, D }) {
  // Scores of a few units, so that keys differ in weight.
  const q = random(T * H * D, 1).map((x) => 4 * x);
  return { q, k: random(S * Hkv * D, 2), v: random(S * Hkv * D, 3) };
}

/** How many pairs of query and head are checked at most. */
const SAMPLES = 96;

/** The pairs (t, h) to check, spread over all, the first and the last among them. */
function samples({ T, H }) {
  const count = Math.min(SAMPLES, T * H);
  return Array.from({ length: count }, (_, i) => {
    const at = Math.round((i * (T * H - 1)) / Math.max(count - 1, 1));
    return [Math.floor(at / H), at % H];
  });
}

/** out[t,h,:] in f64. */
function attend({ q, k, v }, { S, H, Hkv, D, causal }, t, h) {
  const head = Math.floor(h / (H / Hkv));
  const keys = causal ? t + 1 : S;
  const scores = new Float64Array(keys);
  for (let s = 0; s < keys; s++) {
    for (let d = 0; d < D; d++) scores[s] += q[(t * H + h) * D + d] * k[(s * Hkv + head) * D + d];
  }
  const scale = 1 / Math.sqrt(D);
  const largest = scores.reduce((a, b) => Math.max(a, b));
  const weights = scores.map((score) => Math.exp((score - largest) * scale));
  const total = weights.reduce((a, b) => a + b);
  const out = new Float64Array(D);
  weights.forEach((weight, s) => {
    for (let d = 0; d < D; d++) out[d] += (weight / total) * v[(s * Hkv + head) * D + d];
  });
  return out;
}

/** The rows to check of what attention should be: `{ t, h, out }`. */
export function expectedOf(inputs, row) {
  return samples(row).map(([t, h]) => ({ t, h, out: attend(inputs, row, t, h) }));
}

/**
 * The largest difference, relative to the largest value, of out [T,H,D]; infinite where a number is not finite or one is
 * missing.
 */
export function errorOf(out, expected, { T, H, D }) {
  if (out.length !== T * H * D) return Infinity;
  let [difference, scale] = [0, 0];
  for (const { t, h, out: right } of expected) {
    for (let d = 0; d < D; d++) {
      const got = out[(t * H + h) * D + d];
      if (!Number.isFinite(got)) return Infinity;
      difference = Math.max(difference, Math.abs(got - right[d]));
      scale = Math.max(scale, Math.abs(right[d]));
    }
  }
  return difference / scale;
}
