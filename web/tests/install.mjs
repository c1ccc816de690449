// The package as a stranger gets it: packed, installed into a fresh Vite project, built, and run from the build and from
// Vite's server.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { launch, packageFolder } from './support.mjs';

const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm';
const run = promisify(execFile);

/** Vite 8 needs no word about the package; the server of those before moves a module away from its .wasm unless told not to. */
const VERSIONS = [
  ['vite@8.3.8', undefined],
  ['vite@7', "export default { optimizeDeps: { exclude: ['gqa-web'] } };\n"],
];

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
let tarball;
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
  tarball = join(folder, filename);
});

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

/** The address that Vite's server prints. */
function addressOf(server) {
  return new Promise((resolve, reject) => {
    let said = '';
    server.stdout.on('data', (text) => {
      said += text;
      const [, url] = said.match(/(http:\/\/127\.0\.0\.1:\d+\/)/) ?? [];
      if (url) resolve(url);
    });
    server.on('exit', () => reject(new Error(`Vite ended: ${said}`)));
  });
}

// Vite 8 can't be installed by older versions of npm.
const { stdout: npmVersion } = await run(npm, ['--version']);

for (const [vite, config] of VERSIONS) {
  const skip = vite.startsWith('vite@8') && Number.parseInt(npmVersion, 10) < 11 && `npm ${npmVersion.trim()} can't install it`;
  test(`a fresh project of ${vite} builds and runs`, { skip }, async () => {
    const project = join(folder, vite);
    await mkdir(project);
    await writeFile(join(project, 'package.json'), '{ "private": true, "type": "module" }\n');
    await writeFile(join(project, 'index.html'), PAGE);
    await writeFile(join(project, 'main.js'), MAIN);
    if (config) await writeFile(join(project, 'vite.config.js'), config);
    await run(npm, ['install', '--no-package-lock', '--no-audit', '--no-fund', vite, tarball], { cwd: project });
    const command = (...args) => [join(project, 'node_modules/vite/bin/vite.js'), ...args];

    await run(process.execPath, command('build'), { cwd: project });
    await runs(await launch({ folder: join(project, 'dist') }));

    const env = { ...process.env, NO_COLOR: '1' };
    const server = spawn(process.execPath, command('--host', '127.0.0.1', '--port', '0'), { cwd: project, env });
    try {
      const url = await addressOf(server);
      await runs(await launch(), url);
    } finally {
      server.kill();
    }
  });
}
