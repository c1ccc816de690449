// Horizontal bars of SVG: a title for each line of work, and under it a bar for each run.
//
// Places along the axis are percentages and everything else is pixels, so that a drawing takes the width that there is and
// its text keeps its size.
import { s } from "./dom.js";

const AXIS = 22;
const TITLE = 20;
const BAR = 16;
const GAP = 10;
/** The part of the width that bars take, in percent; the rest is for the figures after them. */
const WIDTH = 78;
/** What stands before the bars where there are several runs: their numbers. */
const NUMBER = 16;
/** Values further apart than this are drawn on a logarithmic axis, where small ones can still be told apart. */
const WIDE = 40;
export const COLOURS = 6;

export const series = (run) => `s${(run % COLOURS) + 1}`;

/** Three figures, without an exponent where that is readable. */
export function figure(x) {
  if (x === 0) return "0";
  if (x >= 1e6 || x < 1e-3) return x.toExponential(1).replace("e+", "e");
  return x >= 100 ? String(Math.round(x)) : String(+x.toPrecision(3));
}

/** What can be drawn of a row: a value, the least and the most of it, and its unit. */
export const METRICS = {
  gflops: {
    title: "speed (GFLOP/s)",
    unit: "GFLOP/s, more is better",
    of: ({ flops, time }) => [time.median, time.max, time.min].map((ms) => flops / ms / 1e6),
  },
  ms: { title: "time (ms)", unit: "milliseconds, less is better", of: ({ time }) => [time.median, time.min, time.max] },
  share: {
    title: "share of the limit",
    unit: "share of what the adapter could do at most: 1 is the limit",
    of: ({ share, time }) => [share, (share * time.median) / time.max, (share * time.median) / time.min],
  },
};

/** An axis for values: where each lies (0 to 1), and marks along it. */
export function axis(values) {
  const [least, most] = [Math.min(...values), Math.max(...values)];
  if (most / least > WIDE) {
    const [from, to] = [Math.floor(Math.log10(least)), Math.ceil(Math.log10(most))];
    const step = Math.ceil((to - from) / 4);
    const marks = Array.from({ length: to - from + 1 }, (_, i) => from + i).filter((i) => (i - from) % step === 0);
    return { log: true, place: (x) => (Math.log10(x) - from) / (to - from), marks: marks.map((power) => 10 ** power) };
  }
  const rough = most / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const marks = Array.from({ length: 6 }, (_, i) => i * step).filter((x) => x <= most * 1.001);
  return { log: false, place: (x) => x / most, marks };
}

/** The bars of one group; `names` are the runs' names, for those who can't see them. */
export function chart({ group, lines }, metric, names) {
  const { of, unit } = METRICS[metric];
  const values = lines.flatMap(({ rows }) => rows.filter(Boolean).flatMap(of));
  const scale = axis(values);
  const x = (value) => `${(Math.min(1, Math.max(0, scale.place(value))) * WIDTH).toFixed(2)}%`;
  const left = names.length > 1 ? NUMBER : 0;
  const parts = [];
  const numbers = [];
  let top = AXIS;
  for (const { title, rows } of lines) {
    numbers.push(s("text", { class: "title", x: left + 4, y: top + 14 }, title));
    top += TITLE;
    rows.forEach((row, run) => {
      parts.push(bar(row && of(row), { top, run, scale, x }));
      if (left) numbers.push(s("text", { class: "mark first", x: 0, y: top + BAR / 2 + 4 }, String(run + 1)));
      top += BAR;
    });
    top += GAP;
  }
  const marks = scale.marks.flatMap((mark) => [
    s("line", { class: "grid", x1: x(mark), x2: x(mark), y1: AXIS - 4, y2: top }),
    s("text", { class: "mark", x: x(mark), y: AXIS - 9, ...(mark === scale.marks[0] && { class: "mark first" }) }, figure(mark)),
  ]);
  const label = `${group}: ${lines.length} rows of ${names.join(" and ")}; ${unit}${scale.log ? ", logarithmic" : ""}. The table below has the numbers.`;
  return { log: scale.log, svg: s("svg", { role: "img", "aria-label": label, width: "100%", height: top, class: "bars" }, numbers, s("g", { transform: `translate(${left})` }, marks, parts)) };
}

function bar(values, { top, run, scale, x }) {
  const middle = top + BAR / 2;
  if (!values) return s("text", { class: "absent", x: 4, y: middle + 4 }, "not measured");
  const [value, least, most] = values;
  const spread = s("line", { class: "spread", x1: x(least), x2: x(most), y1: middle, y2: middle });
  const shape = scale.log
    // A length means nothing on this axis: its end is marked, and the way to it only hinted at.
    ? [s("line", { class: "stem", x1: 0, x2: x(value), y1: middle, y2: middle }), spread, s("circle", { cx: x(value), cy: middle, r: 4.5 })]
    : [s("rect", { x: 0, y: top + 2, width: x(value), height: BAR - 4, rx: 1.5 }), spread];
  const end = scale.place(most) > scale.place(value) ? most : value;
  return s("g", { class: series(run) }, shape, s("text", { class: "value", x: x(end), dx: 8, y: middle + 4 }, figure(value)));
}
