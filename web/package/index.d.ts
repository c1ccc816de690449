/**
 * Keras' `GroupQueryAttention` on WebGPU, as a complete layer with the same semantics and the same numbers.
 *
 * ```js
 * import { Gpu, Layer, ModelFile } from "gqa-web";
 *
 * const gpu = await Gpu.create();
 * const model = await ModelFile.parse(await (await fetch("model.keras")).arrayBuffer());
 * const layer = await Layer.fromModel(gpu, model, "attention");
 * const x = { data: new Float32Array(1 * 128 * 64), shape: [1, 128, 64] }; // [B,T,C]
 * const { output } = await layer.call({ query: x, value: x }, { useCausalMask: true });
 * const numbers = await output.data(); // Float32Array of B · T · C
 * ```
 *
 * Dimensions: B batch, T query length, S key and value length, H query heads, Hkv key/value heads, D `head_dim`, C, Ck and
 * Cv the feature widths of query (and output), key and value. Everything is row-major.
 *
 * Everything that can fail is a promise, and fails with a {@link GqaError}. Whatever holds memory of the GPU has
 * `dispose()`; what is forgotten goes when JavaScript's garbage collector finds it.
 *
 * It works in pages and in dedicated workers.
 */

/** What went wrong, for programs. */
export type GqaErrorCode =
  /** The browser has no WebGPU, or the page is not served over https or from localhost. */
  | "no-webgpu"
  /** The browser has WebGPU, and no adapter for it. */
  | "no-adapter"
  /** The adapter gave no device, or the device lacks what is needed. */
  | "device"
  /** The device was lost; everything on it is gone. Make a new {@link Gpu}. */
  | "device-lost"
  | "out-of-memory"
  /** An argument that is wrong: the message names it, what was expected, and what came. */
  | "argument"
  /** A tensor that the device can't hold or bind. */
  | "too-large"
  /** Bytes that are not the file that they should be. */
  | "file"
  | "layer-not-found"
  /** The file has several attention layers; name one. */
  | "ambiguous-layer"
  | "missing-tensor"
  | "unknown-tensor"
  /** Something that has been disposed was used. */
  | "disposed"
  /** The work was cancelled by its `AbortSignal` before there was a result. */
  | "cancelled"
  /** WebGPU refused a command: a defect of this library or of the browser. */
  | "gpu"
  /** A defect of this library. The page has to be loaded again. */
  | "internal";

/** The one error that promises of this package are rejected with. */
export class GqaError extends Error {
  readonly name: "GqaError";
  readonly code: GqaErrorCode;
  constructor(code: GqaErrorCode, message: string, options?: ErrorOptions);
}

/**
 * Loads the WebAssembly module. Everything else does this by itself; call it to load early, or to say where the module is
 * if it is not beside this file: a URL, a `Response`, its bytes or the compiled module.
 */
export default function init(
  source?: string | URL | Request | Response | BufferSource | WebAssembly.Module | Promise<Response>,
): Promise<void>;

/** How the adapter describes itself. */
export interface AdapterInfo {
  /** A name for people; never empty. */
  readonly name: string;
  /** As WebGPU gives them; may be empty. */
  readonly vendor: string;
  readonly architecture: string;
  readonly device: string;
  readonly description: string;
  /** Whether it is a CPU that stands in for a GPU. */
  readonly isFallbackAdapter: boolean;
  /** The device's features, by their WebGPU names. */
  readonly features: readonly string[];
  readonly maxStorageBufferBindingSize: number;
  readonly maxBufferSize: number;
  readonly maxComputeWorkgroupStorageSize: number;
  readonly maxComputeInvocationsPerWorkgroup: number;
  readonly maxStorageBuffersPerShaderStage: number;
  /** Least and most lanes of a subgroup, 0 if unknown. */
  readonly subgroupSizes: readonly [number, number];
}

/** What a device holds and has done so far. */
export interface GpuUsage {
  /** Bytes of tensors that are alive. */
  readonly tensorBytes: number;
  /** Bytes of intermediate buffers, in use or kept for the next call. */
  readonly workspaceBytes: number;
  readonly pipelines: number;
  readonly buffers: number;
  readonly bindGroups: number;
  readonly dispatches: number;
}

/** Which form of a kernel a device takes for a class of shapes, and why. */
export interface Choice {
  readonly class: string;
  readonly form: string;
  readonly source: "default" | "measured" | "remembered" | "fixed";
  /** Of measured ones: median milliseconds of each form that was tried, best first. */
  readonly candidates?: readonly (readonly [string, number])[];
}

export interface GpuOptions {
  /**
   * The page's own device, to share its memory and its queue. It stays the page's: `dispose()` does not destroy it. Needs
   * `adapter` too.
   */
  device?: GPUDevice;
  /** The adapter to make a device on, or the one that `device` was made on. */
  adapter?: GPUAdapter;
  /** "high-performance" if not given. */
  powerPreference?: GPUPowerPreference;
  /** Limits of the device: as high as the adapter allows (the default), or those that every WebGPU device has. */
  limits?: "adapter" | "default";
  /** Whether the first call of a class of shapes measures which form of a kernel is best, which may take seconds. False. */
  tuning?: boolean;
}

/** A WebGPU device with its pipelines. */
export class Gpu {
  private constructor();
  static create(options?: GpuOptions): Promise<Gpu>;
  readonly adapter: AdapterInfo;
  /** The device: the page's own if it gave one. */
  readonly device: GPUDevice;
  /** Resolves, with the reason, when the device is lost; never if it is not. */
  readonly lost: Promise<GqaError>;
  readonly usage: GpuUsage;
  readonly choices: readonly Choice[];
  /** Gives back the memory of intermediate buffers. */
  trim(): void;
  /** Waits until everything submitted so far has run. */
  finish(): Promise<void>;
  /** Destroys the device, if it is not the page's own, and with it all that is on it. */
  dispose(): void;
  [Symbol.dispose](): void;
}

export type DType = "float32" | "float16" | "bfloat16" | "bool";

/**
 * Numbers on the host: `Float32Array` for float32, `Uint16Array` of the bits for float16 (the default for it) and
 * bfloat16, `Uint8Array` for masks (0 hides, anything else shows).
 */
export interface HostTensor {
  readonly data: Float32Array | Uint16Array | Uint8Array;
  readonly shape: readonly number[];
  readonly dtype?: DType;
}

/** Numbers on the GPU. */
export class Tensor {
  private constructor();
  /** Copies numbers to the GPU. */
  static from(gpu: Gpu, host: HostTensor): Promise<Tensor>;
  readonly shape: readonly number[];
  readonly dtype: DType;
  /** Reads the numbers as they are stored: `Float32Array`, `Uint16Array` of bits, or `Uint8Array` of 0 and 1. */
  data(): Promise<Float32Array | Uint16Array | Uint8Array>;
  /** Reads the numbers as float32, whatever they are stored as. */
  toFloat32(): Promise<Float32Array>;
  dispose(): void;
  [Symbol.dispose](): void;
}

export type TensorLike = Tensor | HostTensor;

/** The constructor arguments of Keras' layer, by Keras' own names, as in its `get_config()`. */
export interface LayerConfig {
  name?: string;
  head_dim: number;
  num_query_heads: number;
  num_key_value_heads: number;
  dropout?: number;
  use_bias?: boolean;
  use_gate?: boolean;
  sliding_window?: number | null;
  flash_attention?: boolean | null;
  seed?: number | null;
  /** "float32", "float16", "bfloat16", "mixed_float16" or "mixed_bfloat16", or Keras' own object. */
  dtype?: unknown;
  trainable?: boolean;
  /** Initializers, regularizers and constraints in Keras' own form: a name or `{class_name, config}`. */
  kernel_initializer?: unknown;
  bias_initializer?: unknown;
  kernel_regularizer?: unknown;
  bias_regularizer?: unknown;
  activity_regularizer?: unknown;
  kernel_constraint?: unknown;
  bias_constraint?: unknown;
}

/** One attention layer of a file. */
export interface LayerEntry {
  readonly name: string;
  /** Where its weights are in the file, if it has any. */
  readonly path?: string;
  /** Absent if the layer can't be run; `problem` says why. */
  readonly config?: LayerConfig;
  readonly problem?: string;
  /** Keys of its configuration that mean nothing here. */
  readonly unknownKeys: readonly string[];
  /** Widths of query, key and value, if the file has its weights. */
  readonly widths?: FeatureWidths;
}

/** The widths of the last axis of query, key and value. */
export interface FeatureWidths {
  /** C */
  query: number;
  /** Ck; `value` if not given. */
  key?: number;
  /** Cv; `query` if not given. */
  value?: number;
}

/** A file of Keras or safetensors, in memory. Needs no GPU. */
export class ModelFile {
  private constructor();
  /**
   * A `.keras` archive; or, with `config`, the bytes of `.weights.h5` or `.safetensors` with the JSON of the model or layer;
   * or a configuration's JSON alone.
   */
  static parse(bytes: ArrayBuffer | ArrayBufferView, config?: string | object): Promise<ModelFile>;
  readonly kind: string;
  readonly kerasVersion?: string;
  /** The attention layers in it. */
  readonly layers: readonly LayerEntry[];
  /** The bytes of the same file with this layer's weights in it, and nothing else changed. */
  replaceWeights(name: string | undefined, layer: Layer): Promise<Uint8Array>;
  dispose(): void;
  [Symbol.dispose](): void;
}

export interface CallInputs {
  /** `[B,T,C]` */
  query: TensorLike;
  /** `[B,S,Cv]` */
  value: TensorLike;
  /** `[B,S,Ck]`; value if not given. */
  key?: TensorLike;
  /** Bool `[T,S]`, `[B,T,S]` or `[B,H,T,S]`; any axis may be 1. False hides a key from a query. */
  attentionMask?: TensorLike;
  /** Bool `[B,T]` */
  queryMask?: TensorLike;
  /** Bool `[B,S]` */
  valueMask?: TensorLike;
  /** Bool `[B,S]` */
  keyMask?: TensorLike;
}

export interface CallOptions {
  useCausalMask?: boolean;
  returnAttentionScores?: boolean;
  /** Whether to drop probabilities, with the layer's `dropout`. */
  training?: boolean;
  /** The seed of this call's dropout pattern; a new one for each call if not given. */
  seed?: number | bigint;
  /** Position of the first query among the keys. */
  qOffset?: number;
  /** Position of the first batch element, when a batch is split over calls. */
  batchOffset?: number;
  /** The way to take; the layer decides if not given. */
  path?: "fused" | "chained";
}

export interface CallOutput {
  /** `[B,T,C]` */
  readonly output: Tensor;
  /** Probabilities before dropout, `[B,H,T,S]`, if they were asked for. */
  readonly scores?: Tensor;
  /** The seed of the dropout pattern, if anything was dropped. */
  readonly dropoutSeed?: bigint;
  readonly path: "fused" | "chained";
}

export interface Gradients {
  /** By name, as `query/kernel`. */
  readonly weights: Readonly<Record<string, Tensor>>;
  readonly query: Tensor;
  readonly value: Tensor;
  /** If key was given. */
  readonly key?: Tensor;
}

/** Grouped-query attention as a layer, on one GPU. Calls of one layer run one after the other. */
export class Layer {
  private constructor();
  /** A layer with weights drawn from the configuration's initializers. */
  static create(gpu: Gpu, config: LayerConfig, widths: FeatureWidths | number, seed?: number | bigint): Promise<Layer>;
  /** A layer with these weights, by name as {@link Layer.weights} gives them. */
  static fromWeights(gpu: Gpu, config: LayerConfig, weights: Record<string, HostTensor>): Promise<Layer>;
  /** A layer of a file; `name` may be left out if there is but one. */
  static fromModel(gpu: Gpu, model: ModelFile, name?: string): Promise<Layer>;
  readonly gpu: Gpu;
  readonly config: LayerConfig;
  readonly widths: Required<FeatureWidths>;
  call(inputs: CallInputs, options?: CallOptions): Promise<CallOutput>;
  /** The gradients of Σ output · outputGradient, plus the layer's regularization. */
  gradients(inputs: CallInputs, outputGradient: TensorLike, options?: CallOptions): Promise<Gradients>;
  /**
   * One step of training towards `target` `[B,T,C]`: mean squared error plus regularization. `options.training` is true if
   * not given. Returns the loss before the step.
   */
  trainStep(inputs: CallInputs, target: TensorLike, optimizer: Optimizer, options?: CallOptions): Promise<number>;
  /** One step with gradients of your own making. */
  step(optimizer: Optimizer, gradients: Gradients): Promise<void>;
  /** The weights by name: `query/kernel` `[C,H,D]`, `query/bias` and so on. */
  weights(): Promise<Record<string, HostTensor>>;
  /** The layer as a file: a Keras model around it, Keras weights, or safetensors. */
  save(format: "keras" | "weights.h5" | "safetensors"): Promise<Uint8Array>;
  dispose(): void;
  [Symbol.dispose](): void;
}

export interface OptimizerOptions {
  learningRate?: number;
  /** Of "sgd" alone. */
  momentum?: number;
  nesterov?: boolean;
  weightDecay?: number;
  beta1?: number;
  beta2?: number;
  epsilon?: number;
  globalClipnorm?: number;
}

/** An optimizer with Keras' formulas and defaults, and its slots. */
export class Optimizer {
  private constructor();
  static create(kind: "sgd" | "adam" | "adamw", options?: OptimizerOptions): Promise<Optimizer>;
  readonly iterations: number;
  dispose(): void;
  [Symbol.dispose](): void;
}

export interface AttentionInputs {
  /** `[B,T,H,D]` */
  query: TensorLike;
  /** `[B,S,Hkv,D]` */
  key: TensorLike;
  /** `[B,S,Hkv,D]` */
  value: TensorLike;
  attentionMask?: TensorLike;
  queryMask?: TensorLike;
  keyMask?: TensorLike;
}

export interface AttentionOptions {
  /** What products are multiplied by; 1/√D if not given. */
  scale?: number;
  useCausalMask?: boolean;
  slidingWindow?: number;
  qOffset?: number;
  /** The probability of dropping, and the seed of the pattern. */
  dropout?: number;
  seed?: number | bigint;
  returnAttentionScores?: boolean;
  path?: "fused" | "chained";
}

/** Attention alone, for queries, keys and values that are projected already. */
export function scaledDotProductAttention(
  gpu: Gpu,
  inputs: AttentionInputs,
  options?: AttentionOptions,
): Promise<{ output: Tensor; lse: Tensor; scores?: Tensor; path: "fused" | "chained" }>;

/**
 * Which probabilities dropout keeps: 1, or 0 for those that it drops, `[B,H,T,S]` by rows. The pattern depends on nothing but
 * these arguments; it is the one that a layer's call with this seed and the layer's `dropout` drops.
 */
export function dropoutKeeps(
  sizes: { batch: number; heads: number; queries: number; keys: number },
  probability: number,
  seed: number | bigint,
): Promise<Uint8Array>;

/** One case of the conformance set. */
export interface CheckResult {
  readonly name: string;
  /** Cases of a kind stand together: "heads", "masks", "dropout", … */
  readonly group: string;
  readonly passed: boolean;
  /** The largest error as a part of the largest value, NaN if the result has one; absent if the case could not run. */
  readonly error?: number;
  /** What is allowed; 0 where every bit counts. */
  readonly tolerance?: number;
  /** Why the case could not run. */
  readonly message?: string;
  readonly milliseconds: number;
  /** How many cases are done, this one included, and how many there are. */
  readonly done: number;
  readonly total: number;
}

/**
 * Runs the conformance set on this device: layers, attention, dropout and gradients against a naive f64 reference on the CPU.
 * Resolves with all results; cases that fail do not reject it.
 */
export function check(
  gpu: Gpu,
  options?: { onResult?: (result: CheckResult) => void; signal?: AbortSignal },
): Promise<readonly CheckResult[]>;

export interface BenchProgress {
  /** Cases that are done (those under way count in parts), and how many there are. */
  readonly done: number;
  readonly total: number;
  /** What is under way, for people. */
  readonly message: string;
  /** A row that was just finished, in the form of the results. */
  readonly row?: Record<string, unknown>;
}

export interface BenchOptions {
  /** "quick" (under a minute, the default) or "full". */
  suite?: "quick" | "full";
  /** Cases alone whose id or group contains this. */
  only?: string;
  repetitions?: number;
  signal?: AbortSignal;
  onProgress?: (progress: BenchProgress) => void;
}

/**
 * Runs the benchmark suite. Resolves with the JSON text that the command `gqa bench` writes and `gqa report` reads. When it is
 * cancelled it resolves too, with what has been measured (`complete` is false), perhaps no row; it rejects if that is nothing at all.
 */
export function bench(gpu: Gpu, options?: BenchOptions): Promise<string>;
