// The section that shows the attention scores of a layer.
import { onScheme } from "./colour.js";
import { byId, download, facts, takeFiles } from "./dom.js";
import { isFatal, sentence } from "./errors.js";
import { latest } from "./latest.js";
import { figure, Maps } from "./maps.js";
import { format } from "./safetensors.js";
import { Controls } from "./see-controls.js";

const DEMO = ["demo.keras", "demo.inputs.safetensors"];
const by = (shape) => shape.join(" × ");

export class See {
  #work;
  #wanted = false;
  /** The files as they were taken: `{name, bytes}`. */
  #model;
  #inputs;
  #taking = Promise.resolve();
  #layers = [];
  #shapes;
  #result;
  #maps = new Maps(byId("see-readout"));
  #controls = new Controls({ onLayer: () => this.#start(), onView: () => this.#draw(), onChange: () => this.#ask() });
  #wish = latest((isLatest) => this.#compute(isLatest));

  constructor() {
    byId("see-maps").append(this.#maps.element);
    byId("see-legend").append(this.#maps.legend);
    byId("see-demo").addEventListener("click", () => this.#demo());
    byId("see-download").addEventListener("click", () => this.#download());
    takeFiles(byId("see"), byId("see-files"), (files) => this.#files(files));
    onScheme(() => this.#maps.draw());
    addEventListener("resize", latest(() => this.#draw(), { delay: 150 }));
  }

  /** The latest result, as the worker gave it. */
  get result() {
    return this.#result;
  }

  begin(work) {
    this.#work = work;
    if (this.#model) this.#take(this.#model, this.#inputs);
    else if (this.#wanted) this.#demo();
  }

  /** Starts with the demo, when the section is shown first: the check has the GPU until then. */
  shown() {
    if (this.#wanted) return;
    this.#wanted = true;
    if (this.#work) this.#demo();
  }

  end() {
    this.#work = undefined;
    this.#clear();
    this.#busy(false);
  }

  /** The demo, with the causal mask that it is meant to have. */
  async #demo() {
    const load = async (name) => {
      const response = await fetch(new URL(name, import.meta.url));
      if (!response.ok) throw new Error(`the server answers ${response.status}`);
      return { name, bytes: await response.arrayBuffer() };
    };
    this.#busy(true);
    try {
      const [model, inputs] = await Promise.all(DEMO.map(load));
      this.#controls.causal = true;
      await this.#take(model, inputs);
    } catch (error) {
      this.#fail(sentence(error, "The demo can't be loaded"));
    }
  }

  async #files(files) {
    const ending = (end) => files.filter(({ name }) => name.toLowerCase().endsWith(end));
    const [models, inputs] = [ending(".keras"), ending(".safetensors")];
    const other = files.find((file) => !models.includes(file) && !inputs.includes(file));
    if (other) return this.#say(`${other.name}: this page takes .keras and .safetensors files.`);
    if (models.length > 1 || inputs.length > 1) return this.#say("Choose one .keras file, and one .safetensors file at most.");
    const read = async (file) => file && { name: file.name, bytes: await file.arrayBuffer() };
    this.#busy(true);
    try {
      await this.#take(await read(models[0]), await read(inputs[0]));
    } catch (error) {
      this.#fail(sentence(error, files.map(({ name }) => name).join(", ")));
    }
    return undefined;
  }

  /** Takes files, of which either may be missing, after those before; where one is bad, what was there before it stays. */
  #take(model, inputs) {
    this.#taking = this.#taking.then(() => this.#takeNow(model, inputs));
    return this.#taking;
  }

  async #takeNow(model, inputs) {
    const work = this.#work;
    if (!work) return;
    this.#busy(true);
    this.#say("");
    let failed;
    const attempt = async (file, method) => {
      try {
        return await work.call(method, { bytes: file.bytes });
      } catch (error) {
        failed ??= sentence(error, file.name);
        return undefined;
      }
    };
    const loaded = model && (await attempt(model, "loadModel"));
    if (loaded && work === this.#work) this.#adopt(model, loaded);
    const shapes = inputs && !(model && !loaded) && (await attempt(inputs, "loadInputs"));
    if (work !== this.#work) return;
    if (shapes) {
      this.#inputs = inputs;
      this.#shapes = shapes;
      this.#controls.usesFile = true;
    }
    if (loaded) this.#start(failed);
    else this.#ask(failed);
  }

  #adopt(file, { layers }) {
    this.#model = file;
    this.#layers = layers;
    // Inputs belong to the layer that they came with.
    this.#inputs = undefined;
    this.#shapes = undefined;
    this.#controls.offerLayers(layers);
  }

  #title() {
    const entry = this.#entry;
    const { widths } = entry ?? {};
    const config = entry?.config;
    const { num_query_heads: heads, num_key_value_heads: keyHeads, head_dim: dim } = config ?? {};
    byId("see-file").textContent = this.#model.name;
    const layer = config ? `${entry.name}: ${heads} query heads, ${keyHeads} key/value heads, head_dim ${dim}` : "";
    const features = widths ? `, ${widths.query} features` : "";
    const inputs = this.#controls.usesFile && this.#inputs ? `; inputs of ${this.#inputs.name}` : "; random inputs";
    byId("see-inputs-file").textContent = `${layer}${features}${inputs}`;
  }

  get #entry() {
    return this.#layers.find(({ name }) => name === this.#controls.layer);
  }

  /** Starts with the chosen layer as its file has it. */
  #start(problem) {
    const entry = this.#entry;
    if (!entry) {
      const reasons = this.#layers.map(({ name, problem: reason }) => `${name}: ${reason}`).join("; ");
      return this.#fail(`${this.#model.name}: there is no attention layer in it that can be run. ${reasons}`);
    }
    this.#controls.startFrom(entry.config);
    let told = problem;
    if (this.#shapes && entry.widths && this.#shapes.query[2] !== entry.widths.query && this.#controls.usesFile) {
      this.#controls.usesFile = false;
      told ??= `${this.#inputs.name} has queries of ${this.#shapes.query[2]} features, and ${entry.name} takes ${entry.widths.query}: random inputs are shown instead.`;
    }
    return this.#ask(told);
  }

  #ask(problem = "") {
    if (!this.#work || !this.#entry) return problem ? this.#fail(problem) : undefined;
    this.#busy(true);
    this.#title();
    this.#problem = problem;
    return this.#wish();
  }

  /** What went wrong with files just now; it stays while what was there before is shown again. */
  #problem = "";

  async #compute(isLatest) {
    const work = this.#work;
    if (!work) return;
    try {
      const request = this.#controls.read(this.#shapes);
      const result = await work.call("compute", request);
      if (!isLatest() || work !== this.#work) return;
      this.#result = result;
      this.#draw();
      this.#summarise(result);
      this.#say(this.#problem);
      this.#busy(false);
    } catch (error) {
      if (!isLatest() || work !== this.#work) return;
      this.#clear();
      this.#fail([this.#problem, isFatal(error) ? "" : sentence(error)].filter(Boolean).join(" "));
    }
  }

  #draw() {
    if (!this.#result) return;
    const { num_key_value_heads: keyHeads } = this.#entry.config;
    this.#maps.show(this.#result, { ...this.#controls.view, keyHeads });
  }

  #summarise({ output, shape, scoresShape, path, milliseconds }) {
    let [least, most, sum, squares] = [Infinity, -Infinity, 0, 0];
    for (const x of output) {
      least = Math.min(least, x);
      most = Math.max(most, x);
      sum += x;
      squares += x * x;
    }
    const signed = (x) => `${x < 0 ? "−" : ""}${figure(Math.abs(x))}`;
    byId("see-output").replaceChildren(facts([
      ["Output", by(shape)],
      ["Scores", by(scoresShape)],
      ["Least and most", `${signed(least)} to ${signed(most)}`],
      ["Mean", signed(sum / output.length)],
      ["Root mean square", signed(Math.sqrt(squares / output.length))],
      ["Path", path],
      ["Time, with reading back", `${milliseconds.toFixed(1)} ms`],
    ]));
    byId("see-download").disabled = false;
  }

  #download() {
    const { output, shape, scores, scoresShape } = this.#result;
    const file = format({ attention_output: { data: output, shape }, attention_scores: { data: scores, shape: scoresShape } });
    download(`${this.#model.name.replace(/\.keras$/i, "")}.${this.#entry.name}.outputs.safetensors`, file);
  }

  #clear() {
    this.#result = undefined;
    this.#maps.clear();
    byId("see-output").replaceChildren();
    byId("see-download").disabled = true;
  }

  #busy(on) {
    byId("see").setAttribute("aria-busy", on);
    byId("see-busy").hidden = !on;
  }

  #say(problem) {
    byId("see-problem").textContent = problem;
  }

  #fail(problem) {
    this.#say(problem);
    this.#busy(false);
  }
}
