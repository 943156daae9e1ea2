// Elements, numbers as people read them, scales, and the frame that every chart stands in.

const PAGES = {}; // kind of data -> what draws it
const NS = "http://www.w3.org/2000/svg";

function dress(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") node.textContent = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

const el = (tag, attributes = {}, ...children) => dress(document.createElement(tag), attributes, children);
const shape = (tag, attributes = {}, ...children) => dress(document.createElementNS(NS, tag), attributes, children);

function write(x, y, text, attributes = {}) {
  return shape("text", { x, y, text, ...attributes });
}

const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;

function significant(value, digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (value === 0) return "0";
  const places = Math.min(8, Math.max(0, digits - 1 - Math.floor(Math.log10(Math.abs(value)))));
  return value.toLocaleString("en", { minimumFractionDigits: 0, maximumFractionDigits: places });
}

// Milliseconds in the unit that reads best.
function duration(ms) {
  if (ms === null || ms === undefined || Number.isNaN(ms)) return "–";
  const size = Math.abs(ms);
  if (size >= 600e3) return `${significant(ms / 60e3)} min`;
  if (size >= 1e3) return `${significant(ms / 1e3)} s`;
  return size > 0 && size < 0.1 ? `${significant(ms * 1e3)} µs` : `${significant(ms)} ms`;
}

// A text whose lines don't end between a number and its unit.
const unbroken = (text) => text.replace(/(\d) (?=(?:µs|ms|s|min)\b)/g, "$1\u00a0");

const percent = (share, digits = 1) => {
  if (share === null || share === undefined || Number.isNaN(share)) return "–";
  const text = (100 * share).toFixed(digits);
  return `${share < 1 && Number(text) === 100 ? (100 * share).toFixed(digits + 2) : text} %`;
};

function linear(from, to, begin, end) {
  const span = to - from || 1;
  const scale = (value) => begin + ((value - from) / span) * (end - begin);
  scale.back = (place) => from + ((place - begin) / (end - begin)) * span;
  return scale;
}

function logarithmic(from, to, begin, end) {
  const inner = linear(Math.log(from), Math.log(to), begin, end);
  const scale = (value) => inner(Math.log(Math.max(value, 1e-12)));
  scale.back = (place) => Math.exp(inner.back(place));
  return scale;
}

function ticks(from, to, count = 5) {
  const rough = (to - from) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough);
  const found = [];
  for (let place = Math.ceil(from / step); place * step <= to + step * 1e-9; place++) found.push(place * step);
  return found;
}

function logTicks(from, to, most = 6) {
  const all = (parts) => {
    const found = [];
    for (let power = Math.floor(Math.log10(from)); power <= Math.ceil(Math.log10(to)); power++) {
      for (const part of parts) {
        const value = part * 10 ** power;
        if (value >= from * 0.999 && value <= to * 1.001) found.push(value);
      }
    }
    return found;
  };
  for (const parts of [[1, 1.5, 2, 3, 4, 5, 6, 8], [1, 2, 3, 5], [1, 2, 5], [1, 3], [1]]) {
    const found = all(parts);
    if (found.length <= most && found.length > 1) return found;
  }
  return all([1]);
}

// ---- a chart in its frame ----------------------------------------------------------------------------------

const redraws = new Set();
let queued = 0;

function redrawAll() {
  cancelAnimationFrame(queued);
  queued = requestAnimationFrame(() => redraws.forEach((redraw) => redraw()));
}

// A figure that draws itself at the width it has. `draw(width)` returns an svg, or null where there is nothing.
function figure(title, { note = "", name, draw, tools = [], below = null, wide = false }) {
  const plot = el("div", { class: "plot" });
  const words = el("p", { class: "note", text: note });
  const exports = ["SVG", "PNG"].map((kind) =>
    el("button", {
      type: "button", class: "quiet", text: kind, "aria-label": `Save ${title} as ${kind}`,
      onclick: () => exported(plot.querySelector("svg"), name, kind.toLowerCase()),
    }),
  );
  const head = el("figcaption", {}, el("div", {}, el("h3", { text: title }), words), el("div", { class: "tools" }, ...tools, ...exports));
  const node = el("figure", { class: wide ? "wide" : "" }, head, plot, below);
  let drawnAt = 0;
  const redraw = (force = true) => {
    const width = Math.floor(plot.clientWidth);
    if (!width || (!force && width === drawnAt)) return;
    drawnAt = width;
    const found = draw(width);
    plot.replaceChildren(...(found ? [found] : [el("p", { class: "nothing", text: "nothing to show" })]));
  };
  new ResizeObserver(() => redraw(false)).observe(plot);
  redraws.add(redraw);
  return { node, redraw, say: (text) => { words.textContent = text; } };
}

function canvas(width, height, label) {
  return shape("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label, class: "chart" });
}

function choice(label, options, chosen, changed) {
  const group = el("div", { class: "choice", role: "group", "aria-label": label });
  const press = (key) => {
    buttons.forEach((each, place) => each.setAttribute("aria-pressed", String(options[place][0] === key)));
    changed(key);
  };
  const buttons = options.map(([key, text]) => el("button", { type: "button", text, "aria-pressed": String(key === chosen), onclick: () => press(key) }));
  group.append(...buttons);
  group.pick = (key, isThere) => { buttons.forEach((each, place) => { each.hidden = !isThere(options[place][0]); }); press(key); };
  return group;
}

// ---- what the pointer or the arrow keys point at --------------------------------------------------------------

const tip = el("div", { class: "tip", role: "status", hidden: true });

function showTip(lines, x, y) {
  tip.replaceChildren(...lines.map((line, place) => el("div", { class: place ? "" : "first", text: line })));
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(8, Math.min(x + 14, window.innerWidth - box.width - 8))}px`;
  tip.style.top = `${Math.max(8, y - box.height - 12)}px`;
}

function hideTip() {
  tip.hidden = true;
}

// A hair line between two x places that follows the pointer and the arrow keys; `read(x)` returns {lines, x}.
function probe(svg, { from, to, top, bottom, read, keys = true }) {
  const hair = shape("line", { class: "hair", y1: top, y2: bottom, visibility: "hidden" });
  svg.append(hair);
  let place = (from + to) / 2;
  const show = (x) => {
    place = Math.max(from, Math.min(to, x));
    const found = read(place);
    if (!found) return;
    const at = found.x ?? place;
    dress(hair, { x1: at, x2: at, visibility: "visible" }, []);
    const box = svg.getBoundingClientRect();
    const scale = box.width / svg.viewBox.baseVal.width;
    showTip(found.lines, box.left + at * scale, box.top + (found.y ?? top) * scale);
  };
  const hide = () => { hair.setAttribute("visibility", "hidden"); hideTip(); };
  svg.setAttribute("tabindex", "0");
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    show(((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width);
  });
  svg.addEventListener("pointerleave", hide);
  svg.addEventListener("blur", hide);
  svg.addEventListener("keydown", (event) => {
    const way = keys && { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (way) {
      event.preventDefault();
      show(place + (way * (to - from)) / (event.shiftKey ? 10 : 60));
    } else if (event.key === "Escape") hide();
  });
}

// ---- charts as files -----------------------------------------------------------------------------------------

const KEPT = ["fill", "stroke", "stroke-width", "stroke-dasharray", "opacity", "fill-opacity", "paint-order", "stroke-linejoin", "stroke-linecap", "font-size", "font-weight", "text-anchor"];

// A copy that needs no style sheet: colours and sizes as they are on the page now.
function standalone(svg) {
  const copy = svg.cloneNode(true);
  const [from, to] = [svg, copy].map((each) => [each, ...each.querySelectorAll("*")]);
  from.forEach((node, place) => {
    const style = getComputedStyle(node);
    for (const name of KEPT) to[place].setAttribute(name, style.getPropertyValue(name));
    to[place].removeAttribute("class");
  });
  copy.querySelectorAll('[visibility="hidden"]').forEach((node) => node.remove());
  const paper = getComputedStyle(document.body).backgroundColor;
  copy.prepend(shape("rect", { width: "100%", height: "100%", fill: paper }));
  dress(copy, { xmlns: NS, "font-family": "Helvetica Neue, Helvetica, Arial, sans-serif" }, []);
  return new XMLSerializer().serializeToString(copy);
}

function exported(svg, name, kind) {
  if (!svg) return;
  const text = standalone(svg);
  const source = URL.createObjectURL(new Blob([text], { type: "image/svg+xml" }));
  if (kind === "svg") return download(source, `${name}.svg`);
  const image = new Image();
  image.onload = () => {
    const { width, height } = svg.viewBox.baseVal;
    const picture = el("canvas", { width: 2 * width, height: 2 * height });
    picture.getContext("2d").drawImage(image, 0, 0, 2 * width, 2 * height);
    URL.revokeObjectURL(source);
    picture.toBlob((blob) => download(URL.createObjectURL(blob), `${name}.png`));
  };
  image.src = source;
}

function download(address, name) {
  const link = el("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
