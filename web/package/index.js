// The package: what `index.d.ts` describes, over the module's plain exports.
import load, * as wasm from "./gqa_web.js";

export class GqaError extends Error {
  constructor(code, message, options) {
    super(message, options);
    this.name = "GqaError";
    this.code = code;
  }
}

let loading;

export default function init(source) {
  loading ??= (async () => {
    try {
      await load(source === undefined ? undefined : { module_or_path: source });
    } catch (cause) {
      loading = undefined;
      throw new GqaError("internal", `the WebAssembly module can't be loaded: ${cause.message}`, { cause });
    }
  })();
  return loading;
}

/** The error as one of this package. A trap leaves a module that can't go on. */
function toGqaError(cause) {
  if (cause instanceof GqaError) return cause;
  if (typeof cause?.code === "string") return new GqaError(cause.code, cause.message, { cause });
  return new GqaError("internal", cause?.message ?? String(cause), { cause });
}

/** Does the work with the module loaded; whatever it throws is a GqaError. */
async function guarded(work) {
  await init();
  try {
    return await work();
  } catch (error) {
    throw toGqaError(error);
  }
}

function refuse(argument, expected, got) {
  throw new GqaError("argument", `\`${argument}\` must be ${expected}, but got ${got}`);
}

function told(value) {
  if (value === null || typeof value !== "object") return typeof value === "string" ? `"${value}"` : String(value);
  return value.constructor?.name ?? "an object";
}

/** A whole number from 0 on, that 32 bits hold. */
function whole(name, value) {
  if (!Number.isInteger(value) || value < 0 || value >= 2 ** 32) refuse(name, "a whole number from 0 to 2³² − 1", told(value));
  return value;
}

function seedOf(seed) {
  if (typeof seed === "bigint" && seed >= 0n && seed < 2n ** 64n) return seed;
  if (Number.isSafeInteger(seed) && seed >= 0) return BigInt(seed);
  return refuse("seed", "a whole number from 0 to 2⁶⁴ − 1", told(seed));
}

function shapeOf(shape) {
  if (!Array.isArray(shape)) refuse("shape", "an array of lengths", told(shape));
  return new Uint32Array(shape.map((length) => whole("shape", length)));
}

/** The keys that an object may have; others are typing errors. */
function known(name, object, keys) {
  if (object === null || typeof object !== "object") refuse(name, "an object", told(object));
  for (const key of Object.keys(object)) {
    if (!keys.includes(key)) refuse(name, `made of ${keys.join(", ")}`, `\`${key}\``);
  }
  return object;
}

function dtypeOf({ data, dtype }) {
  if (dtype !== undefined) return dtype;
  if (data instanceof Float32Array) return "float32";
  if (data instanceof Uint16Array) return "float16";
  if (data instanceof Uint8Array) return "bool";
  return refuse("data", "a Float32Array, a Uint16Array or a Uint8Array", told(data));
}

/** What holds a handle of the module, until it is disposed. */
class Handle {
  #raw;

  constructor(key, raw) {
    if (key !== OWN) throw new GqaError("argument", `${new.target.name} has no constructor for the public`);
    this.#raw = raw;
  }

  static raw(handle, name = "this") {
    if (!(handle instanceof Handle)) refuse(name, `a ${this.name}`, told(handle));
    if (!(handle instanceof this)) refuse(name, `a ${this.name}`, told(handle));
    if (handle.#raw === undefined) throw new GqaError("disposed", `this ${this.name} has been disposed`);
    return handle.#raw;
  }

  dispose() {
    this.#raw?.free();
    this.#raw = undefined;
  }
}
if (Symbol.dispose) {
  Handle.prototype[Symbol.dispose] = function () {
    this.dispose();
  };
}

const OWN = Symbol("own");
const IN_TURN = Symbol("in turn");

export class Gpu extends Handle {
  #device;
  #shared;

  constructor(key, raw, adapter, device, shared) {
    super(key, raw);
    this.#device = device;
    this.#shared = shared;
    this.adapter = factsOf(adapter, device);
    this.lost = device.lost.then(({ message, reason }) => {
      this.loss = new GqaError("device-lost", `the GPU device was lost: ${message || reason}`);
      return this.loss;
    });
  }

  static create(options = {}) {
    return guarded(async () => {
      known("options", options, ["device", "adapter", "powerPreference", "limits", "tuning"]);
      const { device, adapter, powerPreference = "high-performance", limits = "adapter", tuning = false } = options;
      if (!globalThis.navigator?.gpu) {
        throw new GqaError("no-webgpu", "this browser has no WebGPU, or the page is neither on https nor on localhost");
      }
      if (device && !adapter) refuse("adapter", "given with `device`", "nothing");
      const found = adapter ?? (await navigator.gpu.requestAdapter({ powerPreference }));
      if (!found) throw new GqaError("no-adapter", "the browser has WebGPU, and no adapter for it");
      const taken = {};
      const raw = await standIn(found, device, taken, () =>
        wasm.openGpu(powerPreference === "low-power", limits === "default", Boolean(tuning)),
      );
      return new Gpu(OWN, raw, found, taken.device, Boolean(device));
    });
  }

  get device() {
    return this.#device;
  }

  get usage() {
    return JSON.parse(Gpu.raw(this).usage());
  }

  get choices() {
    return JSON.parse(Gpu.raw(this).choices());
  }

  trim() {
    Gpu.raw(this).trim();
  }

  finish() {
    return on(this, () => Gpu.raw(this).finish());
  }

  dispose() {
    super.dispose();
    if (!this.#shared) this.#device.destroy();
  }
}

/**
 * Opens a device while `navigator.gpu` stands for this adapter and, if there is one, this device: wgpu has no other way to
 * take a page's own. What wgpu gets is noted in `taken`.
 */
function standIn(adapter, device, taken, open) {
  const ours = {
    features: device?.features ?? adapter.features,
    limits: device?.limits ?? adapter.limits,
    info: adapter.info,
    requestDevice: async (descriptor) => (taken.device = device ?? (await adapter.requestDevice(descriptor))),
  };
  Object.defineProperty(navigator, "gpu", { configurable: true, value: { requestAdapter: async () => ours } });
  try {
    return open();
  } finally {
    delete navigator.gpu;
  }
}

function factsOf({ info, isFallbackAdapter }, { features, limits }) {
  const { vendor, architecture, device, description } = info;
  const name = description || [vendor, architecture, device].filter(Boolean).join(" ") || "unnamed adapter";
  return Object.freeze({
    name,
    vendor,
    architecture,
    device,
    description,
    isFallbackAdapter: Boolean(info.isFallbackAdapter ?? isFallbackAdapter),
    features: [...features].sort(),
    maxStorageBufferBindingSize: limits.maxStorageBufferBindingSize,
    maxBufferSize: limits.maxBufferSize,
    maxComputeWorkgroupStorageSize: limits.maxComputeWorkgroupStorageSize,
    maxComputeInvocationsPerWorkgroup: limits.maxComputeInvocationsPerWorkgroup,
    maxStorageBuffersPerShaderStage: limits.maxStorageBuffersPerShaderStage,
    subgroupSizes: [info.subgroupMinSize ?? 0, info.subgroupMaxSize ?? 0],
  });
}

/** Work on a device: where it fails and the device is lost, that is why. */
async function on(gpu, work) {
  return guarded(async () => {
    if (gpu.loss) throw gpu.loss;
    try {
      return await work();
    } catch (error) {
      throw gpu.loss ?? error;
    }
  });
}

export class Tensor extends Handle {
  #gpu;

  constructor(key, raw, gpu) {
    super(key, raw);
    this.#gpu = gpu;
    this.shape = Object.freeze([...raw.shape]);
    this.dtype = raw.dtype;
  }

  static from(gpu, host) {
    return on(gpu, async () => new Tensor(OWN, await upload(gpu, host), gpu));
  }

  data() {
    return on(this.#gpu, () => Tensor.raw(this).data());
  }

  toFloat32() {
    return on(this.#gpu, () => Tensor.raw(this).toFloat32());
  }
}

async function upload(gpu, host, name = "tensor") {
  known(name, host, ["data", "shape", "dtype"]);
  return wasm.upload(Gpu.raw(gpu, "gpu"), host.data, shapeOf(host.shape), dtypeOf(host));
}

const TENSORS = ["query", "key", "value", "attentionMask", "queryMask", "valueMask", "keyMask"];
const SWITCHES = ["useCausalMask", "returnAttentionScores", "training"];
const NUMBERS = ["qOffset", "batchOffset", "slidingWindow", "scale", "dropout"];
const OF_LAYER = [...SWITCHES, "qOffset", "batchOffset", "seed", "path"];
const OF_ATTENTION = ["useCausalMask", "returnAttentionScores", "qOffset", "slidingWindow", "scale", "dropout", "seed", "path"];

/** Calls `work` with the arguments as the module takes them. What had to be uploaded is freed afterwards. */
async function withArguments(gpu, inputs, options, optionNames, extra, work) {
  known("inputs", inputs, TENSORS);
  known("options", options, optionNames);
  const uploaded = [];
  const rawOf = async (name, value) => {
    if (value instanceof Tensor) return Tensor.raw(value, name);
    const raw = await upload(gpu, value, name);
    uploaded.push(raw);
    return raw;
  };
  const args = new wasm.Arguments();
  try {
    for (const [name, value] of Object.entries(inputs)) {
      if (value !== undefined) args.tensor(name, await rawOf(name, value));
    }
    for (const [name, value] of Object.entries(options)) {
      if (value === undefined) continue;
      if (SWITCHES.includes(name)) args.flag(name, Boolean(value));
      else if (name === "seed") args.seed(seedOf(value));
      else if (name === "path") args.path(String(value));
      else if (NUMBERS.includes(name)) args.number(name, numberOf(name, value));
    }
    return await work(args, extra === undefined ? undefined : await rawOf("tensor", extra));
  } finally {
    args.free();
    for (const raw of uploaded) raw.free();
  }
}

function numberOf(name, value) {
  if (name !== "scale" && name !== "dropout") return whole(name, value);
  if (typeof value !== "number" || !Number.isFinite(value)) refuse(name, "a finite number", told(value));
  return value;
}

function outputs(gpu, raw) {
  const tensor = (name) => {
    const taken = raw.take(name);
    return taken && new Tensor(OWN, taken, gpu);
  };
  const out = { output: tensor("output"), lse: tensor("lse"), scores: tensor("scores"), path: raw.path };
  if (raw.dropoutSeed !== undefined) out.dropoutSeed = raw.dropoutSeed;
  for (const name of ["lse", "scores"]) if (out[name] === undefined) delete out[name];
  raw.free();
  return out;
}

export function scaledDotProductAttention(gpu, inputs, options = {}) {
  return on(gpu, () =>
    withArguments(gpu, inputs, options, OF_ATTENTION, undefined, async (args) => outputs(gpu, await wasm.attend(args))),
  );
}

export function dropoutKeeps({ batch, heads, queries, keys }, probability, seed) {
  return guarded(() => {
    const sizes = Object.entries({ batch, heads, queries, keys }).map(([name, size]) => whole(name, size));
    if (!(probability >= 0 && probability < 1)) refuse("probability", "in [0, 1)", told(probability));
    return wasm.dropoutKeeps(...sizes, probability, seedOf(seed));
  });
}

export class ModelFile extends Handle {
  constructor(key, raw) {
    super(key, raw);
    this.kind = raw.kind;
    this.kerasVersion = raw.kerasVersion;
    this.layers = JSON.parse(raw.layers());
  }

  static parse(bytes, config) {
    return guarded(() => {
      const view = ArrayBuffer.isView(bytes)
        ? new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)
        : bytes instanceof ArrayBuffer
          ? new Uint8Array(bytes)
          : refuse("bytes", "an ArrayBuffer or a view of one", told(bytes));
      return new ModelFile(OWN, new wasm.Model(view, config === undefined ? undefined : jsonOf(config)));
    });
  }

  replaceWeights(name, layer) {
    return guarded(() => {
      Layer.raw(layer, "layer");
      return layer[IN_TURN]((raw) => ModelFile.raw(this).replaceWeights(name, raw));
    });
  }
}

function jsonOf(config) {
  return typeof config === "string" ? config : JSON.stringify(config);
}

export class Layer extends Handle {
  /** The end of the last call. */
  #turn = Promise.resolve();

  constructor(key, raw, gpu) {
    super(key, raw);
    this.gpu = gpu;
    this.config = JSON.parse(raw.config());
    const [query, keyWidth, value] = raw.widths();
    this.widths = Object.freeze({ query, key: keyWidth, value });
  }

  static create(gpu, config, widths, seed = Math.floor(Math.random() * 2 ** 32)) {
    return on(gpu, async () => {
      const all = typeof widths === "number" ? { query: widths } : known("widths", widths, ["query", "key", "value"]);
      const { query, value = query, key = value } = all;
      const [q, k, v] = [query, key, value].map((width) => whole("widths", width));
      return new Layer(OWN, await wasm.createLayer(Gpu.raw(gpu, "gpu"), jsonOf(config), q, k, v, seedOf(seed)), gpu);
    });
  }

  static fromWeights(gpu, config, weights) {
    return on(gpu, async () => {
      const named = new wasm.NamedWeights();
      try {
        for (const [name, { data, shape }] of Object.entries(weights)) named.add(name, data, shapeOf(shape));
        return new Layer(OWN, await named.layer(Gpu.raw(gpu, "gpu"), jsonOf(config)), gpu);
      } finally {
        named.free();
      }
    });
  }

  static fromModel(gpu, model, name) {
    return on(gpu, async () => {
      const raw = await wasm.layerFromModel(Gpu.raw(gpu, "gpu"), ModelFile.raw(model, "model"), name);
      return new Layer(OWN, raw, gpu);
    });
  }

  /** Does the work when the calls before it have ended. */
  [IN_TURN](work) {
    const turn = this.#turn.then(() => on(this.gpu, () => work(Layer.raw(this))));
    this.#turn = turn.catch(() => {});
    return turn;
  }

  call(inputs, options = {}) {
    return this[IN_TURN]((raw) =>
      withArguments(this.gpu, inputs, options, OF_LAYER, undefined, async (args) => outputs(this.gpu, await raw.call(args))),
    );
  }

  gradients(inputs, outputGradient, options = {}) {
    return this[IN_TURN]((raw) =>
      withArguments(this.gpu, inputs, options, OF_LAYER, outputGradient, async (args, gradient) =>
        gradientsOf(this.gpu, await raw.gradients(args, gradient)),
      ),
    );
  }

  trainStep(inputs, target, optimizer, options = {}) {
    const given = { training: true, ...options };
    return this[IN_TURN]((raw) =>
      withArguments(this.gpu, inputs, given, OF_LAYER, target, (args, goal) =>
        raw.trainStep(args, goal, Optimizer.raw(optimizer, "optimizer")),
      ),
    );
  }

  step(optimizer, gradients) {
    return this[IN_TURN]((raw) => {
      const own = RAW_GRADIENTS.get(gradients) ?? refuse("gradients", "those that `gradients` gave", told(gradients));
      return raw.step(Optimizer.raw(optimizer, "optimizer"), own);
    });
  }

  weights() {
    return this[IN_TURN]((raw) => raw.weights());
  }

  save(format) {
    return this[IN_TURN]((raw) => raw.save(String(format)));
  }
}

/** The module's own object behind gradients. */
const RAW_GRADIENTS = new WeakMap();

function gradientsOf(gpu, raw) {
  const tensor = (taken) => taken && new Tensor(OWN, taken, gpu);
  const weights = Object.fromEntries(raw.names().map((name) => [name, tensor(raw.weight(name))]));
  const all = { weights, query: tensor(raw.input("query")), value: tensor(raw.input("value")) };
  const key = tensor(raw.input("key"));
  if (key) all.key = key;
  RAW_GRADIENTS.set(all, raw);
  return all;
}

export class Optimizer extends Handle {
  static create(kind, options = {}) {
    return guarded(() => {
      const names = ["learningRate", "momentum", "nesterov", "weightDecay", "epsilon", "globalClipnorm"];
      known("options", options, [...names, "beta1", "beta2"]);
      const raw = new wasm.Optimizer(String(kind));
      const { beta1, beta2, ...rest } = options;
      for (const [name, value] of Object.entries(rest)) if (value !== undefined) raw.set(name, Number(value));
      if (beta1 !== undefined || beta2 !== undefined) raw.setBetas(beta1 ?? 0.9, beta2 ?? 0.999);
      return new Optimizer(OWN, raw);
    });
  }

  get iterations() {
    return Optimizer.raw(this).iterations;
  }
}

export function check(gpu, options = {}) {
  return on(gpu, async () => {
    const { onResult, signal } = known("options", options, ["onResult", "signal"]);
    const list = JSON.parse(wasm.listChecks());
    const results = [];
    for (const [index, names] of list.entries()) {
      if (signal?.aborted) throw new GqaError("cancelled", `the check was cancelled after ${index} of ${list.length} cases`);
      const outcome = await outcomeOf(gpu, index);
      results.push(Object.freeze({ ...names, ...outcome, done: index + 1, total: list.length }));
      onResult?.(results.at(-1));
    }
    return results;
  });
}

/** What one check gave. One that can't be run has failed; a device that is lost ends them all. */
async function outcomeOf(gpu, index) {
  const start = performance.now();
  const told = (outcome) => ({ ...outcome, milliseconds: performance.now() - start });
  try {
    const { error, ...outcome } = JSON.parse(await wasm.runCheck(Gpu.raw(gpu, "gpu"), index));
    return told({ ...outcome, error: error ?? NaN });
  } catch (cause) {
    const error = toGqaError(cause);
    if (["device-lost", "disposed"].includes(error.code)) throw error;
    return told({ passed: false, message: error.message });
  }
}

export function bench(gpu, options = {}) {
  return on(gpu, () => {
    known("options", options, ["suite", "only", "repetitions", "signal", "onProgress"]);
    const { suite = "quick", only, repetitions, signal, onProgress } = options;
    const progress = (news) => {
      onProgress?.(JSON.parse(news));
      return !signal?.aborted;
    };
    const times = repetitions === undefined ? undefined : whole("repetitions", repetitions);
    return wasm.runBench(Gpu.raw(gpu, "gpu"), suite, only, times, gpu.adapter.name, progress);
  });
}
