// Starts the page: a worker with the GPU, and the sections that use it.
import { Check } from "./check.js";
import { byId } from "./dom.js";
import { isFatal, notice } from "./errors.js";
import { Measure } from "./measure.js";
import { Caller } from "./rpc.js";
import { See } from "./see.js";
import { connectTabs } from "./tabs.js";

const query = new URLSearchParams(location.search);
const state = (text) => {
  document.body.dataset.state = text;
};

const sections = {
  check: new Check({
    onFirst() {
      document.body.dataset.firstResult ??= Math.round(performance.now());
      state("ready");
    },
  }),
  see: new See(),
  // `?only=` measures the cases alone whose id or group contains it.
  measure: new Measure({ only: () => new URLSearchParams(location.search).get("only") ?? undefined }),
};

let caller;

/** Opens a GPU in a new worker, and gives it to the sections. */
async function start() {
  byId("notices").replaceChildren();
  if (document.body.dataset.state) state("loading");
  const own = new Caller(new Worker(new URL("worker.js", import.meta.url), { type: "module" }), {
    onEvent: (event, error) => event === "lost" && own === caller && fail(error),
    onFailure: (error) => own === caller && fail(error),
  });
  caller = own;
  const work = {
    /** Calls the worker; errors that end everything are told on top of the page too. */
    async call(...args) {
      try {
        return await own.call(...args);
      } catch (error) {
        if (isFatal(error) && own === caller) fail(error);
        throw error;
      }
    },
  };
  try {
    const adapter = await work.call("open");
    for (const section of Object.values(sections)) section.begin(work, adapter);
  } catch (error) {
    // Already told if it is fatal.
    if (!isFatal(error)) fail(error);
  }
}

function fail(error) {
  caller.end(error);
  for (const section of Object.values(sections)) section.end(error);
  byId("notices").replaceChildren(notice(error, start));
  state(error.code ?? "internal");
}

connectTabs(byId("tabs"), (id) => sections[id]?.shown?.());
// A browser would leave the page to show a file that is dropped on it.
for (const event of ["dragover", "drop"]) addEventListener(event, (dropped) => dropped.preventDefault());
// What nobody foresaw is told too, instead of leaving a page that seems to wait.
addEventListener("unhandledrejection", (event) => caller && fail(event.reason ?? new Error("of unknown reason")));
const started = start();

if (query.has("test")) window.gqaPage = { sections, loseDevice: () => caller.call("loseDevice") };
// For the curious: the package in the page itself.
window.gqa = await import("./gqa-web/index.js");
document.body.dataset.state ??= "loading";
await started;
