// Times gqa-web and onnxruntime-web in one page, row by row, and prints a table. See README.md.
import { existsSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';

const here = new URL('.', import.meta.url).pathname;
process.env.GQA_TOOLS ??= here;
const { launch, packageFolder } = await import('../tests/support.mjs');

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '9' },
    rows: { type: 'string' },
    forms: { type: 'string' },
    output: { type: 'string', short: 'o' },
  },
});
const rounds = Number(values.rounds);
if (!Number.isInteger(rounds) || rounds < 1) throw new Error('--rounds takes a whole number from 1 on');
for (const folder of [`${here}node_modules/onnxruntime-web`, packageFolder]) {
  if (!existsSync(folder)) throw new Error(`${folder} is missing: see README.md`);
}

const ms = (time) => time.toPrecision(time < 100 ? 3 : 4);

/** One line of the table, and what each contender came to. */
function report({ row, results, refused }) {
  const { gqa, 'gqa, tuned': tuned, ...theirs } = results;
  const [best] = Object.entries(theirs).sort(([, a], [, b]) => a.median - b.median);
  const ratio = (own) => (own && best ? (best[1].median / own.median).toFixed(2) : '');
  const cell = (result) => (result ? `${ms(result.median)} (${ms(result.min)})` : '');
  const line = [row, cell(gqa), cell(tuned), cell(best?.[1]), ratio(gqa), ratio(tuned), best?.[0] ?? 'none'];
  const details = [
    ...Object.entries(results).map(([name, { median, error }]) => `${name}: ${ms(median)} ms, error ${error.toExponential(1)}`),
    ...Object.entries(refused).map(([name, why]) => `${name}: ${why}`),
  ];
  return { line: `| ${line.join(' | ')} |`, details };
}

const { browser, page, url, close } = await launch({ folder: here, mounts: { 'gqa-web': packageFolder } });
let failed = false;
try {
  const compared = [];
  const names = values.rows?.split(',');
  await page.goto(url);
  await page.waitForFunction(() => globalThis.rowNames);
  for (const name of await page.evaluate(() => globalThis.rowNames)) {
    if (names && !names.some((part) => name.includes(part))) continue;
    // A page of its own, so that nothing of the rows before is left.
    await page.goto(url);
    await page.waitForFunction(() => globalThis.compare);
    const options = { name, rounds, forms: values.forms?.split(',') };
    compared.push(await page.evaluate((options) => globalThis.compare(options), options));
    console.log([name, ...report(compared.at(-1)).details].join('\n  '));
    if (values.output) {
      const [{ adapter, ort }] = compared;
      const all = { browser: browser.version(), adapter, ort, rounds, rows: compared };
      writeFileSync(values.output, `${JSON.stringify(all, null, 1)}\n`);
    }
  }
  if (compared.length === 0) throw new Error('no row has such a name');
  const [{ adapter, ort }] = compared;
  console.log(`\nChromium ${browser.version()}, adapter ${adapter.name}, onnxruntime-web ${ort}; medians (least) of ${rounds} in ms\n`);
  console.log('| row | gqa | gqa, tuned | onnxruntime-web | ratio | ratio, tuned | its fastest form |\n|---|---|---|---|---|---|---|');
  for (const row of compared) console.log(report(row).line);
  // Forms of the other library that are wrong are reported; one has to be right.
  failed = compared.some(({ results }) => !results.gqa || !results['gqa, tuned'] || Object.keys(results).length < 3);
} finally {
  await close();
}
process.exitCode = failed ? 1 : 0;
