// Runs the layer of demo.keras on made-up numbers and says where, and what came out.
import * as gqa from "./gqa-web/index.js";

// For tests and the curious.
window.gqa = gqa;

const result = document.querySelector("#result");
try {
  const gpu = await gqa.Gpu.create();
  const model = await gqa.ModelFile.parse(await (await fetch("demo.keras")).arrayBuffer());
  const layer = await gqa.Layer.fromModel(gpu, model);
  const shape = [1, 16, layer.widths.query];
  const data = Float32Array.from({ length: 16 * layer.widths.query }, (_, i) => Math.sin(i));
  const { output, scores } = await layer.call(
    { query: { data, shape }, value: { data, shape } },
    { useCausalMask: true, returnAttentionScores: true },
  );
  const rows = await scores.toFloat32();
  const sums = Math.max(...Array.from({ length: rows.length / 16 }, (_, row) =>
    Math.abs(1 - rows.subarray(row * 16, row * 16 + 16).reduce((sum, p) => sum + p, 0))));
  result.textContent =
    `${layer.config.name} on ${gpu.adapter.name}: output of shape ${output.shape.join(" × ")}, ` +
    `and every query's probabilities add up to 1 within ${sums.toExponential(1)}.`;
  document.body.dataset.state = "done";
} catch (error) {
  result.textContent = error.message;
  document.body.dataset.state = error.code ?? "failed";
}
