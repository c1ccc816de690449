// The package as a stranger gets it: packed, installed into a fresh Vite project, built, and run from the build and from
// Vite's server.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { launch, packageFolder } from './support.mjs';

const VITE = 'vite@8.3.8';
const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm';
const run = promisify(execFile);

const PAGE = `<!doctype html>
<html lang="en">
  <meta charset="utf-8" />
  <link rel="icon" href="data:," />
  <title>A Vite project</title>
  <script type="module" src="/main.js"></script>
</html>
`;
const MAIN = `import { Gpu, Layer } from 'gqa-web';
try {
  const gpu = await Gpu.create();
  const layer = await Layer.create(gpu, { head_dim: 8, num_query_heads: 4, num_key_value_heads: 2 }, 16, 1);
  const x = { data: Float32Array.from({ length: 160 }, (_, i) => Math.sin(i)), shape: [1, 10, 16] };
  const { output } = await layer.call({ query: x, value: x }, { useCausalMask: true });
  const numbers = await output.data();
  document.body.dataset.state = numbers.length === 160 && numbers.every(Number.isFinite) ? 'done' : String(numbers);
} catch (error) {
  document.body.dataset.state = String(error);
}
`;

let folder;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gqa-vite-'));
});
after(() => rm(folder, { recursive: true, force: true }));

test('the package has the module, its types and licences, and nothing else', async () => {
  const { stdout } = await run(npm, ['pack', '--json', '--pack-destination', folder], { cwd: packageFolder });
  const [{ files, filename }] = JSON.parse(stdout);
  assert.deepEqual(files.map(({ path }) => path).sort(), [
    'LICENSE-APACHE', 'LICENSE-MIT', 'README.md', 'gqa_web.js', 'gqa_web_bg.wasm', 'index.d.ts', 'index.js', 'package.json',
  ]);
  await writeFile(join(folder, 'package.json'), '{ "private": true, "type": "module" }\n');
  await writeFile(join(folder, 'index.html'), PAGE);
  await writeFile(join(folder, 'main.js'), MAIN);
  await run(npm, ['install', '--no-package-lock', '--no-audit', '--no-fund', VITE, `./${filename}`], { cwd: folder });
});

const vite = (...args) => [join(folder, 'node_modules/vite/bin/vite.js'), ...args];

/** Opens the address in a fresh browser, which must show that the layer ran. */
async function runs(browser, url) {
  try {
    await browser.page.goto(url ?? browser.url);
    await browser.page.waitForSelector('body[data-state]', { state: 'attached' });
    assert.equal(await browser.page.getAttribute('body', 'data-state'), 'done');
    assert.deepEqual(browser.errors, []);
  } finally {
    await browser.close();
  }
}

test('Vite builds a project that runs', async () => {
  await run(process.execPath, vite('build'), { cwd: folder });
  await runs(await launch({ folder: join(folder, 'dist') }));
});

test("it runs from Vite's own server too", async () => {
  const server = spawn(process.execPath, vite('--host', '127.0.0.1', '--port', '0'), { cwd: folder, env: { ...process.env, NO_COLOR: '1' } });
  try {
    let said = '';
    const address = new Promise((resolve, reject) => {
      server.stdout.on('data', (text) => {
        said += text;
        const [, url] = said.match(/(http:\/\/127\.0\.0\.1:\d+\/)/) ?? [];
        if (url) resolve(url);
      });
      server.on('exit', () => reject(new Error(`Vite ended: ${said}`)));
    });
    const url = await address;
    await runs(await launch(), url);
  } finally {
    server.kill();
  }
});
