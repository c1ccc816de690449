// onnxruntime-web as a contender: a session of one operator on its WebGPU provider, inputs and outputs on the GPU.
import { model } from "./onnx.js";

const FOLDER = "/node_modules/onnxruntime-web/dist/";

/** The library with a device of its own: with all that it asks for, or without subgroups. */
export async function open({ subgroups }) {
  // Each device needs an instance of the library.
  const ort = await import(`${FOLDER}ort.webgpu.min.mjs?subgroups=${subgroups}`);
  ort.env.wasm.wasmPaths = FOLDER;
  ort.env.wasm.numThreads = 1;
  ort.env.logLevel = "error";
  const provider = { name: "webgpu" };
  if (!subgroups) {
    const adapter = await navigator.gpu.requestAdapter();
    const requiredFeatures = [...adapter.features].filter((name) => !name.startsWith("subgroup"));
    const requiredLimits = {};
    for (const name in adapter.limits) {
      if (!/subgroup/i.test(name) && typeof adapter.limits[name] === "number") requiredLimits[name] = adapter.limits[name];
    }
    provider.device = await adapter.requestDevice({ requiredFeatures, requiredLimits });
  }
  return {
    version: ort.env.versions.web,
    prepare: (form, row, inputs) => prepare(ort, provider, form, row, inputs),
  };
}

const value = (name, rank, type = "float32") => ({ name, rank, type });
const out = value("out", 3);

/** A copy whose axes stand in another order. */
function transposed(data, shape, order) {
  const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((a, b) => a * b, 1));
  const sizes = order.map((axis) => shape[axis]);
  const steps = order.map((axis) => strides[axis]);
  const all = new Float32Array(data.length);
  const at = sizes.map(() => 0);
  for (let i = 0, from = 0; i < all.length; i++) {
    all[i] = data[from];
    for (let axis = sizes.length - 1; axis >= 0; axis--) {
      from += steps[axis];
      if (++at[axis] < sizes[axis]) break;
      from -= steps[axis] * sizes[axis];
      at[axis] = 0;
    }
  }
  return all;
}

/** [S,Hkv,D] with each head as often as there are query heads in its group: [S,H,D]. */
function repeated(data, { S, H, Hkv, D }) {
  const all = new Float32Array(S * H * D);
  for (let s = 0; s < S; s++) {
    for (let h = 0; h < H; h++) {
      const from = (s * Hkv + Math.floor((h * Hkv) / H)) * D;
      all.set(data.subarray(from, from + D), (s * H + h) * D);
    }
  }
  return all;
}

const plain = { layout: (result) => result };

/**
 * The operators, and how one would write grouped-query attention with them. `why` says what of a row a form can't do;
 * `build` gives the model, what is fed as [data, shape], and how to lay out the result as [T,H,D]. All copies and
 * transpositions are made once, before anything is timed.
 */
const FORMS = {
  "GroupQueryAttention": {
    why: ({ causal }) => (causal ? undefined : "is always causal"),
    build({ T, H, Hkv, D }, { q, k, v }) {
      return {
        ...plain,
        domain: "com.microsoft",
        attributes: { num_heads: H, kv_num_heads: Hkv },
        inputs: [
          value("q", 3), value("k", 3), value("v", 3), null, null, value("seqlens_k", 1, "int32"),
          value("total", 1, "int32"),
        ],
        outputs: [out, value("present_k", 4), value("present_v", 4)],
        feeds: {
          q: [q, [1, T, H * D]], k: [k, [1, T, Hkv * D]], v: [v, [1, T, Hkv * D]],
          seqlens_k: [Int32Array.of(T - 1), [1]],
        },
        hostFeeds: { total: [Int32Array.of(T), [1]] },
      };
    },
  },
  "GroupQueryAttention, past": {
    operator: "GroupQueryAttention",
    why: ({ T }) => (T === 1 ? undefined : "is for one query after a past"),
    build({ S, H, Hkv, D }, { q, k, v }) {
      // The last key is the call's own; the cache [Hkv,S,D] has the others, and is written in place.
      const cache = (data) => [transposed(data, [S, Hkv, D], [1, 0, 2]), [1, Hkv, S, D]];
      const last = (data) => [data.slice(-Hkv * D), [1, 1, Hkv * D]];
      return {
        ...plain,
        domain: "com.microsoft",
        attributes: { num_heads: H, kv_num_heads: Hkv },
        inputs: [
          value("q", 3), value("k", 3), value("v", 3), value("past_k", 4), value("past_v", 4),
          value("seqlens_k", 1, "int32"), value("total", 1, "int32"),
        ],
        outputs: [out, value("present_k", 4), value("present_v", 4)],
        feeds: {
          q: [q, [1, 1, H * D]], k: last(k), v: last(v), past_k: cache(k), past_v: cache(v),
          seqlens_k: [Int32Array.of(S - 1), [1]],
        },
        hostFeeds: { total: [Int32Array.of(S), [1]] },
        fetches: { present_k: "past_k", present_v: "past_v" },
      };
    },
  },
  "MultiHeadAttention, repeated": {
    operator: "MultiHeadAttention",
    build(row, { q, k, v }) {
      const { T, S, H, D, causal } = row;
      return {
        ...plain,
        domain: "com.microsoft",
        attributes: { num_heads: H, unidirectional: Number(causal) },
        inputs: [value("q", 3), value("k", 3), value("v", 3)],
        outputs: [out],
        feeds: {
          q: [q, [1, T, H * D]], k: [repeated(k, row), [1, S, H * D]], v: [repeated(v, row), [1, S, H * D]],
        },
      };
    },
  },
  "MultiHeadAttention, folded": {
    operator: "MultiHeadAttention",
    why: ({ causal }) => (causal ? "has no causal mask over folded queries" : undefined),
    build({ T, S, H, Hkv, D }, { q, k, v }) {
      // The query heads of a group as further queries: [T,Hkv,G,D] as [T·G,Hkv,D].
      const G = H / Hkv;
      return {
        domain: "com.microsoft",
        attributes: { num_heads: Hkv },
        inputs: [value("q", 3), value("k", 3), value("v", 3)],
        outputs: [out],
        feeds: {
          q: [transposed(q, [T, Hkv, G, D], [0, 2, 1, 3]), [1, T * G, Hkv * D]],
          k: [k, [1, S, Hkv * D]], v: [v, [1, S, Hkv * D]],
        },
        layout: (result) => transposed(result, [T, G, Hkv, D], [0, 2, 1, 3]),
      };
    },
  },
  "Attention": {
    build({ T, S, H, Hkv, D, causal }, { q, k, v }) {
      return {
        ...plain,
        attributes: { q_num_heads: H, kv_num_heads: Hkv, is_causal: Number(causal) },
        inputs: [value("q", 3), value("k", 3), value("v", 3)],
        outputs: [out],
        feeds: { q: [q, [1, T, H * D]], k: [k, [1, S, Hkv * D]], v: [v, [1, S, Hkv * D]] },
      };
    },
  },
};

export const forms = Object.keys(FORMS);

/** Why a form can't do a row, if it is known beforehand. */
export const why = (form, row) => FORMS[form].why?.(row);

async function sessionOf(ort, provider, node) {
  try {
    return await ort.InferenceSession.create(model(node), {
      executionProviders: [provider],
      preferredOutputLocation: "gpu-buffer",
      // What the provider can't do must fail, not run elsewhere.
      extra: { session: { disable_cpu_ep_fallback: "1" } },
    });
  } catch (error) {
    if (/fallback to CPU EP/.test(error.message)) throw new Error("is not among the operators of its WebGPU provider");
    throw error;
  }
}

/** A session, and its inputs on the device. */
async function prepare(ort, provider, form, row, inputs) {
  const { operator = form, build } = FORMS[form];
  const { feeds, hostFeeds = {}, fetches: wanted = {}, layout, ...rest } = build(row, inputs);
  const session = await sessionOf(ort, provider, { operator, ...rest });
  const device = provider.device ?? (await ort.env.webgpu.device);
  const buffers = [];
  const tensor = ([data, dims]) => {
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
    const buffer = device.createBuffer({ size: Math.ceil(data.byteLength / 16) * 16, usage });
    device.queue.writeBuffer(buffer, 0, data);
    buffers.push(buffer);
    const dataType = data instanceof Int32Array ? "int32" : "float32";
    return ort.Tensor.fromGpuBuffer(buffer, { dataType, dims });
  };
  const fed = Object.fromEntries(Object.entries(feeds).map(([name, feed]) => [name, tensor(feed)]));
  const onHost = ([data, dims]) => new ort.Tensor("int32", data, dims);
  const all = { ...fed, ...Object.fromEntries(Object.entries(hostFeeds).map(([name, feed]) => [name, onHost(feed)])) };
  const own = Object.fromEntries(Object.entries(wanted).map(([output, input]) => [output, fed[input]]));
  const fetches = Object.fromEntries(session.outputNames.map((name) => [name, own[name] ?? null]));
  const run = () => session.run(all, fetches);
  const release = (results) => {
    for (const [name, result] of Object.entries(results)) if (!own[name]) result.dispose();
  };
  return {
    async run() {
      release(await run());
      await device.queue.onSubmittedWorkDone();
    },
    async result() {
      const results = await run();
      const data = await results.out.getData();
      release(results);
      return layout(data);
    },
    async close() {
      await session.release();
      buffers.forEach((buffer) => buffer.destroy());
    },
  };
}
