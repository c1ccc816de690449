// Calls from the page to its worker: arguments and results are cloned, errors keep their code, and calls can be cancelled.
//
//   page → worker  {id, method, args}   {cancel: id}
//   worker → page  {id, news}           {id, value} or {id, error}          {event, detail}

/** An error with one of the package's codes, on the page's side. */
export class CallError extends Error {
  constructor({ code, message }) {
    super(message);
    this.name = "CallError";
    this.code = code;
  }
}

const plain = (error) => ({ code: error?.code ?? "internal", message: error?.message ?? String(error) });

/** The page's side of a worker. */
export class Caller {
  #worker;
  #pending = new Map();
  #last = 0;
  #end;

  /** `onEvent(name, detail)` hears what the worker tells by itself; `onFailure(error)` that it can't go on. */
  constructor(worker, { onEvent, onFailure }) {
    this.#worker = worker;
    worker.addEventListener("message", ({ data }) => this.#hear(data, onEvent));
    worker.addEventListener("error", (event) => {
      event.preventDefault();
      const error = new CallError({ code: "internal", message: `the worker failed: ${event.message || "its script can't be loaded"}` });
      this.end(error);
      onFailure(error);
    });
  }

  #hear({ id, event, detail, news, value, error }, onEvent) {
    if (event) return onEvent(event, detail);
    const call = this.#pending.get(id);
    if (!call) return undefined;
    if (news !== undefined) return call.onNews?.(news);
    this.#pending.delete(id);
    call.signal?.removeEventListener("abort", call.cancel);
    return error ? call.reject(new CallError(error)) : call.resolve(value);
  }

  /** Calls a method of the worker. `signal` asks it to stop: what then comes is up to the method. */
  call(method, args, { signal, onNews } = {}) {
    return new Promise((resolve, reject) => {
      if (this.#end) return reject(this.#end);
      const id = (this.#last += 1);
      const cancel = () => this.#worker.postMessage({ cancel: id });
      this.#pending.set(id, { resolve, reject, onNews, signal, cancel });
      this.#worker.postMessage({ id, method, args });
      signal?.addEventListener("abort", cancel);
      return signal?.aborted ? cancel() : undefined;
    });
  }

  /** Ends the worker; calls under way and later ones are rejected with the error. */
  end(error) {
    this.#end ??= error;
    this.#worker.terminate();
    for (const { reject } of this.#pending.values()) reject(this.#end);
    this.#pending.clear();
  }
}

/**
 * The worker's side: each method is called with its arguments and `{signal, tell}`, where `tell(news)` goes to the
 * caller's `onNews`. Returns `announce(event, detail)`.
 */
export function serve(methods) {
  const running = new Map();
  addEventListener("message", async ({ data: { id, method, args, cancel } }) => {
    if (cancel) return running.get(cancel)?.abort();
    const controller = new AbortController();
    running.set(id, controller);
    try {
      const value = await methods[method](args, { signal: controller.signal, tell: (news) => postMessage({ id, news }) });
      postMessage({ id, value }, buffersOf(value));
    } catch (error) {
      postMessage({ id, error: plain(error) });
    } finally {
      running.delete(id);
    }
    return undefined;
  });
  return (event, detail) => postMessage({ event, detail });
}

/** The buffers of typed arrays that a result holds by name: they are handed over, not copied. */
function buffersOf(value) {
  if (value === null || typeof value !== "object") return [];
  return [...new Set(Object.values(value).filter((part) => ArrayBuffer.isView(part)).map(({ buffer }) => buffer))];
}
