// gqa-web as a contender: everything on the GPU, as a page would call it.
import { Gpu, Tensor, scaledDotProductAttention } from "/gqa-web/index.js";

/** A device with tuning off, as it is by default, or on. */
export async function open({ tuning }) {
  const gpu = await Gpu.create({ tuning });
  return {
    adapter: gpu.adapter,
    device: gpu.device,
    choices: () => gpu.choices,
    close: () => gpu.dispose(),
    prepare: (row, inputs) => prepare(gpu, row, inputs),
  };
}

async function prepare(gpu, { T, S, H, Hkv, D, causal }, { q, k, v }) {
  const query = await Tensor.from(gpu, { data: q, shape: [1, T, H, D] });
  const key = await Tensor.from(gpu, { data: k, shape: [1, S, Hkv, D] });
  const value = await Tensor.from(gpu, { data: v, shape: [1, S, Hkv, D] });
  const call = () => scaledDotProductAttention(gpu, { query, key, value }, { useCausalMask: causal });
  return {
    async run() {
      const { output, lse } = await call();
      output.dispose();
      lse.dispose();
      await gpu.device.queue.onSubmittedWorkDone();
    },
    async result() {
      const { output, lse } = await call();
      const out = await output.data(); // [T,H,D]
      output.dispose();
      lse.dispose();
      return out;
    },
    close: () => [query, key, value].forEach((tensor) => tensor.dispose()),
  };
}
