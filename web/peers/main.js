// The page: each contender's result is checked, then all take turns.
import * as gqa from "./gqa.js";
import * as ort from "./ort.js";
import { ROWS, errorOf, expectedOf, inputsOf } from "./rows.js";

/** The largest error relative to the largest value that is no mismatch. */
const TOLERANCE = 1e-5;

/** Calls before anything is timed, after the one that is checked and compiles; one is enough if it takes a second. */
const WARMUPS = 2;

const message = (error) => String(error?.message ?? error).split("\n")[0].slice(0, 300);

async function timed(contender) {
  const start = performance.now();
  await contender.run();
  return performance.now() - start;
}

function summary(times) {
  const sorted = [...times].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  return { median, min: sorted[0], max: sorted.at(-1), times };
}

/** A form of the other library that takes so many times as long as its best is not timed again. */
const HOPELESS = 1.5;

/** Checks, warms up and times everything for one row. */
async function compareRow(row, ours, theirs, rounds, onlyForms) {
  const inputs = inputsOf(row);
  const expected = expectedOf(inputs, row);
  const contenders = Object.entries(ours).map(([name, device]) => [name, () => device.prepare(row, inputs)]);
  const refused = {};
  for (const form of ort.forms.filter((form) => !onlyForms || onlyForms.some((part) => form.includes(part)))) {
    const reason = ort.why(form, row);
    if (reason) refused[form] = reason;
    else {
      for (const [suffix, library] of Object.entries(theirs)) {
        contenders.push([form + suffix, () => library.prepare(form, row, inputs)]);
      }
    }
  }
  const ready = [];
  const errors = {};
  for (const [name, prepare] of contenders) {
    try {
      const contender = await prepare();
      errors[name] = errorOf(await contender.result(), expected, row);
      if (!(errors[name] <= TOLERANCE)) throw new Error(`is wrong: error ${errors[name].toExponential(1)}`);
      const warm = [];
      while (warm.length < WARMUPS && !(warm[0] > 1000)) warm.push(await timed(contender));
      ready.push({ name, contender, warm: Math.min(...warm), times: [] });
    } catch (error) {
      refused[name] = message(error);
    }
  }
  const best = Math.min(...ready.filter(({ name }) => !(name in ours)).map(({ warm }) => warm));
  for (let round = 0; round < rounds; round++) {
    for (const { name, contender, warm, times } of ready) {
      if (name in ours || warm <= HOPELESS * best) times.push(await timed(contender));
    }
  }
  for (const { times, warm } of ready) if (times.length === 0) times.push(warm);
  for (const { contender } of ready) await contender.close();
  const results = Object.fromEntries(ready.map(({ name, times }) => [name, { error: errors[name], ...summary(times) }]));
  return { row: row.name, shape: row, results, refused };
}

/** What compare.mjs calls, once for each row. */
globalThis.compare = async ({ name, rounds, forms }) => {
  const row = ROWS.find((row) => row.name === name);
  const ours = { gqa: await gqa.open({ tuning: false }), "gqa, tuned": await gqa.open({ tuning: true }) };
  const theirs = { "": await ort.open({ subgroups: true }), ", no subgroups": await ort.open({ subgroups: false }) };
  const compared = await compareRow(row, ours, theirs, rounds, forms);
  const choices = Object.fromEntries(Object.entries(ours).map(([key, device]) => [key, device.choices()]));
  const { adapter } = ours.gqa;
  for (const device of Object.values(ours)) device.close();
  return { ...compared, choices, adapter, ort: theirs[""].version };
};
globalThis.rowNames = ROWS.map(({ name }) => name);
