// Work that follows what changes often: one run at a time, and after it the newest wish alone.

/**
 * Returns `wish()`, which has `work()` done soon. Wishes that come in quick succession are one; a wish that comes during a
 * run has it done once more afterwards. `work` gets `isLatest()`, which turns false when a newer wish came.
 */
export function latest(work, { delay = 40 } = {}) {
  let timer;
  let wished = 0;
  let running = false;

  async function run() {
    if (running) return;
    running = true;
    for (let done; done !== wished; ) {
      done = wished;
      const own = done;
      await work(() => own === wished);
    }
    running = false;
  }

  return () => {
    wished += 1;
    clearTimeout(timer);
    timer = setTimeout(run, delay);
  };
}
