// The package in Chromium: Keras' own numbers, masks, training, and what bad use is told.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { FIXTURES, inputsOf, launch, relativeError, tensors } from './support.mjs';

let browser;
before(async () => {
  browser = await launch();
  await browser.page.goto(browser.url);
  await browser.page.waitForSelector('body[data-state]');
  // The page's own check would take the processor from these tests.
  await browser.page.click('#check-cancel');
});
after(() => browser?.close());

test("gradients are Keras', on the limits that every WebGPU device has", async () => {
  const model = [...(await readFile(new URL('gradients/everything.keras', FIXTURES)))];
  const found = await tensors('gradients/everything.inputs.safetensors');
  const expected = await tensors('gradients/everything.expected.safetensors');
  const got = await browser.page.evaluate(async ({ model, inputs, outputGradient }) => {
    const { Gpu, Layer, ModelFile } = window.gqa;
    const gpu = await Gpu.create({ limits: 'default' });
    const layer = await Layer.fromModel(gpu, await ModelFile.parse(new Uint8Array(model)));
    const host = ({ data, shape, mask }) => ({ data: mask ? Uint8Array.from(data) : Float32Array.from(data), shape });
    const given = Object.fromEntries(Object.entries(inputs).map(([name, tensor]) => [name, host(tensor)]));
    const { weights, ...of } = await layer.gradients(given, host(outputGradient), { useCausalMask: true });
    const all = {};
    for (const [name, tensor] of Object.entries({ ...weights, ...of })) all[`grad/${name}`] = [...(await tensor.toFloat32())];
    gpu.dispose();
    return all;
  }, { model, inputs: inputsOf(found), outputGradient: found.output_gradient });
  delete expected.regularization_loss;
  assert.deepEqual(Object.keys(got).sort(), Object.keys(expected).sort());
  for (const [name, { data }] of Object.entries(expected)) {
    // A key's bias moves all scores of a query alike: its gradient is rounding.
    if (name === 'grad/key/bias') continue;
    const error = relativeError(got[name], data);
    assert.ok(error <= 1e-4, `${name}: ${error}`);
  }
});

const TOLERANCE = { float32: 1e-5, mixed_float16: 4e-3, float16: 4e-3, mixed_bfloat16: 2e-2, bfloat16: 2e-2 };

test("every case that Keras computed gives Keras' numbers", async () => {
  const rows = JSON.parse(await readFile(new URL('cases.json', FIXTURES)));
  assert.ok(rows.length > 50);
  for (const row of rows) {
    const read = async (name) => [...(await readFile(new URL(name, FIXTURES)))];
    const config = row.weights ? (await readFile(new URL(row.model, FIXTURES))).toString() : undefined;
    const bytes = await read(row.weights ?? row.model);
    const inputs = inputsOf(await tensors(`${row.name}.inputs.safetensors`));
    const expected = await tensors(`${row.name}.expected.safetensors`);
    const got = await browser.page.evaluate(async ({ bytes, config, layerName, inputs, causal, withScores }) => {
      const { Gpu, Layer, ModelFile } = window.gqa;
      window.testGpu ??= await Gpu.create();
      const layer = await Layer.fromModel(window.testGpu, await ModelFile.parse(new Uint8Array(bytes), config), layerName);
      const host = ({ data, shape, mask, dtype }) =>
        ({ data: mask ? Uint8Array.from(data) : dtype ? Uint16Array.from(data) : Float32Array.from(data), shape, ...(dtype && { dtype }) });
      const given = Object.fromEntries(Object.entries(inputs).map(([name, tensor]) => [name, host(tensor)]));
      const options = { useCausalMask: causal, returnAttentionScores: withScores };
      const { output, scores } = await layer.call(given, options);
      const numbers = { output: [...(await output.toFloat32())], scores: scores && [...(await scores.toFloat32())] };
      for (const held of [output, scores, layer]) held?.dispose();
      return numbers;
    }, { bytes, config, layerName: row.layer, inputs, causal: row.causal, withScores: row.scores });
    const compared = [['output', got.output, expected.attention_output], ['scores', got.scores, expected.attention_scores]];
    for (const [what, numbers, wanted] of compared) {
      if (!wanted) continue;
      const error = relativeError(numbers, wanted.data);
      assert.ok(error <= TOLERANCE[row.dtype], `${row.name}: ${what} is off by ${error}`);
    }
  }
});

test('conformance cases tell what they found, and the set can be cancelled', async () => {
  const { told, cut } = await browser.page.evaluate(async () => {
    const { Gpu, check } = window.gqa;
    const gpu = await Gpu.create({ limits: 'default' });
    const told = [];
    const stop = new AbortController();
    const onResult = (result) => {
      told.push(result);
      if (result.done === 2) stop.abort();
    };
    const cut = await check(gpu, { signal: stop.signal, onResult }).catch(({ code, message }) => [code, message]);
    gpu.dispose();
    return { told, cut };
  });
  assert.equal(told.length, 2);
  for (const [index, { group, name, passed, error, tolerance, message, milliseconds, done, total }] of told.entries()) {
    assert.ok(passed && error <= tolerance && milliseconds > 0, `${group}: ${name}: ${message ?? error}`);
    assert.ok(done === index + 1 && total > 30);
  }
  assert.equal(cut[0], 'cancelled', cut[1]);
});

test('training lowers the loss, and 200 calls leave the bytes where they were', async () => {
  const { losses, before, after } = await browser.page.evaluate(async () => {
    const { Gpu, Layer, Optimizer, Tensor } = window.gqa;
    const gpu = await Gpu.create();
    const layer = await Layer.create(gpu, { head_dim: 8, num_query_heads: 4, num_key_value_heads: 2 }, 16, 7);
    if (layer.config.num_query_heads !== 4) throw new Error(JSON.stringify(layer.config));
    const x = await Tensor.from(gpu, { data: Float32Array.from({ length: 160 }, (_, i) => Math.sin(i)), shape: [1, 10, 16] });
    const target = await Tensor.from(gpu, { data: new Float32Array(160).fill(0.3), shape: [1, 10, 16] });
    const optimizer = await Optimizer.create('adam', { learningRate: 0.01 });
    const losses = [];
    for (let i = 0; i < 5; i += 1) losses.push(await layer.trainStep({ query: x, value: x }, target, optimizer));
    const bytes = () => gpu.usage.tensorBytes + gpu.usage.workspaceBytes;
    const call = async () => (await layer.call({ query: x, value: x })).output.dispose();
    await call();
    const before = bytes();
    for (let i = 0; i < 200; i += 1) await call();
    const after = bytes();
    gpu.dispose();
    return { losses, before, after };
  });
  assert.ok(losses.every((loss, i) => i === 0 || loss < losses[i - 1]), String(losses));
  assert.equal(after, before);
});

test('what is disposed leaves the GPU at once, and not when garbage is collected', async () => {
  const { early, late } = await browser.page.evaluate(async () => {
    const { Gpu, Layer } = window.gqa;
    const gpu = await Gpu.create();
    const alive = new Map();
    const create = gpu.device.createBuffer.bind(gpu.device);
    gpu.device.createBuffer = (descriptor) => {
      const buffer = create(descriptor);
      const destroy = buffer.destroy.bind(buffer);
      buffer.destroy = () => { alive.delete(buffer); destroy(); };
      alive.set(buffer, descriptor.size);
      return buffer;
    };
    const x = { data: Float32Array.from({ length: 160 }, (_, i) => Math.sin(i)), shape: [1, 10, 16] };
    const queryMask = { data: new Uint8Array(10).fill(1), shape: [1, 10] };
    const round = async () => {
      const layer = await Layer.create(gpu, { head_dim: 8, num_query_heads: 4, num_key_value_heads: 2 }, 16, 7);
      const { output } = await layer.call({ query: x, value: x, queryMask });
      await output.data();
      output.dispose();
      layer.dispose();
    };
    const bytes = () => [...alive.values()].reduce((sum, size) => sum + size, 0);
    for (let i = 0; i < 3; i += 1) await round();
    const early = bytes();
    for (let i = 0; i < 20; i += 1) await round();
    const late = bytes();
    gpu.dispose();
    return { early, late };
  });
  assert.ok(early > 0);
  assert.equal(late, early);
});

test("the page's own device is used, and stays the page's", async () => {
  const { same, alive } = await browser.page.evaluate(async () => {
    const adapter = await navigator.gpu.requestAdapter();
    const device = await adapter.requestDevice();
    const gpu = await window.gqa.Gpu.create({ adapter, device });
    const same = gpu.device === device;
    gpu.dispose();
    const lost = await Promise.race([device.lost, new Promise((done) => setTimeout(done, 100, 'alive'))]);
    return { same, alive: lost === 'alive' };
  });
  assert.deepEqual({ same, alive }, { same: true, alive: true });
});

test('bad use is refused with its code', async () => {
  const codes = await browser.page.evaluate(async () => {
    const { Gpu, GqaError, Layer, ModelFile, Tensor } = window.gqa;
    const code = (work) => work().then(() => 'nothing', (error) => (error instanceof GqaError ? error.code : `not a GqaError: ${error}`));
    const gpu = await Gpu.create();
    const layer = await Layer.create(gpu, { head_dim: 4, num_query_heads: 2, num_key_value_heads: 1 }, 8);
    const x = { data: new Float32Array(16), shape: [1, 2, 8] };
    const gone = await Tensor.from(gpu, x);
    gone.dispose();
    const codes = {
      shape: await code(() => layer.call({ query: { ...x, shape: [1, 2, 9] }, value: x })),
      typo: await code(() => layer.call({ query: x, value: x }, { useCasualMask: true })),
      heads: await code(() => Layer.create(gpu, { head_dim: 4, num_query_heads: 3, num_key_value_heads: 2 }, 8)),
      file: await code(() => ModelFile.parse(new Uint8Array([1, 2, 3]))),
      disposed: await code(() => layer.call({ query: gone, value: x })),
    };
    gpu.device.destroy();
    await gpu.lost;
    codes.lost = await code(() => layer.call({ query: x, value: x }));
    return codes;
  });
  assert.deepEqual(codes, { shape: 'argument', typo: 'argument', heads: 'argument', file: 'file', disposed: 'disposed', lost: 'device-lost' });
});

test('the benchmark gives the JSON of gqa bench, also when it is cancelled', async () => {
  const { whole, cut } = await browser.page.evaluate(async () => {
    const { Gpu, bench } = window.gqa;
    const gpu = await Gpu.create();
    const whole = JSON.parse(await bench(gpu, { only: 'linear/L2-key', repetitions: 1 }));
    const stop = new AbortController();
    const onProgress = ({ row }) => row && stop.abort();
    const cut = JSON.parse(await bench(gpu, { only: 'linear/L2', repetitions: 1, signal: stop.signal, onProgress }));
    gpu.dispose();
    return { whole, cut };
  });
  assert.equal(whole.gqa_bench, 1);
  assert.equal(whole.host, 'browser');
  assert.equal(whole.complete, true);
  assert.notEqual(whole.adapter.name, '');
  assert.ok(whole.rows[0].time.median > 0);
  assert.equal(cut.complete, false);
});

test('nothing was reported on the console', () => assert.deepEqual(browser.errors, []));
