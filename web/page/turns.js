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

  /** Does the work after everything before it, and nothing beside it. */
  alone(work, signal) {
    const before = Promise.allSettled([this.#alone, ...this.#shared]);
    const turn = before.then(() => {
      if (signal?.aborted) throw cancelled();
      return work();
    });
    this.#alone = turn.catch(() => {});
    return turn;
  }
}
