// Runs the script of a page over a document of the least that it asks for, and prints what it made: no browser is needed.
//
//   node dom.js PAGE.html [STEPS.js]     STEPS: a function body of `page` (see below), whose result is printed as `said`

const fs = require("node:fs");
const vm = require("node:vm");

class Node {
  constructor(tag) {
    Object.assign(this, { tag, attributes: {}, children: [], listeners: {}, parent: null, style: {}, dataset: {}, hidden: false, value: "", checked: false });
    [this.scrollTop, this.scrollLeft, this.clientHeight, this.clientWidth] = [0, 0, 420, 1136];
    this.viewBox = { baseVal: { width: 600, height: 230 } };
    this.classList = { add: (name) => { this.extra = name; }, remove: () => { this.extra = null; } };
  }
  setAttribute(name, value) {
    this.attributes[name] = String(value);
    if (["value", "type", "placeholder", "min", "max"].includes(name)) this[name] = value;
    if (name === "hidden") this.hidden = true;
  }
  getAttribute(name) { return this.attributes[name] ?? null; }
  hasAttribute(name) { return name in this.attributes; }
  removeAttribute(name) { delete this.attributes[name]; }
  adopt(given) {
    return given.map((each) => {
      const node = each instanceof Node ? each : Object.assign(new Node("#text"), { data: String(each) });
      if (node.parent) node.remove();
      node.parent = this;
      return node;
    });
  }
  append(...given) { this.children.push(...this.adopt(given)); }
  prepend(...given) { this.children.unshift(...this.adopt(given)); }
  replaceChildren(...given) { this.children.forEach((each) => { each.parent = null; }); this.children = []; this.append(...given); }
  before(...given) { const made = this.parent.adopt(given); this.parent.children.splice(this.parent.children.indexOf(this), 0, ...made); }
  remove() { this.parent.children.splice(this.parent.children.indexOf(this), 1); this.parent = null; }
  get firstChild() { return this.children[0] ?? null; }
  get lastChild() { return this.children.at(-1) ?? null; }
  get textContent() { return this.data ?? this.children.map((each) => each.textContent).join(""); }
  set textContent(text) { this.replaceChildren(String(text)); }
  addEventListener(name, act) { (this.listeners[name] ??= []).push(act); }
  fire(name, more = {}) {
    const event = { type: name, currentTarget: this, target: this, preventDefault() {}, stopPropagation() {}, clientX: 300, clientY: 100, ...more };
    (this.listeners[name] ?? []).forEach((act) => act(event));
  }
  focus() { document.activeElement = this; }
  click() { this.fire("click"); }
  checkValidity() { return this.value !== "" && Number(this.value) >= Number(this.min) && Number(this.value) <= Number(this.max); }
  getBoundingClientRect() { return { left: 0, top: 0, width: 600, height: 230, right: 600, bottom: 230 }; }
  setPointerCapture() {}
  all() { return this.children.flatMap((each) => [each, ...each.all()]); }
  querySelectorAll(words) {
    if (words.startsWith(".")) return this.all().filter((each) => (each.attributes.class ?? "").split(" ").includes(words.slice(1)));
    return this.all().filter((each) => each.tag === words);
  }
  querySelector(words) { return this.querySelectorAll(words)[0] ?? null; }
}

const html = fs.readFileSync(process.argv[2], "utf8");
const block = (pattern) => pattern.exec(html)[1];
const root = new Node("html");
const body = new Node("body");
root.append(body);
const held = Object.assign(new Node("script"), { data: block(/id="data">([\s\S]*?)<\/script>/) });
held.setAttribute("id", "data");
body.append(held);

const document = Object.assign(new Node("#document"), {
  body, documentElement: root, activeElement: body,
  createElement: (tag) => new Node(tag),
  createElementNS: (_, tag) => new Node(tag),
  getElementById: (id) => body.all().find((each) => each.attributes.id === id) ?? null,
});
const answers = []; // of `fetch`, given by the steps: {status, parts}
const asked = [];
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const surroundings = {
  document, console, URLSearchParams, AbortController, TextDecoderStream, performance, setTimeout, clearTimeout, atob, URL, Blob,
  location: { hash: "", pathname: "/" },
  history: { replaceState: (_, __, to) => { surroundings.location.hash = to.startsWith("#") ? to : ""; } },
  requestAnimationFrame: (act) => setTimeout(act, 0), cancelAnimationFrame: clearTimeout,
  ResizeObserver: class { observe() {} },
  fetch: async (to, { body: sent, signal }) => {
    asked.push(JSON.parse(sent));
    const { status, parts, pause = 0 } = answers.length > 1 ? answers.shift() : answers[0];
    await wait(pause);
    if (signal.aborted) throw Object.assign(new Error("aborted"), { name: "AbortError" });
    const stream = new ReadableStream({ start: async (line) => { for (const part of parts) { line.enqueue(new TextEncoder().encode(part)); await wait(pause); } line.close(); } });
    return { status, ok: status === 200, body: stream, json: async () => JSON.parse(parts.join("")) };
  },
};
const ears = new Node("window");
surroundings.window = Object.assign(ears, { innerWidth: 1280, innerHeight: 900, matchMedia: () => ({ matches: false, addEventListener() {} }) });

const page = {
  document, body, answers, asked, wait, root, window: ears, location: surroundings.location,
  labelled: (text) => body.all().find((each) => each.attributes["aria-label"] === text),
  button: (text) => body.all().find((each) => each.tag === "button" && each.textContent === text),
  text: (words) => body.querySelectorAll(words).map((each) => each.textContent),
};

async function main() {
  const steps = process.argv[3] ? fs.readFileSync(process.argv[3], "utf8") : "";
  const [before, after] = steps.includes("// ----") ? steps.split("// ----") : ["", steps];
  new Function("page", before)(page);
  vm.runInNewContext(block(/<script>([\s\S]*?)<\/script>\s*<\/body>/), surroundings);
  const said = await (Object.getPrototypeOf(async () => {}).constructor("page", after))(page);
  await wait(20);
  console.log(JSON.stringify({ ready: root.dataset.ready, charts: body.querySelectorAll("svg").filter((each) => each.children.length).length, text: body.textContent, said: said ?? null }));
}

main().catch((error) => { console.error(error.stack); process.exit(1); });
