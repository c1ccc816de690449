// The form of the section that shows scores: what it says, and what it offers for a layer and its inputs.
import { byId, h } from "./dom.js";
import { MaskEditor } from "./mask-editor.js";

const field = (name) => byId(`see-${name}`);

export class Controls {
  #mask;

  /** `onLayer()` is called when another layer is chosen, `onView()` for what changes the drawing alone, `onChange()` for the rest. */
  constructor({ onLayer, onView, onChange }) {
    this.#mask = new MaskEditor(onChange);
    field("mask").append(this.#mask.element);
    const form = field("form");
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", ({ target }) => {
      if (target === field("layer")) return onLayer();
      if (target === field("scale") || target === field("batch")) return onView();
      this.#echo();
      return onChange();
    });
  }

  /** Offers the layers of a file; those that can't be run say why. Returns whether one can. */
  offerLayers(layers) {
    field("layer").replaceChildren(...layers.map(({ name, problem }) =>
      h("option", { value: name, disabled: Boolean(problem) }, problem ? `${name}: ${problem}` : name)));
    field("layer-field").hidden = layers.length < 2;
    const usable = layers.find(({ problem }) => !problem);
    field("layer").value = usable?.name ?? "";
    return Boolean(usable);
  }

  get layer() {
    return field("layer").value;
  }

  /** Starts from what a layer has itself. */
  startFrom({ sliding_window: window }) {
    field("window").value = window ?? "";
    field("dropout").value = 0;
    field("padding").value = 0;
  }

  get usesFile() {
    return field("source-file").checked;
  }

  set usesFile(on) {
    field(on ? "source-file" : "source-random").checked = true;
  }

  set causal(on) {
    field("causal").checked = on;
  }

  /**
   * What the form asks for, once it fits the inputs' shapes (those of the file, or none). Where a number is not one that
   * the field takes, it is an error.
   */
  read(shapes) {
    field("source-file").disabled = !shapes;
    if (!shapes) this.usesFile = false;
    const fromFile = this.usesFile;
    for (const input of field("random").querySelectorAll("input")) input.disabled = fromFile;
    const [batch, queries] = fromFile ? shapes.query : [1, number("queries", "Queries")];
    const keys = fromFile ? shapes.value[1] : number("keys", "Keys");
    this.#fit(batch, queries, keys);
    return {
      name: this.layer,
      random: fromFile ? undefined : { queries, keys, seed: number("seed", "Seed") },
      causal: field("causal").checked,
      slidingWindow: field("window").value === "" && !field("window").validity.badInput ? null : number("window", "Sliding window"),
      padding: field("padding").valueAsNumber,
      mask: this.#mask.mask,
      dropout: field("dropout").valueAsNumber,
      seed: number("dropout-seed", "Seed of the pattern"),
    };
  }

  get view() {
    return { batch: Number(field("batch").value), whole: field("scale").value === "one" };
  }

  #fit(batch, queries, keys) {
    field("padding").max = keys;
    if (field("batch").options.length !== batch) {
      field("batch").replaceChildren(...Array.from({ length: batch }, (_, i) => h("option", { value: i }, String(i))));
    }
    field("batch-field").hidden = batch < 2;
    this.#mask.resize(queries, keys);
    this.#echo();
  }

  #echo() {
    for (const name of ["padding", "dropout"]) field(`${name}-value`).textContent = field(name).value;
  }
}

/** The whole number in a field. */
function number(name, label) {
  const { min, max, valueAsNumber, validity } = field(name);
  if (!validity.valid || !Number.isInteger(valueAsNumber)) {
    throw Object.assign(new Error(`${label} must be a whole number from ${min} to ${max}`), { code: "argument" });
  }
  return valueAsNumber;
}
