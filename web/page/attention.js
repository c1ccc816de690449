// The layer that the page shows, in the worker: a file's layer, its inputs, and what comes out.
import { Layer, ModelFile, dropoutKeeps } from "./gqa-web/index.js";
import { inputsOf, randomInputs, withMasks } from "./inputs.js";

/** As many scores as the page shows; more would fill the memory of a phone. */
const SCORES = 2 ** 25;

export class Attention {
  #gpu;
  #turn = Promise.resolve();
  #model;
  #inputs;
  /** The file's own layer, and the last one with a changed configuration, under what tells them apart. */
  #layers = new Map();

  constructor(gpu) {
    this.#gpu = gpu;
  }

  /** Takes the file in place of the last one, and returns what is in it. */
  load(bytes) {
    return this.#inTurn(async () => {
      const model = await ModelFile.parse(bytes);
      this.#forget();
      this.#model?.dispose();
      this.#model = model;
      return { kind: model.kind, kerasVersion: model.kerasVersion, layers: model.layers };
    });
  }

  /** Takes the inputs of a safetensors file, and returns their shapes by name. */
  loadInputs(bytes) {
    this.#inputs = inputsOf(bytes);
    return Object.fromEntries(Object.entries(this.#inputs).map(([name, { shape }]) => [name, shape]));
  }

  /**
   * Calls a layer. `random` asks for random inputs `{queries, keys, seed}` in place of the file's; `slidingWindow` and
   * `dropout` stand in for the file's own.
   */
  compute(request) {
    return this.#inTurn(() => this.#compute(request));
  }

  async #compute({ name, random, padding, mask, causal, slidingWindow, dropout, seed }) {
    const layer = await this.#layer(name, { slidingWindow, dropout });
    const inputs = withMasks(random ? randomInputs(layer.widths, random) : this.#inputs, { padding, mask });
    const sizes = { batch: inputs.query.shape[0], heads: layer.config.num_query_heads, queries: inputs.query.shape[1], keys: inputs.value.shape[1] };
    const count = Object.values(sizes).reduce((product, size) => product * size, 1);
    if (count > SCORES) throw Object.assign(new Error(`there would be ${count} scores, and this page shows ${SCORES} at most`), { code: "too-large" });
    const training = dropout > 0;
    const begun = performance.now();
    const called = await layer.call(inputs, { useCausalMask: causal, returnAttentionScores: true, training, ...(training && { seed }) });
    try {
      const result = {
        shape: [...called.output.shape],
        output: await called.output.toFloat32(),
        scoresShape: [...called.scores.shape],
        scores: await called.scores.toFloat32(),
        path: called.path,
      };
      result.milliseconds = performance.now() - begun;
      if (training) result.keeps = await dropoutKeeps(sizes, dropout, seed);
      return result;
    } finally {
      called.output.dispose();
      called.scores.dispose();
    }
  }

  /** Does the work after what was asked for before: no file goes while its layer runs. */
  #inTurn(work) {
    const turn = this.#turn.then(work);
    this.#turn = turn.catch(() => {});
    return turn;
  }

  async #layer(name, { slidingWindow, dropout }) {
    const own = await this.#kept(name, () => Layer.fromModel(this.#gpu, this.#model, name));
    const config = own.config;
    if (slidingWindow === (config.sliding_window ?? null) && (dropout === 0 || dropout === config.dropout)) return own;
    const changed = { ...config, sliding_window: slidingWindow, dropout };
    return this.#kept(JSON.stringify([name, slidingWindow, dropout]), async () => Layer.fromWeights(this.#gpu, changed, await own.weights()), name);
  }

  /** The layer of this key, made if it is not there; others go, but for the one of the key `beside`. */
  async #kept(key, make, beside) {
    const kept = this.#layers.get(key);
    if (kept) return kept;
    const layer = await make();
    this.#forget(beside);
    this.#layers.set(key, layer);
    return layer;
  }

  #forget(except) {
    for (const [key, layer] of this.#layers) {
      if (key === except) continue;
      layer.dispose();
      this.#layers.delete(key);
    }
  }
}
