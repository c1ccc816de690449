// The colours of scores: lightness goes evenly with the score, from the page's own background on, and hue goes along.
//
// Both schemes take the same way, from a dark blue over green to a pale yellow: light pages from its pale end, dark ones from
// its dark one, so that 0 is always what stands out least.

const STEPS = 256;

/** sRGB bytes of a colour of OKLCH (Björn Ottosson's OKLab in polar form; hue in degrees). */
function srgb(lightness, chroma, hue) {
  const a = chroma * Math.cos((hue * Math.PI) / 180);
  const b = chroma * Math.sin((hue * Math.PI) / 180);
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  const linear = [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ];
  return linear.map((x) => {
    const within = Math.min(1, Math.max(0, x));
    return Math.round(255 * (within <= 0.0031308 ? 12.92 * within : 1.055 * within ** (1 / 2.4) - 0.055));
  });
}

/** The place on the way, 0 the dark end and 1 the pale one. */
const along = (place) => srgb(0.25 + 0.73 * place, 0.015 + 0.08 * (1 - (2 * place - 1) ** 4), 275 - 170 * place);

const WAY = Array.from({ length: STEPS }, (_, i) => along(i / (STEPS - 1)));

/** The colour `[r,g,b]` of a score that is the part `t` of the scale's end. */
export function colourOf(t, dark) {
  const part = Math.min(1, Math.max(0, t || 0));
  return WAY[Math.round((dark ? part : 1 - part) * (STEPS - 1))];
}

/** The part of the scale's end that a colour stands for. */
export function partOf([r, g, b], dark) {
  const distance = ([x, y, z]) => (x - r) ** 2 + (y - g) ** 2 + (z - b) ** 2;
  const nearest = WAY.reduce((best, colour, i) => (distance(colour) < distance(WAY[best]) ? i : best), 0);
  const place = nearest / (STEPS - 1);
  return dark ? place : 1 - place;
}

/** The whole scale as a background of CSS, from left to right. */
export function gradient(dark) {
  const stops = Array.from({ length: 17 }, (_, i) => `rgb(${colourOf(i / 16, dark).join(" ")})`);
  return `linear-gradient(to right, ${stops.join(", ")})`;
}

const query = matchMedia("(prefers-color-scheme: dark)");

export const isDark = () => query.matches;

/** Calls `change()` when the page's scheme changes. */
export const onScheme = (change) => query.addEventListener("change", change);
