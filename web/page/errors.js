// What an error means for the person in front of the page, and what they can do.
import { h } from "./dom.js";

const BROWSERS = [
  "Chrome or Edge 113 and later, on Windows, macOS, ChromeOS and recent Android.",
  "Safari 26 and later.",
  "Firefox 141 and later on Windows, 145 and later on macOS with Apple silicon.",
];

const EXPLAINED = {
  "no-webgpu": {
    title: "This browser has no WebGPU",
    text: "Everything on this page runs on the graphics processor through WebGPU, and this browser does not offer it here.",
    steps: [
      "Browsers offer WebGPU only to pages on https or on localhost. See that the address begins with one of them.",
      ...BROWSERS,
      "On Linux, Chrome may need to be started with --enable-unsafe-webgpu, or with the flag “Unsafe WebGPU Support” of chrome://flags.",
    ],
  },
  "no-adapter": {
    title: "No graphics processor was found",
    text: "The browser has WebGPU, but found no adapter that it may use.",
    steps: [
      "Turn on hardware acceleration in the browser's settings (“Use graphics acceleration when available”), and restart it.",
      "Update the graphics driver: browsers refuse drivers with known faults. chrome://gpu says why.",
      "On Linux, start Chrome with --enable-unsafe-webgpu, and with --enable-features=Vulkan if that is not enough.",
      "Without a graphics processor, Chrome can use a CPU: start it with --enable-unsafe-webgpu --use-webgpu-adapter=swiftshader",
    ],
  },
  device: {
    title: "The graphics processor can't be used",
    text: "An adapter was found, but it gave no device with what is needed.",
    steps: ["Close other pages that use much graphics memory, and start again.", "Update the browser and the graphics driver."],
    restart: true,
  },
  "device-lost": {
    title: "The connection to the graphics processor was lost",
    text: "This happens when a driver restarts, when a machine wakes up, or when work takes too long. What was on it is gone.",
    restart: true,
  },
  "out-of-memory": {
    title: "The graphics processor is out of memory",
    text: "Take shorter sequences or a smaller layer, or close other pages that use graphics memory.",
    restart: true,
  },
  internal: {
    title: "Something went wrong in this page",
    text: "This is a defect of the page or of the library. Load the page again.",
    restart: true,
  },
};

/** Whether an error ends all work on this GPU, so that it belongs on top of the page and not beside a control. */
export const isFatal = ({ code }) => ["no-webgpu", "no-adapter", "device", "device-lost", "internal"].includes(code);

/** The text with flags and addresses of the browser's own pages as code. */
const withCode = (text) => text.split(/(--[\w=-]+|chrome:\/\/\w+)/).map((part, i) => (i % 2 ? h("code", {}, part) : part));

/** A notice for an error, with what to do. `onRestart` is called by its button, if starting again can help. */
export function notice(error, onRestart) {
  const { title, text, steps = [], restart } = EXPLAINED[error.code] ?? { title: "That did not work", text: "", restart: true };
  const button = restart && onRestart ? h("button", { type: "button", className: "primary", onclick: onRestart }, "Start again") : null;
  return h("section", { className: "notice", data: { code: error.code ?? "internal" }, "aria-label": title },
    h("h2", {}, title),
    text && h("p", {}, text),
    steps.length > 0 ? h("ul", {}, steps.map((step) => h("li", {}, withCode(step)))) : null,
    h("p", { className: "detail" }, `The library says: ${error.message}`),
    button);
}

/** One sentence for an error beside a control; `what` is the file or the work that failed. */
export function sentence(error, what) {
  const reason = error?.message ?? String(error);
  const hint = error?.code === "out-of-memory" || error?.code === "too-large" ? " Take shorter sequences or a smaller layer." : "";
  return `${what ? `${what}: ` : ""}${reason}.${hint}`.replace(/\.\.+/g, ".");
}
