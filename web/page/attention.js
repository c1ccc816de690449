// The layer that the page shows, in the worker.
export class Attention {
  constructor(gpu) {
    this.gpu = gpu;
  }
}
