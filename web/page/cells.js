// A canvas of cells, a row for each query and a column for each key, that can be pointed at and walked through.
import { h } from "./dom.js";

const MOVES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

export class Cells {
  rows = 0;
  columns = 0;
  /** Pixels of the canvas along a cell. */
  pitch = 1;
  #at = [0, 0];
  #size = 1;

  /**
   * `onPoint(row, column)` hears which cell is pointed at, by mouse, finger or arrow keys; `onPress(row, column, first)` which
   * is pressed, or dragged over (then `first` is false), where cells can be pressed.
   */
  constructor({ label, describedBy, onPoint, onPress }) {
    this.onPoint = onPoint;
    this.onPress = onPress;
    this.canvas = h("canvas", { tabindex: 0, role: "application", "aria-label": label, "aria-describedby": describedBy });
    this.cursor = h("span", { className: "cursor", hidden: true });
    this.element = h("div", { className: onPress ? "cells editable" : "cells" }, this.canvas, this.cursor);
    this.#listen();
  }

  /** Makes the canvas fit so many cells, of about `width` CSS pixels in all and `most` each. */
  resize(rows, columns, width, most) {
    Object.assign(this, { rows, columns });
    this.#size = Math.max(1, Math.min(most, Math.floor(width / columns)));
    this.pitch = Math.max(1, Math.round(this.#size * (globalThis.devicePixelRatio || 1)));
    Object.assign(this.canvas, { width: columns * this.pitch, height: rows * this.pitch });
    this.element.style.inlineSize = `${columns * this.#size}px`;
    this.#at = [Math.min(this.#at[0], rows - 1), Math.min(this.#at[1], columns - 1)];
    this.cursor.hidden = true;
  }

  /** Draws each cell in the colour `[r,g,b]` that `colour(index)` gives for it; cells are counted by rows. */
  paint(colour) {
    const { rows, columns, pitch } = this;
    const image = new ImageData(columns, rows);
    for (let i = 0; i < rows * columns; i += 1) {
      image.data.set(colour(i), 4 * i);
      image.data[4 * i + 3] = 255;
    }
    const small = h("canvas", { width: columns, height: rows });
    small.getContext("2d").putImageData(image, 0, 0);
    const context = this.canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(small, 0, 0, columns * pitch, rows * pitch);
    return context;
  }

  #listen() {
    const { canvas } = this;
    let pressing = false;
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      pressing = Boolean(this.onPress);
      if (pressing) canvas.setPointerCapture(event.pointerId);
      this.#move(...this.#cellAt(event));
      if (pressing) this.onPress(...this.#at, true);
    });
    canvas.addEventListener("pointermove", (event) => {
      const cell = this.#cellAt(event);
      if (cell.join() === this.#at.join() && !this.cursor.hidden) return;
      this.#move(...cell);
      if (pressing) this.onPress(...cell, false);
    });
    for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) canvas.addEventListener(end, () => (pressing = false));
    canvas.addEventListener("pointerleave", () => document.activeElement === canvas || (this.cursor.hidden = true));
    canvas.addEventListener("blur", () => (this.cursor.hidden = true));
    canvas.addEventListener("focus", () => this.rows > 0 && this.#move(...this.#at));
    canvas.addEventListener("keydown", (event) => this.#key(event));
  }

  #key(event) {
    const [row, column] = this.#at;
    const move = MOVES[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (move) this.#move(row + move[0], column + move[1]);
    else if (event.key === "Home") this.#move(row, 0);
    else if (event.key === "End") this.#move(row, this.columns - 1);
    else if (this.onPress && (event.key === " " || event.key === "Enter")) this.onPress(row, column, true);
    else return;
    event.preventDefault();
  }

  #cellAt({ clientX, clientY }) {
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    return [Math.floor(((clientY - top) / height) * this.rows), Math.floor(((clientX - left) / width) * this.columns)];
  }

  #move(row, column) {
    const at = (n, count) => Math.min(count - 1, Math.max(0, n));
    this.#at = [at(row, this.rows), at(column, this.columns)];
    const part = (n, count) => `${(100 * n) / count}%`;
    Object.assign(this.cursor.style, {
      top: part(this.#at[0], this.rows),
      left: part(this.#at[1], this.columns),
      width: part(1, this.columns),
      height: part(1, this.rows),
    });
    this.cursor.hidden = false;
    this.onPoint?.(...this.#at);
  }
}
