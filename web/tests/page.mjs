// The page in Chromium, as a person uses it.
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { FIXTURES, launch, relativeError, tensors } from './support.mjs';

/** Milliseconds for what runs on a CPU that other tests use too. */
const PATIENCE = 240_000;

let browser;
let page;

/** Waits until the check's summary is so. */
const summary = (pattern) => page.waitForFunction(
  (source) => new RegExp(source).test(document.querySelector('#check-summary').textContent), pattern.source, { timeout: PATIENCE });

const text = (selector) => page.textContent(selector);

const fixture = (name) => fileURLToPath(new URL(name, FIXTURES));

/** Waits until what was asked for is shown, or refused: a change that was made is at once under way. */
const settled = () => page.waitForFunction(() => document.querySelector('#see').getAttribute('aria-busy') === 'false', undefined, { timeout: PATIENCE });

/** Chooses files, or names with content of one's own. */
async function choose(...files) {
  await page.setInputFiles('#see-files', files);
  await settled();
}

/** Changes a control as a person does. */
async function change(selector, value) {
  await page.locator(selector).evaluate((element, to) => {
    if (element.type === 'checkbox' || element.type === 'radio') element.checked = to;
    else element.value = to;
    element.dispatchEvent(new Event('input', { bubbles: true }));
  }, value);
  await settled();
}

/** What the page shows: `{scores, scoresShape, output, keeps}` with numbers as arrays. */
const shown = () => page.evaluate(() => {
  const { scores, scoresShape, output, keeps } = window.gqaPage.sections.see.result;
  return { scores: [...scores], scoresShape, output: [...output], keeps: keeps && [...keeps] };
});

/** The scores that lie beyond the diagonal, or where `hidden(i, j)` says. */
function at({ scores, scoresShape: [, , queries, keys] }, hidden) {
  return scores.filter((_, n) => hidden(Math.floor(n / keys) % queries, n % keys));
}

/** Pictures of a tab, for who looks at them: GQA_SCREENSHOTS names the folder that they go to. */
async function pictures(tab, of = page) {
  const folder = process.env.GQA_SCREENSHOTS;
  if (!folder) return;
  for (const width of [1280, 390]) {
    await of.setViewportSize({ width, height: 900 });
    // Maps take their new size when no more changes come.
    await of.waitForTimeout(400);
    for (const colorScheme of ['light', 'dark']) {
      await of.emulateMedia({ colorScheme });
      await of.screenshot({ path: `${folder}/${tab}-${colorScheme}-${width}.png`, fullPage: true });
    }
  }
  await of.emulateMedia({ colorScheme: 'light' });
  await of.setViewportSize({ width: 1280, height: 900 });
}

before(async () => {
  browser = await launch();
  page = browser.page;
  page.setDefaultTimeout(60_000);
  await page.goto(`${browser.url}?test`);
});
after(() => browser?.close());

test('the check runs by itself, and its first result comes soon', async () => {
  await page.waitForSelector('body[data-state=ready]', { timeout: PATIENCE });
  // From the start of loading on, with the module and the first kernels compiled.
  const first = Number(await page.getAttribute('body', 'data-first-result'));
  assert.ok(first > 0 && first < 3000, `${first} ms`);
  assert.match(await text('#adapter'), /SwiftShader.*\(software\)/i);
});

test('it can be cancelled, and run again to its end, with a row for each case', async () => {
  await page.click('#check-cancel');
  await summary(/^\d+ of \d+ pass, cancelled\.$/);
  await page.click('#check-again');
  await summary(/largest error/);
  const [, passed, total] = /^(\d+) of (\d+) pass, largest error [\d.]+e-\d+ of [\d.]+e-\d+ allowed \(.+\)\.$/.exec(await text('#check-summary'));
  assert.equal(passed, total);
  assert.ok(Number(total) > 30, total);
  assert.deepEqual(await page.locator('#check-table .verdict').allTextContents(), Array(Number(total)).fill('pass'));
  await pictures('check');
});

test('results can be copied, by hand where the browser does not allow more', async () => {
  await page.evaluate(() => { navigator.clipboard.writeText = () => Promise.reject(new Error('not allowed')); });
  await page.click('#check-copy');
  const copied = await page.inputValue('#check-text');
  assert.match(copied, /^\d+ of \d+ pass/);
  assert.equal(copied.split('\n').filter((line) => line.startsWith('pass\t')).length, await page.locator('#check-table .verdict').count());
});

test('tabs follow the arrow keys and the hash', async () => {
  await page.focus('#tab-check');
  const chosen = () => page.evaluate(() => [document.activeElement.id, location.hash, ...[...document.querySelectorAll('[role=tabpanel]')].filter((panel) => !panel.hidden).map(({ id }) => id)]);
  await page.keyboard.press('ArrowRight');
  assert.deepEqual(await chosen(), ['tab-see', '#see', 'see']);
  await page.keyboard.press('End');
  assert.deepEqual(await chosen(), ['tab-measure', '#measure', 'measure']);
  await page.keyboard.press('ArrowRight');
  assert.deepEqual(await chosen(), ['tab-check', '#check', 'check']);
  await page.evaluate(() => { location.hash = '#see'; });
  await page.waitForFunction(() => !document.querySelector('#see').hidden);
  assert.equal(await page.getAttribute('#tab-see', 'aria-selected'), 'true');
});

test('the demo gives the output that Keras computed', async () => {
  await page.click('#tab-see');
  await settled();
  const { output, scores } = await shown();
  const expected = await tensors('demo.expected.safetensors');
  assert.ok(relativeError(output, expected.attention_output.data) <= 1e-5);
  assert.equal(scores.length, 10 * 32 * 32);
  await pictures('see');
  assert.match(await text('#see-inputs-file'), /10 query heads, 2 key\/value heads, head_dim 8, 40 features; inputs of demo/);
});

test('heat maps have the colours of the scores', async () => {
  const worst = await page.evaluate(async () => {
    const { partOf, isDark } = await import('./colour.js');
    const { scores, scoresShape: [, , queries, keys] } = window.gqaPage.sections.see.result;
    const end = Number(document.querySelector('#see .legend').dataset.end);
    let most = 0;
    [...document.querySelectorAll('#see-maps canvas')].forEach((canvas, head) => {
      const pitch = canvas.width / keys;
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      for (let i = 0; i < queries; i += 5) {
        for (let j = 0; j < keys; j += 1) {
          const pixel = 4 * (Math.floor((i + 0.5) * pitch) * canvas.width + Math.floor((j + 0.5) * pitch));
          const part = partOf([...data.subarray(pixel, pixel + 3)], isDark());
          most = Math.max(most, Math.abs(part - scores[(head * queries + i) * keys + j] / end));
        }
      }
    });
    return most;
  });
  assert.ok(worst <= 1 / 100, String(worst));
});

test('a map is read out by arrow keys and by the mouse', async () => {
  const map = page.locator('#see-maps canvas').nth(3);
  await map.focus();
  for (const key of ['ArrowDown', 'ArrowDown', 'ArrowRight']) await map.press(key);
  const { scores } = await shown();
  const said = async () => /^Query head 3: query (\d+) attends to key (\d+): ([\de.-]+)$/.exec(await text('#see-readout')).slice(1).map(Number);
  const [i, j, score] = await said();
  assert.deepEqual([i, j], [2, 1]);
  assert.ok(Math.abs(score - scores[(3 * 32 + 2) * 32 + 1]) < 1e-3);
  const { width } = await map.boundingBox();
  await map.hover({ position: { x: (5.5 * width) / 32, y: (9.5 * width) / 32 } });
  assert.deepEqual((await said()).slice(0, 2), [9, 5]);
});

test('causal mask, window and padding hide what they must', async () => {
  const later = (i, j) => j > i;
  assert.ok(at(await shown(), later).every((score) => score === 0));
  await change('#see-causal', false);
  assert.ok(at(await shown(), later).some((score) => score > 0));
  await change('#see-causal', true);
  assert.ok(at(await shown(), (i, j) => i - j >= 12).every((score) => score === 0));
  await change('#see-window', '');
  assert.ok(at(await shown(), (i, j) => i - j >= 12).some((score) => score > 0));
  await change('#see-window', '3');
  assert.ok(at(await shown(), (i, j) => i - j >= 3).every((score) => score === 0));
  assert.ok(at(await shown(), (i, j) => i - j === 2).some((score) => score > 0));
  await change('#see-window', '0');
  assert.match(await text('#see-problem'), /Sliding window must be a whole number from 1/);
  await change('#see-window', '');
  await change('#see-padding', '4');
  assert.equal(await text('#see-problem'), '');
  assert.ok(at(await shown(), (i, j) => j >= 28).every((score) => score === 0));
  await change('#see-padding', '0');
});

test('a mask drawn by hand hides keys', async () => {
  await page.click('#see-mask summary');
  const canvas = page.locator('#see-mask canvas');
  await canvas.focus();
  for (const key of ['ArrowDown', 'ArrowDown', 'ArrowDown', 'ArrowRight', ' ']) await canvas.press(key);
  await settled();
  assert.match(await text('#see-mask [role=status]'), /Query 3, key 1: hidden/);
  const hidden = (i, j) => i === 3 && j === 1;
  assert.ok(at(await shown(), hidden).every((score) => score === 0));
  const { x, y, width } = await canvas.boundingBox();
  const cell = (n) => ((n + 0.5) * width) / 32;
  await page.mouse.move(x + cell(0), y + cell(20));
  await page.mouse.down();
  await page.mouse.move(x + cell(10), y + cell(20), { steps: 30 });
  await page.mouse.up();
  await settled();
  assert.ok(at(await shown(), (i, j) => i === 20 && j <= 10).every((score) => score === 0));
  await page.click('#see-mask button');
  await settled();
  assert.ok(at(await shown(), hidden).some((score) => score > 0));
});

test('dropout marks what it drops and leaves the probabilities', async () => {
  const without = await shown();
  assert.equal(without.keeps, undefined);
  await change('#see-dropout', '0.5');
  const { keeps, scores, output } = await shown();
  assert.deepEqual(scores, without.scores);
  assert.notDeepEqual(output, without.output);
  const kept = keeps.filter(Boolean).length / keeps.length;
  assert.ok(Math.abs(kept - 0.5) < 0.05, String(kept));
  await change('#see-dropout-seed', '2');
  assert.notDeepEqual((await shown()).keeps, keeps);
  await change('#see-dropout', '0');
});

for (const [name, model, layer, causal] of [
  ['everything', 'options.keras', 'everything', true],
  ['decoder_cross', 'several.keras', 'cross_attention', false],
  ['all_masks', 'plain.keras', undefined, true],
]) {
  test(`files that are chosen give Keras' numbers: ${name}`, async () => {
    await choose(fixture(model));
    if (layer) await change('#see-layer', layer);
    await choose(fixture(`${name}.inputs.safetensors`));
    await change('#see-causal', causal);
    assert.equal(await text('#see-problem'), '');
    const got = await shown();
    const expected = await tensors(`${name}.expected.safetensors`);
    assert.ok(relativeError(got.output, expected.attention_output.data) <= 1e-5);
    assert.ok(relativeError(got.scores, expected.attention_scores.data) <= 1e-5);
  });
}

test('files can be dropped, too', async () => {
  const files = await Promise.all(['demo.keras', 'demo.inputs.safetensors'].map(async (name) => ({ name, bytes: [...(await readFile(fixture(name)))] })));
  await page.evaluate((dropped) => {
    const dataTransfer = new DataTransfer();
    for (const { name, bytes } of dropped) dataTransfer.items.add(new File([new Uint8Array(bytes)], name));
    document.body.dispatchEvent(new DragEvent('drop', { dataTransfer, bubbles: true, cancelable: true }));
  }, files);
  await page.waitForFunction(() => /inputs of demo/.test(document.querySelector('#see-inputs-file').textContent));
  await settled();
  await change('#see-causal', true);
  assert.ok(relativeError((await shown()).output, (await tensors('demo.expected.safetensors')).attention_output.data) <= 1e-5);
});

test('what is shown can be kept as safetensors', async () => {
  const [file] = await Promise.all([page.waitForEvent('download'), page.click('#see-download')]);
  assert.match(file.suggestedFilename(), /^demo\.attention\.outputs\.safetensors$/);
  const kept = await tensors(await file.path());
  const { output, scores, scoresShape } = await shown();
  assert.deepEqual(kept.attention_output.data, output);
  assert.deepEqual(kept.attention_scores.data, scores);
  assert.deepEqual(kept.attention_scores.shape, scoresShape);
});

test('random inputs follow their lengths and seed', async () => {
  await choose(fixture('plain.keras'));
  assert.equal(await page.isChecked('#see-source-random'), true);
  await change('#see-queries', '9');
  await change('#see-keys', '5');
  const first = await shown();
  assert.deepEqual(first.scoresShape.slice(2), [9, 5]);
  await change('#see-seed', '7');
  assert.notDeepEqual((await shown()).scores, first.scores);
  // Of changes in quick succession the last one counts.
  await page.locator('#see-seed').evaluate(async (input) => {
    for (const seed of [3, 4, 5, 6, 2, 1]) {
      input.value = seed;
      input.dispatchEvent(new Event('input', { bubbles: true }));
      await new Promise((done) => setTimeout(done, 30));
    }
  });
  await settled();
  assert.deepEqual((await shown()).scores, first.scores);
});

test('bad files are told by name and reason, and what was there stays', async () => {
  const demo = await readFile(fixture('demo.keras'));
  const file = (name, buffer) => ({ name, mimeType: 'application/octet-stream', buffer });
  const header = (object) => {
    const json = Buffer.from(JSON.stringify(object));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(json.length));
    return Buffer.concat([length, json]);
  };
  const bad = [
    [file('cut.keras', demo.subarray(0, 5000)), /^cut\.keras: \S+/],
    [file('empty.keras', Buffer.alloc(0)), /^empty\.keras: \S+/],
    [file('notes.txt', Buffer.from('hello')), /^notes\.txt: this page takes/],
    [file('short.safetensors', Buffer.alloc(3)), /^short\.safetensors: not a whole safetensors file/],
    [file('odd.safetensors', header({ query: { dtype: 'F32', shape: [1, 2, 3], data_offsets: [0, 24] } })), /numbers of `query` end at byte 24 of 0/],
    [file('other.safetensors', header({ weight: { dtype: 'F32', shape: [0], data_offsets: [0, 0] } })), /`weight` is no input of the layer/],
  ];
  for (const [given, message] of bad) {
    await choose(given);
    assert.match(await text('#see-problem'), message);
    assert.equal((await shown()).scoresShape.length, 4, given.name);
  }
  await choose(fixture('demo.inputs.safetensors'));
  assert.match(await text('#see-problem'), /query/);
  await page.click('#see-demo');
  await settled();
  assert.equal(await text('#see-problem'), '');
});

test('everything that can be used has a name, and ids are unique', async () => {
  const problems = await page.evaluate(() => {
    const named = (element) =>
      element.getAttribute('aria-label') || element.labels?.[0]?.textContent.trim() || (element.tagName === 'BUTTON' && element.textContent.trim()) ||
      element.tagName === 'SUMMARY';
    const used = [...document.querySelectorAll('button, input, select, textarea, canvas, [tabindex="0"], progress, svg')];
    const ids = [...document.querySelectorAll('[id]')].map(({ id }) => id);
    const refers = (name) => [...document.querySelectorAll(`[${name}]`)].map((element) => element.getAttribute(name));
    return [
      ...used.filter((element) => !named(element)).map((element) => `no name: ${element.outerHTML.slice(0, 100)}`),
      ...ids.filter((id, i) => ids.indexOf(id) !== i).map((id) => `twice: ${id}`),
      ...['aria-controls', 'aria-labelledby', 'aria-describedby'].flatMap(refers).filter((id) => !ids.includes(id)).map((id) => `nothing has the id ${id}`),
    ];
  });
  assert.deepEqual(problems, []);
});

test('the page fits a phone', async () => {
  await page.setViewportSize({ width: 360, height: 740 });
  for (const tab of ['check', 'see', 'measure']) {
    await page.click(`#tab-${tab}`);
    if (tab === 'see') await settled();
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= 360), tab);
  }
  await page.setViewportSize({ width: 1280, height: 900 });
});

/** Results of `gqa bench` on a made-up machine, `speed` times as fast as another. */
function results(name, speed, { host = 'native', ...more } = {}) {
  const row = (group, title, flops, ms) => {
    const [min, lower, median, upper, max] = [0.9, 0.95, 1, 1.1, 1.3].map((factor) => (factor * ms) / speed);
    return {
      id: `${group}/${title}/f32`, kind: 'attention', group, title, dtype: 'f32', batch: 1, query_len: 512, key_len: 512, query_heads: 8,
      key_heads: 2, head_dim: 64, features: 0, variant: 'fused rows 4×8', flops, bytes: 1e6, share_of_roofline: 0.4,
      time: { repetitions: 10, min, lower_quartile: lower, median, upper_quartile: upper, max },
    };
  };
  const rows = [
    row('layer', 'L1 layer', 4e9, 31), row('layer', 'L2 layer', 9e9, 60), row('causal', 'A1 causal', 1e9, 12),
    row('causal', 'A2 causal', 8e9, 55), row('decode', 'D1 decode', 2e7, 9), row('decode', 'D2 decode', 9e7, 0.5),
  ];
  return JSON.stringify({
    gqa_bench: 1, gqa_version: '0.1.0', started_unix: 1767225600, host, suite: 'quick', complete: true,
    adapter: { name, backend: 'Vulkan', driver: 'made up', driver_info: '1', device_type: 'DiscreteGpu' },
    timing: 'gpu_timestamps', roofline: { f32_gflops: 900, copy_gbytes: 100 }, rows, skipped: [], ...more,
  });
}

const json = (name, content) => ({ name, mimeType: 'application/json', buffer: Buffer.from(content) });

test('a measurement can be cancelled and kept, and run to its end and exported', async () => {
  await page.evaluate(() => history.replaceState(null, '', '?test&only=linear/L2-key'));
  await page.locator('#check-cancel').dispatchEvent('click');
  await page.click('#tab-measure');
  await page.click('#measure-start');
  await page.click('#measure-cancel');
  await page.waitForFunction(() => /^Cancelled/.test(document.querySelector('#measure-status').textContent));
  assert.equal(await page.isDisabled('#measure-export'), true);
  await page.click('#measure-start');
  await page.waitForFunction(() => /^Done: 1 row\.$/.test(document.querySelector('#measure-status').textContent));
  const [file] = await Promise.all([page.waitForEvent('download'), page.click('#measure-export')]);
  assert.equal(file.suggestedFilename(), 'gqa-bench-google-swiftshader.json');
  const kept = await readFile(await file.path(), 'utf8');
  if (process.env.GQA_RESULTS) await writeFile(process.env.GQA_RESULTS, kept);
  const { gqa_bench: version, complete, rows } = JSON.parse(kept);
  assert.deepEqual([version, complete, rows.map(({ id }) => id)], [1, true, ['linear/L2-key/f32']]);
  assert.equal(await page.locator('#measure-charts svg g[class]').count(), 1);

  await page.setInputFiles('#measure-files', json('again.json', kept));
  await page.waitForFunction(() => /^again\.json: these results are shown already/.test(document.querySelector('#measure-problem').textContent));
  const faster = JSON.parse(kept);
  faster.adapter.name = 'another';
  faster.started_unix += 1;
  for (const part of ['min', 'lower_quartile', 'median', 'upper_quartile', 'max']) faster.rows[0].time[part] /= 2;
  await page.setInputFiles('#measure-files', json('faster.json', JSON.stringify(faster)));
  await page.waitForFunction(() => document.querySelectorAll('#measure-runs li').length === 2);
  assert.match(await text('#measure-runs li:nth-child(2)'), /another in a browser.* 2 times as fast as 1 over 1 shared row/);
  assert.equal(await page.locator('#measure-charts svg g[class]').count(), 2);
});

test('a lost device is told, and starting again works', async () => {
  await page.evaluate(() => window.gqaPage.loseDevice());
  await page.waitForSelector('body[data-state=device-lost]');
  assert.match(await text('#notices'), /connection to the graphics processor was lost/);
  await page.click('#notices button');
  await page.waitForSelector('body[data-state=ready]', { timeout: PATIENCE });
  assert.equal(await text('#notices'), '');
  await page.locator('#check-cancel').dispatchEvent('click');
  await settled();
  assert.ok((await shown()).scores.length > 0);
});

test('nothing was reported on the console', () => assert.deepEqual(browser.errors, []));

for (const [code, title, sabotage] of [
  ['no-webgpu', /This browser has no WebGPU/, "Object.defineProperty(navigator, 'gpu', { value: undefined });"],
  ['no-adapter', /No graphics processor was found/, "navigator.gpu.requestAdapter = async () => null;"],
  ['device', /can't be used/, "GPUAdapter.prototype.requestDevice = async () => { throw new Error('out of devices'); };"],
  ['internal', /Something went wrong in this page/, "throw new Error('broken');"],
]) {
  test(`a worker that meets ${code} says so`, async () => {
    const context = await browser.browser.newContext();
    const other = await context.newPage();
    const unhandled = [];
    other.on('pageerror', (error) => unhandled.push(String(error)));
    await context.route('**/worker.js', async (route) => {
      const response = await route.fetch();
      await route.fulfill({ response, body: `${sabotage}\n${await response.text()}` });
    });
    await other.goto(browser.url);
    await other.waitForSelector(`body[data-state=${code}]`);
    assert.match(await other.textContent('.notice h2'), title);
    assert.equal(await other.locator('.notice button').count(), code.startsWith('no-') ? 0 : 1);
    assert.equal(await other.isDisabled('#check-again'), true);
    assert.deepEqual(unhandled, []);
    await context.close();
  });
}

/** Drops good and bad files of results on a page that shows the section. */
async function compares(plain) {
  await plain.setInputFiles('#measure-files', [json('a.json', results('Adapter A', 1)), json('b.json', results('Adapter A', 3, { gqa_version: '0.2.0' }))]);
  await plain.waitForFunction(() => document.querySelectorAll('#measure-runs li').length === 2);
  assert.match(await plain.textContent('#measure-runs li:nth-child(2)'), /Adapter A, gqa 0\.2\.0.* 3 times as fast as 1 over 6 shared rows/);
  assert.equal(await plain.locator('#measure-charts svg').count(), 3);
  await pictures('measure', plain);
  await plain.selectOption('#measure-metric', 'ms');
  assert.match(await plain.textContent('#measure-charts'), /milliseconds.*31/s);
  await plain.click('#measure-table summary');
  assert.deepEqual(await plain.locator('#measure-table tbody tr').first().locator('td').allTextContents(), ['31fused rows 4×8', '10.3fused rows 4×8']);
  const bad = [
    ['text.json', 'hello', /text\.json: it is not JSON/],
    ['none.json', '{}', /none\.json: these are no results of gqa bench/],
    ['newer.json', '{"gqa_bench": 2}', /newer\.json: the results have format version 2/],
    ['empty.json', results('x', 1, { rows: [] }), /empty\.json: it has no rows/],
    ['odd.json', results('x', 1, { rows: [{ id: 'a', time: { min: -1 } }] }), /odd\.json: `row `a`: time\.min` is -1/],
    ['null.json', 'null', /null\.json: these are no results/],
  ];
  for (const [name, content, message] of bad) {
    await plain.setInputFiles('#measure-files', json(name, content));
    await plain.waitForFunction((start) => document.querySelector('#measure-problem').textContent.startsWith(start), name);
    assert.match(await plain.textContent('#measure-problem'), message);
  }
  await plain.locator('#measure-runs button').first().click();
  assert.equal(await plain.locator('#measure-runs li').count(), 1);
}

test('without WebGPU the page says what to do, and still compares results of other machines', async () => {
  const without = await launch({ webgpu: false });
  const { page: plain } = without;
  try {
    await plain.goto(`${without.url}#measure`);
    await plain.waitForSelector('.notice');
    assert.match(await plain.getAttribute('body', 'data-state'), /^no-(webgpu|adapter)$/);
    assert.match(await plain.textContent('.notice'), /(no WebGPU|No graphics processor).*(Linux).*--enable-unsafe-webgpu/s);
    assert.equal(await plain.isDisabled('#measure-start'), true);
    await compares(plain);
    assert.deepEqual(without.errors, []);
  } finally {
    await without.close();
  }
});
