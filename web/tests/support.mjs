// What the tests share: a server of the site, and Chromium on SwiftShader.
//
// `cargo xtask web --check` sets GQA_SITE and GQA_PACKAGE (the site and the package that were built), GQA_TOOLS (the
// folder whose node_modules hold playwright-core) and CHROMIUM (the browser).
import { createReadStream, statSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { extname, join, normalize, resolve, sep } from 'node:path';

const root = new URL('../../', import.meta.url).pathname;
const tools = resolve(process.env.GQA_TOOLS ?? join(root, 'target/web/tools'));
export const site = resolve(process.env.GQA_SITE ?? join(root, 'target/web/site'));
export const packageFolder = resolve(process.env.GQA_PACKAGE ?? join(root, 'target/web/gqa-web'));
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
