// The tests of kernels, training terms and layers in Chromium, from the source that runs natively.
import assert from 'node:assert/strict';
import { readFile, readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { deviceTests, launch } from './support.mjs';

/** Where the tests of each module are. */
const MODULES = {
  gqa: ['src/kernels/tests', 'src/training/tests'],
  layer: ['tests/layer.rs'],
  gradients: ['tests/gradients.rs'],
};

/** Natively alone: what reads files or needs naga's writers or cooperative matrices. */
const NATIVE = ['declaration', 'dump', 'matrix', 'keras'];

/** Tests that must fail, and what the harness must hear of it. */
const PLANTED = {
  'planted::a_result_that_is_wrong': /planted: element 1 is 2, expected 2\.5: error/,
  'planted::an_index_past_the_end': /index out of bounds: the len is 3 but the index is 3/,
  'planted::a_future_that_never_ends': /did not end in 1 s/,
};

/** Seconds that a test may take. */
const PATIENCE = 300;

const root = new URL('../../', import.meta.url).pathname;

/** The tests of a file or folder, by name. */
async function written(path) {
  const names = path.endsWith('.rs') ? [path] : (await readdir(join(root, path))).map((file) => join(path, file));
  const files = names.filter((file) => !NATIVE.includes(basename(file, '.rs')));
  const tests = await Promise.all(files.map(async (file) => {
    const text = await readFile(join(root, file), 'utf8');
    return [...text.matchAll(/#\[test\]\s+fn (\w+)/g)].map(([, name]) => `${basename(file, '.rs')}::${name}`);
  }));
  return tests.flat();
}

/** Does the work on a page that has what every WebGPU device has, and no more. */
async function onPage(work) {
  const browser = await launch({ folder: deviceTests });
  const reload = async () => {
    await browser.page.goto(browser.url);
    await browser.page.waitForFunction('window.load');
  };
  try {
    await reload();
    await work(browser.page, reload);
    assert.deepEqual(browser.errors, []);
  } finally {
    await browser.close();
  }
}

test('a device has what every WebGPU device has, and no more', () => onPage(async (page) => {
  const limits = await page.evaluate(async () => {
    const adapter = await navigator.gpu.requestAdapter();
    const device = await adapter.requestDevice({ requiredLimits: { maxStorageBuffersPerShaderStage: adapter.limits.maxStorageBuffersPerShaderStage } });
    return ['maxStorageBuffersPerShaderStage', 'maxComputeWorkgroupStorageSize', 'maxStorageBufferBindingSize'].map((name) => device.limits[name]);
  });
  assert.deepEqual(limits, [8, 16 << 10, 128 << 20]);
}));

async function run(context, module, sources) {
  await onPage(async (page, reload) => {
    const load = () => page.evaluate((module) => window.load(module), module);
    const tests = await load();
    assert.deepEqual([...tests].sort(), (await Promise.all(sources.map(written))).flat().sort());
    for (const name of tests) {
      await context.test(name, async () => {
        const seconds = name in PLANTED ? 1 : PATIENCE;
        const failure = await page.evaluate(([name, seconds]) => window.run(name, seconds), [name, seconds]);
        if (failure !== null) {
          // What it left is not for the next.
          await reload();
          await load();
        }
        if (name in PLANTED) assert.match(failure ?? 'it passed', PLANTED[name]);
        else assert.equal(failure, null, failure);
      });
    }
  });
}

// Side by side, because a browser compiles one pipeline at a time.
test('device tests', { concurrency: true }, (context) => Promise.all(
  Object.entries(MODULES).map(([module, sources]) => context.test(module, (context) => run(context, module, sources))),
));
