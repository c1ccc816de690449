// How a test waits, for `web/tests/block-on`: its stack is put aside until a promise is kept.
let awake = false;
let rise;

export const sleep = new WebAssembly.Suspending(() => new Promise((done) => {
  if (awake) done();
  else rise = done;
  awake = false;
}));

export function wake() {
  awake = !rise;
  rise?.();
  rise = undefined;
}
