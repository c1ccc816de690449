// Every shader of the library through Chromium's compiler (Tint), on a device that has what every WebGPU device has.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { deviceTests, launch } from './support.mjs';

let browser;
before(async () => {
  browser = await launch({ folder: deviceTests });
  await browser.page.goto(browser.url);
  await browser.page.waitForFunction('window.load');
  await browser.page.evaluate(async () => {
    await window.load('gqa');
    const adapter = await navigator.gpu.requestAdapter();
    const device = await adapter.requestDevice();

    /** Everything that the browser says against a shader. */
    window.complaints = async ({ name, code, entryPoint, bindings, compiled }) => {
      device.pushErrorScope('validation');
      const module = device.createShaderModule({ code });
      const entries = bindings.map((type, binding) => ({ binding, visibility: GPUShaderStage.COMPUTE, buffer: { type } }));
      const layout = device.createPipelineLayout({ bindGroupLayouts: [device.createBindGroupLayout({ entries })] });
      const scope = device.popErrorScope();
      const { messages } = await module.getCompilationInfo();
      const found = messages.map(({ type, lineNum, message }) => `${type} in line ${lineNum}: ${message}`);
      const pipeline = { layout, compute: { module, entryPoint } };
      if (compiled) await device.createComputePipelineAsync(pipeline).catch((error) => found.push(String(error)));
      const invalid = await scope;
      if (invalid) found.push(invalid.message);
      return found.map((message) => `${name}: ${message}`);
    };
  });
});
after(() => browser?.close());

test('no variant of a kernel gets an error or a warning', async (context) => {
  const { counts, found } = await browser.page.evaluate(async () => {
    const shaders = JSON.parse(window.glue.shaders());
    const found = [];
    const waiting = [...shaders];
    // As many at a time as keep the browser busy.
    const work = async () => {
      for (let shader; (shader = waiting.pop());) found.push(...await window.complaints(shader));
    };
    await Promise.all(Array.from({ length: 8 }, work));
    const compiled = shaders.filter(({ compiled }) => compiled).length;
    const kernels = new Set(shaders.map(({ name }) => name.split(' ')[0])).size;
    const enabling = shaders.filter(({ code }) => /^\s*(enable|requires)\b/m.test(code)).length;
    return { counts: { kernels, shaders: shaders.length, compiled, enabling }, found };
  });
  context.diagnostic(`${counts.shaders} shaders of ${counts.kernels} kernels, ${counts.compiled} of them to the end`);
  assert.deepEqual(found, []);
  assert.ok(counts.kernels >= 26 && counts.shaders > 1000 && counts.compiled > 50, JSON.stringify(counts));
  // What needs a feature of the device would have to be left out where there is none.
  assert.equal(counts.enabling, 0);
});

const PLANTED = {
  'a barrier where not all come': [/uniform/, `
    var<workgroup> shared_sum: array<f32, 8>;
    @compute @workgroup_size(8) fn main(@builtin(local_invocation_index) lane: u32) {
      if (lane < 4u) { shared_sum[lane] = 1.0; workgroupBarrier(); }
      data[lane] = shared_sum[7u - lane];
    }`],
  'more workgroup memory than there is': [/16384|workgroup storage/, `
    var<workgroup> shared_sum: array<f32, 4097>;
    @compute @workgroup_size(8) fn main(@builtin(local_invocation_index) lane: u32) {
      shared_sum[lane * 500u] = 1.0;
      workgroupBarrier();
      data[lane] = shared_sum[3500u - lane];
    }`],
  'code that ends nowhere': [/warning.*unreachable/, `
    @compute @workgroup_size(8) fn main(@builtin(local_invocation_index) lane: u32) {
      data[lane] = 1.0;
      return;
      data[lane] = 2.0;
    }`],
};

for (const [name, [complaint, code]] of Object.entries(PLANTED)) {
  test(`refused: ${name}`, async () => {
    const source = `@group(0) @binding(0) var<storage, read_write> data: array<f32>;${code}`;
    const shader = { name, code: source, entryPoint: 'main', bindings: ['storage'], compiled: true };
    const found = await browser.page.evaluate((shader) => window.complaints(shader), shader);
    assert.match(found.join('\n'), complaint);
  });
}
