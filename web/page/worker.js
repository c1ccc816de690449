// All work on the GPU and on files, away from the page's own thread.
import * as gqa from "./gqa-web/index.js";
import { Attention } from "./attention.js";
import { serve } from "./rpc.js";
import { Turns } from "./turns.js";

// Loads while the page is still on its way to asking for it; where it fails, opening the GPU tells why.
gqa.default().catch(() => {});

let gpu;
let attention;
const turns = new Turns();

function opened() {
  if (gpu) return gpu;
  throw new gqa.GqaError("device", "the GPU is not open");
}

const methods = {
  /** Opens the GPU and returns the adapter's facts. */
  async open() {
    gpu = await gqa.Gpu.create();
    attention = new Attention(gpu);
    gpu.lost.then(({ code, message }) => announce("lost", { code, message }));
    return gpu.adapter;
  },

  check: (_, { signal, tell }) => turns.shared(() => gqa.check(opened(), { signal, onResult: tell })),

  loadModel: ({ bytes }) => attention.load(bytes),
  loadInputs: ({ bytes }) => attention.loadInputs(bytes),
  compute: (request) => turns.shared(() => attention.compute(request)),

  bench({ suite, only }, { signal, tell }) {
    return turns.alone(() => gqa.bench(opened(), { suite, ...(only && { only }), signal, onProgress: tell }), signal);
  },

  /** Loses the device, as a driver that crashes does. */
  loseDevice: () => opened().device.destroy(),
};

const announce = serve(methods);
