// The page in Chromium, as a person uses it.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch } from './support.mjs';

let browser;
let page;

/** Goes to the page and waits until the check has run to its end. */
async function open(address = '?test') {
  await page.goto(browser.url + address);
  await page.waitForFunction(() => /pass/.test(document.querySelector('#check-summary').textContent));
}

const text = (selector) => page.textContent(selector);
const state = () => page.getAttribute('body', 'data-state');

before(async () => {
  browser = await launch();
  page = browser.page;
  await open();
});
after(() => browser?.close());

test('the check runs by itself, shows each case and passes', async () => {
  assert.equal(await state(), 'ready');
  const [, passed, total] = /^(\d+) of (\d+) pass, largest error [\d.]+e-\d+\.$/.exec(await text('#check-summary'));
  assert.equal(passed, total);
  assert.equal(await page.locator('#check-table .verdict').count(), Number(total));
  assert.deepEqual(await page.locator('#check-table .verdict').allTextContents(), Array(Number(total)).fill('pass'));
  assert.ok(Number(await page.getAttribute('body', 'data-first-result')) < 3000, await page.getAttribute('body', 'data-first-result'));
  assert.match(await text('#adapter'), /SwiftShader.*\(software\)/i);
});

test('the check can be cancelled, run again, and copied', async () => {
  await page.click('#check-again');
  await page.click('#check-cancel');
  await page.waitForFunction(() => /cancelled\.$/.test(document.querySelector('#check-summary').textContent));
  await page.click('#check-again');
  await page.waitForFunction(() => /largest error/.test(document.querySelector('#check-summary').textContent));
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

test('a lost device is told, and starting again works', async () => {
  await page.evaluate(() => window.gqaPage.loseDevice());
  await page.waitForSelector('body[data-state=device-lost]');
  assert.match(await text('#notices'), /connection to the graphics processor was lost/);
  await page.click('#notices button');
  await page.waitForSelector('body[data-state=ready]');
  assert.equal(await text('#notices'), '');
});

test('nothing was reported on the console', () => assert.deepEqual(browser.errors, []));

test('without WebGPU the page says what to do', async () => {
  const without = await launch({ webgpu: false });
  try {
    await without.page.goto(without.url);
    await without.page.waitForSelector('.notice');
    assert.match(await without.page.getAttribute('body', 'data-state'), /^no-(webgpu|adapter)$/);
    assert.match(await without.page.textContent('.notice'), /(no WebGPU|No graphics processor).*(Linux).*--enable-unsafe-webgpu/s);
    assert.deepEqual(without.errors, []);
  } finally {
    await without.close();
  }
});
