// The section that runs the benchmark suite and compares its results with those of other machines.
import { METRICS, chart, figure, series } from "./bars.js";
import { byId, download, h, takeFiles } from "./dom.js";
import { sentence } from "./errors.js";
import { labels, parse, rowOf, sideBySide, speedup } from "./results.js";

const GROUPS = {
  layer: "Whole layer",
  prefill: "Attention: every query sees every key",
  causal: "Attention with a causal mask",
  window: "Attention in a sliding window",
  mask: "Attention with a mask",
  decode: "One query after many keys",
  scaling: "Longer and longer sequences",
  linear: "Projections",
};

const many = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;

export class Measure {
  #only;
  #work;
  #adapter;
  #stop;
  /** The run of this page, while it is measured and afterwards, and its JSON. */
  #own;
  #text;
  /** Those of files. */
  #others = [];

  /** Where `only()` gives a text, the cases alone are measured whose id or group contains it. */
  constructor({ only }) {
    this.#only = only;
    byId("measure-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#run();
    });
    byId("measure-cancel").addEventListener("click", () => {
      this.#stop?.abort();
      this.#message("Cancelling …");
    });
    byId("measure-export").addEventListener("click", () => this.#export());
    byId("measure-metric").append(...Object.entries(METRICS).map(([value, { title }]) => h("option", { value }, title)));
    byId("measure-metric").addEventListener("change", () => this.#draw());
    takeFiles(byId("measure"), byId("measure-files"), (files) => this.#compare(files));
  }

  begin(work, adapter) {
    this.#work = work;
    this.#adapter = adapter;
    this.#buttons(false);
    if (adapter.isFallbackAdapter) this.#message("This adapter is a CPU that stands in for a graphics processor: the suite may take many minutes.");
  }

  end() {
    this.#work = undefined;
    this.#buttons(false);
    this.#message("");
  }

  async #run() {
    const work = this.#work;
    if (!work || this.#stop) return;
    this.#stop = new AbortController();
    const suite = new FormData(byId("measure-form")).get("suite");
    const { name } = this.#adapter;
    this.#text = undefined;
    this.#own = { adapter: { name, backend: "BrowserWebGpu", driver: "" }, host: "browser", suite, by: "", started: Date.now() / 1000, rows: [], running: true };
    byId("measure-progress").value = 0;
    this.#message("Waiting for other work on the graphics processor …");
    this.#status("");
    this.#buttons(true);
    this.#draw();
    const onNews = (news) => work === this.#work && this.#news(news);
    try {
      const text = await work.call("bench", { suite, only: this.#only() }, { signal: this.#stop.signal, onNews });
      if (work === this.#work) this.#finish(text);
    } catch (error) {
      this.#own.running = false;
      if (this.#own.rows.length === 0) this.#own = undefined;
      this.#status(error.code === "cancelled" ? "Cancelled before anything was measured." : sentence(error, "The measurement ended"));
    }
    this.#stop = undefined;
    this.#message("");
    this.#buttons(false);
    this.#draw();
  }

  #finish(text) {
    if (JSON.parse(text).rows.length === 0) throw Object.assign(new Error("nothing was measured"), { code: "cancelled" });
    this.#text = text;
    this.#own = parse(text);
    const { complete, rows, skipped } = this.#own;
    const left = skipped > 0 ? `, ${skipped} skipped` : "";
    this.#status(complete ? `Done: ${many(rows.length, "row")}${left}.` : `Cancelled; what was measured so far is kept: ${many(rows.length, "row")}.`);
    if (complete) byId("measure-progress").value = byId("measure-progress").max;
  }

  #news({ done, total, message, row }) {
    Object.assign(byId("measure-progress"), { max: total, value: done });
    if (!this.#stop?.signal.aborted) this.#message(message);
    if (!row) return;
    this.#own.rows.push(rowOf(row));
    this.#draw();
  }

  #buttons(running) {
    byId("measure-start").disabled = running || !this.#work;
    byId("measure-cancel").disabled = !running;
    byId("measure-export").disabled = running || !this.#text;
    for (const input of byId("measure-form").querySelectorAll("input")) input.disabled = running;
  }

  #message(text) {
    byId("measure-message").textContent = text;
  }

  #status(text) {
    byId("measure-status").textContent = text;
  }

  #export() {
    const name = this.#own.adapter.name.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "") || "unnamed";
    download(`gqa-bench-${name}.json`, this.#text, "application/json");
  }

  async #compare(files) {
    const problems = [];
    for (const file of files) {
      try {
        const text = await file.text();
        const results = parse(text);
        if (text === this.#text || this.#others.some((other) => other.text === text)) throw new Error("these results are shown already");
        this.#others.push({ ...results, text, file: file.name });
      } catch (error) {
        problems.push(sentence(error, file.name));
      }
    }
    byId("measure-problem").textContent = problems.join(" ");
    this.#draw();
  }

  #draw() {
    const runs = [this.#own, ...this.#others].filter(Boolean);
    const names = labels(runs);
    byId("measure-runs").replaceChildren(...runs.map((run, i) => this.#card(run, names[i], i, runs[0])));
    const groups = sideBySide(runs);
    byId("measure-results").hidden = groups.length === 0;
    const metric = byId("measure-metric").value;
    byId("measure-charts").replaceChildren(...groups.flatMap((group) => {
      const title = GROUPS[group.group] ?? group.group;
      const { svg, log } = chart({ ...group, group: title }, metric, names);
      const note = [METRICS[metric].unit, log ? "logarithmic axis" : ""].filter(Boolean).join(", ");
      return [h("h3", {}, title, h("span", { className: "quiet note" }, note)), svg];
    }));
    byId("measure-table").querySelector("div").replaceChildren(groups.length > 0 ? table(groups, metric, names) : "");
  }

  #card(run, name, i, base) {
    const details = [run.host === "browser" ? "in a browser" : "native", `${run.suite} suite`];
    if (run.timing) details.push(run.timing === "gpu_timestamps" ? "GPU timestamps" : "wall clock");
    if (run.gflops) details.push(`at most ${figure(run.gflops)} GFLOP/s and ${figure(run.gbytes)} GB/s`);
    if (run.running) details.push("being measured");
    else if (!run.complete) details.push("incomplete");
    if (i > 0 && base.rows.length > 0) {
      const { rows, mean } = speedup(run, base);
      // Checks and timers of browsers and of programs differ: no one number compares them.
      if (rows === 0) details.push("no row in common with 1");
      else if (run.host === base.host) details.push(`${figure(mean)} times as fast as 1 over ${many(rows, "shared row")}`);
    }
    const remove = () => {
      this.#others = this.#others.filter((other) => other !== run);
      this.#draw();
      byId("measure-files").focus();
    };
    return h("li", {},
      h("span", { className: `badge ${series(i)}`, "aria-hidden": "true" }, String(i + 1)),
      h("span", {}, h("strong", {}, name), h("span", { className: "quiet" }, ` ${details.join(", ")}`)),
      run === this.#own ? null : h("button", { type: "button", "aria-label": `Remove ${name}`, onclick: remove }, "Remove"));
  }
}

function table(groups, metric, names) {
  const { of, unit } = METRICS[metric];
  const head = h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Row"), names.map((name) => h("th", { scope: "col", className: "number" }, name, h("span", { className: "variant" }, unit)))));
  const line = ({ id, title, rows }) => h("tr", {},
    h("th", { scope: "row" }, title, h("code", { className: "id" }, id)),
    rows.map((row) => h("td", { className: "number" }, row ? figure(of(row)[0]) : "–", row ? h("span", { className: "variant" }, row.variant) : null)));
  return h("table", {}, head, groups.map(({ lines }) => h("tbody", {}, lines.map(line))));
}
