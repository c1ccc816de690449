// Making and changing elements.

/**
 * An element: properties that it has are set as such, `data` and `style` from objects, the rest as attributes (none for
 * null, undefined and false).
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "data") Object.assign(element.dataset, value);
    else if (name === "style") for (const [key, text] of Object.entries(value)) element.style.setProperty(key, text);
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === null || value === undefined || value === false) continue;
    else element.setAttribute(name === "className" ? "class" : name, value === true && !name.startsWith("aria-") ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** An element of SVG. */
export function s(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.flat());
  return element;
}

export const byId = (id) => document.getElementById(id);

/** A `<dl>` of pairs of a term and what it is. */
export function facts(pairs) {
  return h("dl", { className: "facts" }, pairs.map(([term, text]) => h("div", {}, h("dt", {}, term), h("dd", {}, text))));
}

/** Hands the browser a file to keep. */
export function download(name, content, type = "application/octet-stream") {
  const url = URL.createObjectURL(new Blob([content], { type }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/**
 * Calls `take` with the files that are chosen with an input, or dropped anywhere on the page while `section` is shown (it has
 * the class "over" while they hang above it).
 */
export function takeFiles(section, input, take) {
  input.addEventListener("change", () => {
    const files = [...input.files];
    // The same file may be chosen again after it was changed.
    input.value = "";
    if (files.length > 0) take(files);
  });
  const over = (on) => section.classList.toggle("over", on);
  addEventListener("dragover", (event) => over(!section.hidden && [...event.dataTransfer.types].includes("Files")));
  addEventListener("dragleave", (event) => event.relatedTarget === null && over(false));
  addEventListener("drop", (event) => {
    over(false);
    const files = [...event.dataTransfer.files];
    if (!section.hidden && files.length > 0) take(files);
  });
}
