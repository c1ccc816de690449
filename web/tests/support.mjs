// What the tests share: a server of the site, Chromium on SwiftShader, and Keras' own numbers.
//
// `cargo xtask web --check` sets GQA_SITE, GQA_PACKAGE and GQA_DEVICE_TESTS (the site, the package and the device tests
// that were built), GQA_TOOLS (the folder whose node_modules hold playwright-core), CHROMIUM (the browser) and GQA_RESULTS
// (where the benchmark results that the page exports go, for `gqa report`).
import assert from 'node:assert/strict';
import { createReadStream, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { extname, join, normalize, resolve, sep } from 'node:path';

const root = new URL('../../', import.meta.url).pathname;
const tools = resolve(process.env.GQA_TOOLS ?? join(root, 'target/web/tools'));
export const site = resolve(process.env.GQA_SITE ?? join(root, 'target/web/site'));
export const packageFolder = resolve(process.env.GQA_PACKAGE ?? join(root, 'target/web/gqa-web'));
export const deviceTests = resolve(process.env.GQA_DEVICE_TESTS ?? join(root, 'target/web/device-tests'));
const { chromium } = createRequire(join(tools, 'package.json'))('playwright-core');

const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.css': 'text/css',
  '.json': 'application/json',
  '.svg': 'image/svg+xml',
  '.wasm': 'application/wasm',
};

const FLAGS = [
  '--headless=new', '--no-sandbox', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--use-webgpu-adapter=swiftshader',
];

/**
 * Serves a folder on loopback: its address, ending in a slash, and how to end it. `mounts` are further folders, by the name
 * under which they stand in it.
 */
export async function serve(folder = site, mounts = {}) {
  const server = createServer((request, response) => {
    try {
      const path = decodeURIComponent(new URL(request.url, 'http://localhost').pathname);
      const [, name, rest] = /^\/([^/]*)(.*)$/.exec(path);
      const mounted = Object.hasOwn(mounts, name);
      const base = resolve(mounted ? mounts[name] : folder);
      let file = normalize(join(base, mounted ? rest : path));
      if (file !== base && !file.startsWith(base + sep) && file !== base + sep) throw new Error('outside');
      if (statSync(file).isDirectory()) file = join(file, 'index.html');
      const { size } = statSync(file);
      const type = TYPES[extname(file)] ?? 'application/octet-stream';
      response.writeHead(200, { 'content-type': type, 'content-length': size, 'cache-control': 'no-store' });
      createReadStream(file).pipe(response);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  const close = () => new Promise((done) => { server.closeAllConnections?.(); server.close(done); });
  return { url: `http://127.0.0.1:${server.address().port}/`, close };
}

/**
 * A browser with a page, not yet anywhere, beside a server of the site. `errors` collects what the console and the page
 * report as errors. Without `webgpu` no adapter is found.
 */
export async function launch({ webgpu = true, folder = site, mounts = {} } = {}) {
  const server = await serve(folder, mounts);
  try {
    const browser = await chromium.launch({
      executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
      args: webgpu ? [...FLAGS, '--enable-unsafe-webgpu'] : FLAGS,
    });
    const page = await browser.newPage();
    const errors = [];
    page.on('console', (message) => message.type() === 'error' && errors.push(message.text()));
    page.on('pageerror', (error) => errors.push(String(error)));
    const close = async () => { await browser.close(); await server.close(); };
    return { browser, page, errors, url: server.url, close };
  } catch (error) {
    await server.close();
    throw error;
  }
}

export const FIXTURES = new URL('../../tests/fixtures/keras-3.15.1/', import.meta.url);

/** The tensors of a safetensors file, a fixture or any other: f32 as numbers, halves as bits, masks as 0 and 1. */
export async function tensors(name) {
  const bytes = await readFile(new URL(name, FIXTURES));
  const length = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(8, 8 + length).toString());
  const read = ({ dtype, shape, data_offsets: [begin, end] }) => {
    const part = bytes.subarray(8 + length + begin, 8 + length + end);
    if (dtype === 'F32') return { shape, mask: false, data: Array.from({ length: part.length / 4 }, (_, i) => part.readFloatLE(4 * i)) };
    const half = { F16: 'float16', BF16: 'bfloat16' }[dtype];
    if (half) return { shape, mask: false, dtype: half, data: Array.from({ length: part.length / 2 }, (_, i) => part.readUInt16LE(2 * i)) };
    assert.ok(['BOOL', 'U8'].includes(dtype), `${name}: ${dtype}`);
    return { shape, mask: true, data: [...part] };
  };
  return Object.fromEntries(Object.entries(header).filter(([key]) => key !== '__metadata__').map(([key, info]) => [key, read(info)]));
}

/** The largest difference as a part of the largest value; NaN counts as infinite. */
export function relativeError(got, expected) {
  assert.equal(got.length, expected.length);
  const largest = expected.reduce((most, x) => Math.max(most, Math.abs(x)), 0) || 1;
  return expected.reduce((worst, x, i) => {
    const error = Math.abs(got[i] - x) / largest;
    return error >= 0 ? Math.max(worst, error) : Infinity;
  }, 0);
}

const NAMES = { query: 'query', value: 'value', key: 'key', attention_mask: 'attentionMask', query_mask: 'queryMask', value_mask: 'valueMask', key_mask: 'keyMask' };

/** What goes into a call: numbers as Keras took them. */
export const inputsOf = (found) => Object.fromEntries(Object.entries(NAMES).filter(([name]) => found[name]).map(([name, ours]) => [ours, found[name]]));
