// What the harness calls in the page. A page is for the tests of one module, until one fails.
const PREFIX = 'test ';
let exports;

// Devices have what every WebGPU device has, and no more.
const { requestDevice } = GPUAdapter.prototype;
GPUAdapter.prototype.requestDevice = async function (descriptor) {
  return requestDevice.call(this, { ...descriptor, requiredLimits: {} });
};

/** Loads a module: the names of its tests. */
window.load = async (module) => {
  const glue = await import(`./${module}.js`);
  exports = await glue.default();
  exports['prepare tests']();
  window.glue = glue;
  return Object.keys(exports).filter((name) => name.startsWith(PREFIX)).map((name) => name.slice(PREFIX.length));
};

/** Runs a test: why it failed, or null. */
window.run = async (name, seconds) => {
  const late = `did not end in ${seconds} s`;
  try {
    await Promise.race([
      WebAssembly.promising(exports[PREFIX + name])(),
      new Promise((_, fail) => setTimeout(() => fail(late), 1000 * seconds)),
    ]);
    return null;
  } catch (error) {
    return window.panicked ?? String(error);
  }
};
