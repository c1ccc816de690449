// Who may use the GPU when: measuring alone, everything else together.

const cancelled = () => Object.assign(new Error("cancelled before it began"), { code: "cancelled" });

export class Turns {
  #shared = new Set();
  #alone = Promise.resolve();

  /** Does the work as soon as nothing runs alone. */
  async shared(work) {
    for (let last; last !== this.#alone; ) await (last = this.#alone);
    const done = work();
    this.#shared.add(done);
    try {
      return await done;
    } finally {
      this.#shared.delete(done);
    }
  }

  /** Does the work after everything before it, and nothing beside it; cancelled while it waits, it fails at once. */
  alone(work, signal) {
    const before = Promise.allSettled([this.#alone, ...this.#shared]);
    const aborted = new Promise((_, reject) => signal?.addEventListener("abort", () => reject(cancelled())));
    aborted.catch(() => {});
    const turn = Promise.race([before, aborted]).then(work);
    this.#alone = Promise.allSettled([before, turn]);
    return turn;
  }
}
