// Attention scores as heat maps: a map for each query head, together by the key/value head that they share.
import { Cells } from "./cells.js";
import { colourOf, gradient, isDark } from "./colour.js";
import { h } from "./dom.js";

/** The CSS pixels along a map and along a cell, at most; narrow pages have two maps beside each other. */
const MAP = 188;
const CELL = 20;
const GAPS = 36;
/** The least pixels of a cell that has room for a mark. */
const MARKED = 4;

export const figure = (x) => (x === 0 || x >= 0.001 ? String(+x.toPrecision(3)) : x.toExponential(1));

export class Maps {
  element = h("div", { className: "maps" });
  legend = h("div", { className: "legend" });
  #readout;
  #maps = [];
  #shown;

  /** `readout` is the element that says which score is pointed at. */
  constructor(readout) {
    this.#readout = readout;
  }

  /**
   * Shows the scores of one batch entry. `result` has `scores`, `scoresShape` `[B,H,T,S]` and, if anything was dropped,
   * `keeps`; `keyHeads` is Hkv; the scale ends at the largest score, or at 1 if `whole`.
   */
  show(result, { batch, keyHeads, whole }) {
    const [, heads, queries, keys] = result.scoresShape;
    if (this.#maps.length !== heads || this.keyHeads !== keyHeads) this.#build(heads, keyHeads);
    const size = heads * queries * keys;
    const scores = result.scores.subarray(batch * size, (batch + 1) * size);
    const keeps = result.keeps?.subarray(batch * size, (batch + 1) * size);
    let largest = 0;
    for (const score of scores) largest = Math.max(largest, score);
    this.#shown = { scores, keeps, queries, keys, end: whole ? 1 : largest || 1 };
    const half = Math.floor((this.element.clientWidth - GAPS) / 2);
    this.#maps.forEach((cells) => cells.resize(queries, keys, half > 100 ? Math.min(MAP, half) : MAP, CELL));
    this.draw();
  }

  /** Draws what is shown, in the colours of the page's scheme. */
  draw() {
    if (!this.#shown) return;
    const { scores, keeps, queries, keys, end } = this.#shown;
    const dark = isDark();
    this.#maps.forEach((cells, head) => {
      const first = head * queries * keys;
      const context = cells.paint((i) => colourOf(scores[first + i] / end, dark));
      if (keeps && cells.pitch >= MARKED) markDropped(context, cells, (i) => scores[first + i] > 0 && !keeps[first + i]);
    });
    this.legend.replaceChildren(...[
      h("span", {}, "0"),
      h("span", { className: "scale", role: "img", "aria-label": `Colours of scores from 0 to ${figure(end)}`, style: { background: gradient(dark) } }),
      h("span", {}, figure(end)),
      keeps ? h("span", { className: "key" }, h("span", { className: "dropped", "aria-hidden": "true" }), "dropped") : "",
    ]);
    this.legend.dataset.end = end;
  }

  clear() {
    this.#shown = undefined;
    this.#maps = [];
    this.element.replaceChildren();
    this.legend.replaceChildren();
  }

  #build(heads, keyHeads) {
    this.keyHeads = keyHeads;
    this.#maps = Array.from({ length: heads }, (_, head) => new Cells({
      label: `Attention scores of query head ${head}. Rows are queries, columns are keys; arrow keys read out cells.`,
      onPoint: (i, j) => this.#say(head, i, j),
    }));
    const shared = heads / keyHeads;
    const group = (n) => h("section", { className: "group", "aria-label": `Key/value head ${n}` },
      h("h4", {}, `Key/value head ${n}`),
      h("div", { className: "heads" }, this.#maps.slice(n * shared, (n + 1) * shared).map(({ element }, i) =>
        h("figure", {}, h("figcaption", {}, `Query head ${n * shared + i}`), element))));
    this.element.replaceChildren(...Array.from({ length: keyHeads }, (_, n) => group(n)));
  }

  #say(head, i, j) {
    const { scores, keeps, queries, keys } = this.#shown ?? {};
    if (!scores) return;
    const index = (head * queries + i) * keys + j;
    const dropped = keeps && !keeps[index] ? " (dropped)" : "";
    this.#readout.textContent = `Query head ${head}: query ${i} attends to key ${j}: ${figure(scores[index])}${dropped}`;
  }
}

/** A corner of each cell that is dropped; the rest of it still shows its score. Where there is none, nothing is lost. */
function markDropped(context, { rows, columns, pitch }, isDropped) {
  context.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--bad");
  const side = Math.max(2, Math.round(pitch * 0.4));
  context.beginPath();
  for (let i = 0; i < rows * columns; i += 1) {
    if (!isDropped(i)) continue;
    const [x, y] = [(i % columns + 1) * pitch, Math.floor(i / columns) * pitch];
    context.moveTo(x - side, y);
    context.lineTo(x, y);
    context.lineTo(x, y + side);
    context.closePath();
  }
  context.fill();
}
