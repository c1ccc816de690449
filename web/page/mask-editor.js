// The attention mask that is drawn by hand: which keys each query may see.
import { Cells } from "./cells.js";
import { colourOf, isDark, onScheme } from "./colour.js";
import { h } from "./dom.js";

/** The longest sequences whose mask can be drawn. */
const MOST = 64;

export class MaskEditor {
  #shape = [0, 0];
  #mask = new Uint8Array();
  #value = 0;
  #change;
  #said = h("p", { className: "quiet", role: "status" });
  #note = h("p", { className: "quiet", id: "mask-note" });
  #clear = h("button", { type: "button", onclick: () => this.#reset() }, "Show all keys");
  #cells = new Cells({
    label: "Attention mask: rows are queries, columns are keys",
    describedBy: "mask-note",
    onPoint: (i, j) => this.#say(i, j),
    onPress: (i, j, first) => this.#press(i, j, first),
  });

  /** `change()` is called when the mask has been edited. */
  constructor(change) {
    this.#change = change;
    this.element = h("div", { className: "mask-editor" }, this.#note, this.#cells.element, this.#said, this.#clear);
    onScheme(() => this.#draw());
  }

  /** The mask `[T,S]`, 0 where a key is hidden; nothing where all are shown. */
  get mask() {
    return this.#mask.includes(0) ? this.#mask.slice() : undefined;
  }

  /** Makes it a mask for so many queries and keys; another size shows all keys again. */
  resize(queries, keys) {
    if (queries === this.#shape[0] && keys === this.#shape[1]) return;
    this.#shape = [queries, keys];
    const fits = queries <= MOST && keys <= MOST;
    this.#mask = new Uint8Array(fits ? queries * keys : 0).fill(1);
    this.#note.textContent = fits
      ? "Click or drag to hide keys from queries, or show them again; with the keyboard, arrow keys move and the space bar changes a cell."
      : `The mask can be drawn for up to ${MOST} queries and ${MOST} keys.`;
    for (const part of [this.#cells.element, this.#said, this.#clear]) part.hidden = !fits;
    if (fits) this.#cells.resize(queries, keys, 300, 16);
    this.#draw();
  }

  #reset() {
    this.#mask.fill(1);
    this.#draw();
    this.#change();
  }

  #press(i, j, first) {
    const index = i * this.#shape[1] + j;
    // A drag does to all cells what it did to the first.
    if (first) this.#value = 1 - this.#mask[index];
    if (this.#mask[index] === this.#value) return;
    this.#mask[index] = this.#value;
    this.#say(i, j);
    this.#draw();
    this.#change();
  }

  #say(i, j) {
    this.#said.textContent = `Query ${i}, key ${j}: ${this.#mask[i * this.#shape[1] + j] ? "shown" : "hidden"}`;
  }

  #draw() {
    if (this.#mask.length === 0) return;
    const dark = isDark();
    const context = this.#cells.paint((i) => colourOf(this.#mask[i] ? 0.12 : 0.85, dark));
    const { rows, columns, pitch } = this.#cells;
    if (pitch < 4) return;
    context.strokeStyle = `rgb(${colourOf(0, dark).join(" ")})`;
    context.beginPath();
    for (let j = 1; j < columns; j += 1) (context.moveTo(j * pitch + 0.5, 0), context.lineTo(j * pitch + 0.5, rows * pitch));
    for (let i = 1; i < rows; i += 1) (context.moveTo(0, i * pitch + 0.5), context.lineTo(columns * pitch, i * pitch + 0.5));
    context.stroke();
  }
}
