// Numbers that look random and are the same for the same seed, in every browser.

/** Draws of 32 bits (the generator “mulberry32”). */
export function generator(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x = (x + Math.imul(x ^ (x >>> 7), x | 61)) ^ x;
    return (x ^ (x >>> 14)) >>> 0;
  };
}

/** A tensor of numbers between −√3 and √3, all alike probable: their mean is 0 and their variance 1. */
export function uniform(shape, next) {
  const data = new Float32Array(shape.reduce((product, axis) => product * axis, 1));
  for (let i = 0; i < data.length; i += 1) data[i] = (next() / 2 ** 31 - 1) * Math.sqrt(3);
  return { data, shape };
}
