// The section that runs the conformance set.
import { byId, facts, h } from "./dom.js";

const short = (x) => (x === 0 ? "0" : Number.isNaN(x) ? "NaN" : x.toExponential(1).replace("e+0", ""));
const bytes = (n) => (n >= 2 ** 30 ? `${+(n / 2 ** 30).toFixed(1)} GiB` : n >= 2 ** 20 ? `${Math.round(n / 2 ** 20)} MiB` : `${Math.round(n / 2 ** 10)} KiB`);

export class Check {
  #onFirst;
  #work;
  #adapter;
  #stop;
  #results = [];

  /** `onFirst()` is called when the first result of a run is on the page. */
  constructor({ onFirst }) {
    this.#onFirst = onFirst;
    byId("check-again").addEventListener("click", () => this.#run());
    byId("check-cancel").addEventListener("click", () => this.#stop?.abort());
    byId("check-copy").addEventListener("click", () => this.#copy());
  }

  begin(work, adapter) {
    this.#work = work;
    this.#adapter = adapter;
    byId("adapter").replaceChildren(adapterFacts(adapter));
    this.#run();
  }

  end() {
    this.#work = undefined;
    this.#buttons(false);
    byId("check-summary").textContent = "The check did not run to its end.";
  }

  async #run() {
    const work = this.#work;
    if (!work) return;
    this.#stop = new AbortController();
    this.#results = [];
    const table = byId("check-table");
    for (const body of [...table.tBodies]) body.remove();
    byId("check-text").hidden = true;
    byId("check-progress").value = 0;
    byId("check-summary").textContent = "Running …";
    this.#buttons(true);
    let ended = "";
    try {
      await work.call("check", undefined, { signal: this.#stop.signal, onNews: (result) => work === this.#work && this.#add(result) });
    } catch (error) {
      ended = error.code === "cancelled" ? "cancelled" : error.message;
    }
    if (work !== this.#work) return;
    byId("check-summary").textContent = this.#summary(ended);
    this.#buttons(false);
  }

  #buttons(running) {
    byId("check-again").disabled = running || !this.#work;
    byId("check-cancel").disabled = !running;
    byId("check-copy").disabled = running || this.#results.length === 0;
  }

  #add(result) {
    this.#results.push(result);
    const table = byId("check-table");
    let group = [...table.tBodies].find((body) => body.dataset.group === result.group);
    if (!group) {
      group = h("tbody", { data: { group: result.group } },
        h("tr", { className: "group" }, h("th", { scope: "rowgroup", colspan: 4 }, result.group)));
      table.append(group);
    }
    group.append(row(result));
    Object.assign(byId("check-progress"), { value: result.done, max: result.total });
    if (this.#results.length === 1) this.#onFirst();
  }

  #summary(ended) {
    const passed = this.#results.filter((result) => result.passed);
    const largest = passed.reduce((most, result) => ((result.error ?? 0) > (most?.error ?? 0) ? result : most), undefined);
    const total = this.#results.at(0)?.total ?? 0;
    const failed = this.#results.length - passed.length;
    const parts = [`${passed.length} of ${total} pass`];
    if (failed > 0) parts.push(`${failed} fail`);
    if (ended) parts.push(ended);
    else if (largest) parts.push(`largest error ${short(largest.error)} of ${short(largest.tolerance)} allowed (${largest.name})`);
    return `${parts.join(", ")}.`;
  }

  #text() {
    const { name, vendor, architecture } = this.#adapter;
    const line = ({ group, name: title, error, tolerance, milliseconds, passed, message }) =>
      [passed ? "pass" : "FAIL", group, title, error === undefined ? "-" : short(error), tolerance === undefined ? "-" : short(tolerance),
        milliseconds.toFixed(1), message ?? ""].join("\t").trimEnd();
    const head = [byId("check-summary").textContent, `${name} (${[vendor, architecture].filter(Boolean).join(", ")})`, navigator.userAgent];
    return [...head, "result\tgroup\tcase\terror\ttolerance\tms", ...this.#results.map(line)].join("\n") + "\n";
  }

  async #copy() {
    const text = this.#text();
    const button = byId("check-copy");
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy as text"), 2000);
    } catch {
      // Without the right to the clipboard the text is shown, to be copied by hand.
      const area = byId("check-text");
      Object.assign(area, { value: text, hidden: false });
      area.focus();
      area.select();
    }
  }
}

function row({ name, passed, error, tolerance, message, milliseconds }) {
  return h("tr", { className: passed ? "pass" : "fail" },
    h("th", { scope: "row" }, name, message ? h("span", { className: "message" }, message) : null),
    h("td", { className: "error" }, error === undefined ? "–" : measured(error, tolerance)),
    h("td", { className: "number" }, milliseconds < 10 ? milliseconds.toFixed(1) : Math.round(milliseconds)),
    h("td", { className: "verdict" }, passed ? "pass" : "fail"));
}

/** The error as a part of what is allowed. Where every bit counts (a tolerance of 0), any error is too much. */
function measured(error, tolerance) {
  const share = error === 0 ? 0 : error / tolerance;
  const width = share <= 1 ? 100 * share : 100;
  return [
    h("span", {}, `${short(error)} / ${tolerance === 0 ? "0 (exact)" : short(tolerance)}`),
    h("span", { className: "meter", "aria-hidden": true }, h("span", { style: { "inline-size": `${width}%` } })),
  ];
}

function adapterFacts(adapter) {
  const [least, most] = adapter.subgroupSizes;
  return h("details", { open: true }, h("summary", {}, adapter.name, adapter.isFallbackAdapter ? " (software)" : ""),
    facts([
      ["Vendor", adapter.vendor || "not told"],
      ["Architecture", adapter.architecture || "not told"],
      ["Kind", adapter.isFallbackAdapter ? "a CPU that stands in for a graphics processor: correct, but slow" : "graphics processor"],
      ["Features", adapter.features.join(", ") || "none beyond the core"],
      ["Largest binding", bytes(adapter.maxStorageBufferBindingSize)],
      ["Largest buffer", bytes(adapter.maxBufferSize)],
      ["Workgroup memory", bytes(adapter.maxComputeWorkgroupStorageSize)],
      ["Workgroup invocations", adapter.maxComputeInvocationsPerWorkgroup],
      ["Storage buffers per stage", adapter.maxStorageBuffersPerShaderStage],
      ["Subgroup lanes", most ? (least === most ? most : `${least} to ${most}`) : "not told"],
    ].map(([term, text]) => [term, String(text)])));
}
