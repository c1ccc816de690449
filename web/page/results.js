// Results of benchmarks: what `gqa bench` and this page write.

const VERSION = 1;

const refused = (message) => new Error(message);
/** Without what moves a cursor or turns the direction of text. */
const harmless = (text) => text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, " ").trim();

/** The results in a file's text. Fails with a sentence that says what is wrong with it. */
export function parse(text) {
  let results;
  try {
    results = JSON.parse(text);
  } catch (error) {
    throw refused(`it is not JSON (${error.message})`);
  }
  const version = results?.gqa_bench;
  if (version === undefined) throw refused("these are no results of gqa bench: the JSON has no `gqa_bench`");
  if (version !== VERSION) throw refused(`the results have format version ${JSON.stringify(version)}, and this page reads version ${VERSION}`);
  const { adapter, roofline, rows, host, suite, timing, complete, started_unix: started, gqa_version: by, skipped = [] } = results;
  object(adapter, "adapter");
  object(roofline, "roofline");
  if (!Array.isArray(rows) || rows.length === 0) throw refused("it has no rows");
  if (!Array.isArray(skipped)) throw refused("`skipped` is no list");
  const ids = new Set();
  const clean = rows.map((row, i) => {
    const whole = rowOf(row, `rows[${i}]`);
    if (ids.has(whole.id)) throw refused(`row \`${whole.id}\` is there twice`);
    ids.add(whole.id);
    return whole;
  });
  return {
    by: string(by, "gqa_version"),
    started: positive(started, "started_unix"),
    host: string(host, "host"),
    suite: string(suite, "suite"),
    timing: string(timing, "timing"),
    complete: complete === true,
    adapter: {
      name: string(adapter.name, "adapter.name"),
      backend: string(adapter.backend, "adapter.backend"),
      driver: [adapter.driver, adapter.driver_info].filter((part) => typeof part === "string").map(harmless).filter(Boolean).join(" "),
    },
    gflops: positive(roofline.f32_gflops, "roofline.f32_gflops"),
    gbytes: positive(roofline.copy_gbytes, "roofline.copy_gbytes"),
    skipped: skipped.length,
    rows: clean,
  };
}

/** A row that was just measured, or one of a file. */
export function rowOf(row, where = "row") {
  object(row, where);
  const id = string(row.id, `${where}.id`);
  if (id === "") throw refused(`${where} has no id`);
  const time = object(row.time, `row \`${id}\`: time`);
  const figure = (name) => positive(time[name], `row \`${id}\`: time.${name}`);
  const [min, lower, median, upper, max] = ["min", "lower_quartile", "median", "upper_quartile", "max"].map(figure);
  if (!(min <= lower && lower <= median && median <= upper && upper <= max)) throw refused(`row \`${id}\`: its times are in no order`);
  return {
    id,
    group: string(row.group, `row \`${id}\`: group`),
    title: string(row.title, `row \`${id}\`: title`),
    variant: string(row.variant, `row \`${id}\`: variant`),
    flops: positive(row.flops, `row \`${id}\`: flops`),
    share: positive(row.share_of_roofline, `row \`${id}\`: share_of_roofline`),
    time: { min, lower, median, upper, max },
  };
}

function object(value, name) {
  if (value === null || typeof value !== "object" || Array.isArray(value)) throw refused(`\`${name}\` is missing`);
  return value;
}

function string(value, name) {
  if (typeof value !== "string") throw refused(`\`${name}\` is no text`);
  return harmless(value);
}

function positive(value, name) {
  if (!(value >= 1e-30 && value <= 1e30)) throw refused(`\`${name}\` is ${JSON.stringify(value)}, not a positive number that can be measured`);
  return value;
}

const date = ({ started }) => new Date(started * 1000);
const PARTS = [
  ({ adapter }) => adapter.backend,
  ({ adapter }) => adapter.driver,
  ({ host }) => host,
  ({ by }) => `gqa ${by}`,
  ({ suite }) => `${suite} suite`,
  (run) => (Number.isNaN(date(run).valueOf()) ? "" : date(run).toISOString().slice(0, 16).replace("T", " ")),
];

/** What to call each run, no two alike: the adapter's name and, where that is not enough, what tells it from the others. */
export function labels(runs) {
  const names = runs.map(({ adapter }) => adapter.name || `unnamed adapter (${adapter.backend})`);
  const said = runs.map(() => []);
  const key = (i) => JSON.stringify([names[i], said[i]]);
  const alike = (i) => runs.filter((_, j) => key(j) === key(i)).length;
  for (const part of PARTS) {
    const unclear = runs.map((_, i) => i).filter((i) => alike(i) > 1);
    const differs = (i) => unclear.some((j) => names[j] === names[i] && part(runs[j]) !== part(runs[i]));
    for (const i of unclear.filter(differs)) said[i].push(part(runs[i]) || "unknown");
  }
  const seen = new Map();
  return runs.map((_, i) => {
    const label = [names[i], ...said[i]].join(", ");
    const nth = (seen.get(label) ?? 0) + 1;
    seen.set(label, nth);
    return nth > 1 ? `${label}, run ${nth}` : label;
  });
}

/** Rows of the same id side by side, in groups: `[{group, lines: [{id, title, rows}]}]` with a row or nothing for each run. */
export function sideBySide(runs) {
  const groups = new Map();
  runs.forEach(({ rows }, run) => {
    for (const row of rows) {
      if (!groups.has(row.group)) groups.set(row.group, new Map());
      const lines = groups.get(row.group);
      if (!lines.has(row.id)) lines.set(row.id, { id: row.id, title: row.title, rows: runs.map(() => undefined) });
      lines.get(row.id).rows[run] = row;
    }
  });
  return [...groups].map(([group, lines]) => ({ group, lines: [...lines.values()] }));
}

/** How many times as fast as `base` a run is over the rows that both have (a geometric mean), and how many those are. */
export function speedup(run, base) {
  const times = new Map(base.rows.map(({ id, time }) => [id, time.median]));
  const ratios = run.rows.filter(({ id }) => times.has(id)).map(({ id, time }) => times.get(id) / time.median);
  const mean = Math.exp(ratios.reduce((sum, ratio) => sum + Math.log(ratio), 0) / ratios.length);
  return { rows: ratios.length, mean };
}
