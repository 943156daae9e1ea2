// The table of requests, drawn only where it is seen, and a drawer that tells one request's life.

const STATUS = ["served", "rejected", "unfinished"];
const ROW = 28;
const PRINTED = 30;

const COLUMNS = [
  ["id", "request", (value) => String(value)],
  ["arrival_s", "arrival", (value) => `${value.toFixed(3)} s`],
  ["prompt_tokens", "prompt", (value) => value.toLocaleString("en")],
  ["output_tokens", "output", (value) => value.toLocaleString("en")],
  ["cached_tokens", "cached", (value) => value.toLocaleString("en")],
  ["queue_ms", "queue", duration],
  ["ttft_ms", "TTFT", duration],
  ["tpot_ms", "TPOT", duration],
  ["e2e_ms", "E2E", duration],
  ["preemptions", "preempted", (value) => String(value)],
  ["replica", "replica", (value) => String(value)],
  ["status", "status", (value) => STATUS[value]],
];

const FILTER = /^\s*(\w+)\s*(<=|>=|<|>|=)\s*([\d.]+)\s*(us|µs|ms|s|min)?\s*$/i;
const FACTORS = { us: 1e-3, "µs": 1e-3, ms: 1, s: 1e3, min: 60e3 };
const COMPARE = { "<": (a, b) => a < b, ">": (a, b) => a > b, "<=": (a, b) => a <= b, ">=": (a, b) => a >= b, "=": (a, b) => a === b };

// `ttft > 1s, prompt >= 2000` as a test of a row, or what is wrong with it.
function parseFilter(text, rows) {
  const tests = [];
  for (const part of text.split(",").filter((each) => each.trim())) {
    const lone = /^\s*#?(\d+)\s*$/.exec(part);
    if (lone) {
      tests.push((row) => rows.id[row] === Number(lone[1]));
      continue;
    }
    const match = FILTER.exec(part);
    if (!match) return { error: `“${part.trim()}” is no filter: write ttft > 1s, prompt >= 2000, or a request's number` };
    const [, word, sign, number, unit] = match;
    const column = COLUMNS.find(([key, label]) => [key, key.replace(/_.*/, ""), label.toLowerCase()].includes(word.toLowerCase()));
    if (!column) return { error: `no column ${word}: use ${COLUMNS.map((each) => each[1].toLowerCase()).join(", ")}` };
    const key = column[0];
    const factor = key.endsWith("_ms") ? (FACTORS[(unit ?? "ms").toLowerCase()]) : key === "arrival_s" ? FACTORS[(unit ?? "s").toLowerCase()] / 1e3 : 1;
    const limit = Number(number) * factor;
    tests.push((row) => COMPARE[sign](rows[key][row], limit));
  }
  return { test: (row) => tests.every((each) => each(row)) };
}

function missesOf(run, row) {
  const { rows, limits } = run;
  if (rows.status[row] !== 0) return ["not served"];
  return METRICS.filter(([key]) => limits[key] !== null && rows[`${key}_ms`][row] > limits[key] * (1 + 1e-9)).map(([, text]) => text);
}

function requestTable(openDrawer) {
  let run = null;
  let order = [];
  let [sortBy, descending, active] = ["e2e_ms", true, 0];
  const filter = el("input", { type: "search", placeholder: "ttft > 1s, prompt >= 2000", "aria-label": "Filter requests", spellcheck: "false", autocomplete: "off" });
  const misses = el("input", { type: "checkbox", id: "misses" });
  const said = el("output", { class: "note", "aria-live": "polite" });
  const header = el("div", { class: "row header", role: "row", "aria-rowindex": "1" });
  const body = el("div", { class: "rows" });
  const grid = el("div", { class: "grid-body", tabindex: "0", role: "rowgroup", "aria-label": "Requests" }, body);
  const table = el("div", { class: "grid-table", role: "grid", "aria-label": "Requests", "aria-colcount": COLUMNS.length }, el("div", { role: "rowgroup" }, header), grid);
  const node = el("figure", { class: "wide requests" },
    el("figcaption", {},
      el("div", {}, el("h3", { text: "Requests" }), said),
      el("div", { class: "tools" }, filter, el("label", { for: "misses", class: "check" }, misses, "misses a limit"))),
    table,
    el("p", { class: "note keys", text: "↑ ↓ move, Enter opens a request's life, Esc closes it. Filters: a column, < > or =, a number with its unit." }));

  function drawHeader() {
    header.replaceChildren(...COLUMNS.map(([key, label]) => {
      const isSorted = key === sortBy;
      return el("div", { role: "columnheader", class: key, "aria-sort": isSorted ? (descending ? "descending" : "ascending") : "none" },
        el("button", {
          type: "button", text: label + (isSorted ? (descending ? " ↓" : " ↑") : ""), "aria-label": `Sort by ${label}`,
          onclick: () => {
            [sortBy, descending] = [key, isSorted ? !descending : key !== "id" && key !== "arrival_s"];
            arrange();
            header.children[COLUMNS.findIndex((each) => each[0] === key)].firstChild.focus();
          },
        }));
    }));
  }

  function arrange() {
    const { test, error } = parseFilter(filter.value, run.rows);
    filter.setAttribute("aria-invalid", String(Boolean(error)));
    const passes = error ? () => false : test;
    order = [];
    for (let row = 0; row < run.size; row++) {
      if (passes(row) && (!misses.checked || missesOf(run, row).length)) order.push(row);
    }
    const column = run.rows[sortBy];
    const sign = descending ? -1 : 1;
    order.sort((one, other) => {
      const [a, b] = [column[one], column[other]];
      if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b) || one - other;
      return sign * (a - b) || one - other;
    });
    said.textContent = error ?? `${order.length.toLocaleString("en")} of ${plural(run.size, "request")}`;
    active = 0;
    grid.scrollTop = 0;
    table.setAttribute("aria-rowcount", order.length + 1);
    drawHeader();
    draw();
  }

  function rowNode(place) {
    const row = order[place];
    const missed = missesOf(run, row);
    const cells = COLUMNS.map(([key, label, words]) => {
      const value = run.rows[key][row];
      const isMissed = missed.includes(label);
      const text = Number.isNaN(value) ? "–" : words(value);
      return el("div", { role: "gridcell", class: key + (isMissed ? " missed" : ""), text });
    });
    return el("div", {
      class: "row", role: "row", id: `row-${row}`, "aria-rowindex": place + 2, "aria-selected": String(place === active),
      onclick: () => { active = place; draw(); open(); },
    }, ...cells);
  }

  function draw() {
    const first = Math.max(0, Math.floor(grid.scrollTop / ROW) - 5);
    const last = Math.min(order.length, first + Math.ceil((grid.clientHeight || 400) / ROW) + 10);
    body.style.height = `${order.length * ROW}px`;
    const rows = [];
    for (let place = first; place < last; place++) {
      const node = rowNode(place);
      node.style.top = `${place * ROW}px`;
      rows.push(node);
    }
    body.replaceChildren(...rows);
    if (order.length) grid.setAttribute("aria-activedescendant", `row-${order[active]}`);
    else grid.removeAttribute("aria-activedescendant");
  }

  function move(to) {
    if (!order.length) return null;
    active = Math.max(0, Math.min(order.length - 1, to));
    const top = active * ROW;
    if (top < grid.scrollTop) grid.scrollTop = top;
    else if (top + ROW > grid.scrollTop + grid.clientHeight) grid.scrollTop = top + ROW - grid.clientHeight;
    draw();
    return order[active];
  }

  function open() {
    if (order.length) openDrawer(run, order[active], { back: grid, next: (way) => move(active + way) });
  }

  grid.addEventListener("scroll", () => requestAnimationFrame(draw));
  grid.addEventListener("keydown", (event) => {
    const page = Math.max(1, Math.floor(grid.clientHeight / ROW) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -order.length, End: order.length };
    if (event.key in steps) move(active + steps[event.key]);
    else if (event.key === "Enter" || event.key === " ") open();
    else return;
    event.preventDefault();
  });
  let wait = 0;
  filter.addEventListener("input", () => { clearTimeout(wait); wait = setTimeout(arrange, 120); });
  filter.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown") { event.preventDefault(); grid.focus(); }
  });
  misses.addEventListener("change", arrange);
  window.addEventListener("beforeprint", () => {
    if (!run) return;
    body.replaceChildren(...order.slice(0, PRINTED).map((_, place) => rowNode(place)));
    body.style.height = "auto";
  });
  window.addEventListener("afterprint", () => run && draw());
  return { node, update: (given) => { run = given; arrange(); } };
}

// ---- one request's life ------------------------------------------------------------------------------------------

function drawer() {
  const content = el("div", { class: "life" });
  const close = el("button", { type: "button", class: "close", "aria-label": "Close", text: "×", onclick: () => hide() });
  const node = el("aside", { class: "drawer", role: "dialog", "aria-label": "One request's life", hidden: true }, close, content);
  let at = null;
  function show(run, row, where) {
    at = { run, where };
    content.replaceChildren(...lifeOf(run, row));
    const wasHidden = node.hidden;
    node.hidden = false;
    if (wasHidden) close.focus();
  }
  function hide() {
    if (node.hidden) return;
    node.hidden = true;
    at.where.back.focus();
  }
  node.addEventListener("keydown", (event) => {
    const way = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!way) return;
    event.preventDefault();
    const row = at.where.next(way);
    if (row !== null) show(at.run, row, at.where);
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
  return { node, show };
}

// Causes of a request as {label, text, family, ms}, up to the first token and after it.
function phasesOf(run, row) {
  const { rows, lives } = run;
  const times = { to_first: rows.ttft_ms[row], after_first: rows.e2e_ms[row] - rows.ttft_ms[row] };
  return Object.entries(times).map(([phase, whole]) => ({
    phase, whole,
    causes: (lives?.[phase] ?? [])
      .map((each) => ({ ...run.labels.find((label) => label.label === each.label), ms: each.share(row) * whole }))
      .filter((each) => each.ms > whole * 5e-4),
  }));
}

function lifeOf(run, row) {
  const { rows } = run;
  const missed = missesOf(run, row);
  const head = [
    el("h2", { text: `Request ${rows.id[row]}` }),
    el("p", { class: "note", text: `${STATUS[rows.status[row]]} by replica ${rows.replica[row]}, arrived at ${rows.arrival_s[row].toFixed(3)} s` + (rows.session[row] >= 0 ? `, session ${rows.session[row]}` : "") }),
  ];
  if (missed.length) head.push(el("p", { class: "verdict missed", text: missed[0] === "not served" ? "not served" : `misses its limit on ${missed.join(" and ")}` }));
  const facts = [
    ["prompt", plural(rows.prompt_tokens[row], "token")], ["from cache", plural(rows.cached_tokens[row], "token")],
    ["output", plural(rows.output_tokens[row], "token")], ["preempted", plural(rows.preemptions[row], "time")],
    ...METRICS.map(([key, text]) => [text, duration(rows[`${key}_ms`][row])]), ["until scheduled", duration(rows.queue_ms[row])],
  ];
  head.push(el("dl", { class: "facts" }, ...facts.map(([name, text]) => el("div", {}, el("dt", { text: name }), el("dd", { text })))));
  if (rows.status[row] !== 0) return head;
  const phases = phasesOf(run, row);
  if (!phases.some((phase) => phase.causes.length)) return head;
  return [...head, lifeBar(phases, rows.e2e_ms[row]), ...phases.filter((phase) => phase.causes.length).map((phase) => phaseTable(phase))];
}

function lifeBar(phases, whole) {
  const [width, height] = [420, 56];
  const svg = canvas(width, height, `A life of ${duration(whole)}: first token after ${duration(phases[0].whole)}`);
  const x = linear(0, whole, 0, width);
  let sum = 0;
  for (const phase of phases) {
    for (const cause of phase.causes) {
      const part = shape("rect", { class: `part ${cause.family}`, x: x(sum), y: 20, width: Math.max(0.5, x(sum + cause.ms) - x(sum)), height: 20 });
      part.append(shape("title", { text: `${cause.text}: ${duration(cause.ms)}` }));
      svg.append(part);
      sum += cause.ms;
    }
    sum = phases[0].whole;
  }
  const first = x(phases[0].whole);
  svg.append(
    shape("line", { class: "limit", x1: first, x2: first, y1: 14, y2: 44 }),
    write(Math.min(width - 2, Math.max(2, first)), 10, `first token ${duration(phases[0].whole)}`, { class: "mark", "text-anchor": first > width / 2 ? "end" : "start" }),
    write(0, 54, "0", { class: "tick" }), write(width, 54, duration(whole), { class: "tick", "text-anchor": "end" }),
  );
  return svg;
}

function phaseTable({ phase, whole, causes }) {
  const title = phase === "to_first" ? "up to the first token" : "from the first token to the last";
  const rows = [...causes].sort((one, other) => other.ms - one.ms).map((cause) =>
    el("tr", {}, el("th", { scope: "row" }, el("i", { class: `swatch ${cause.family}` }), cause.text), el("td", { text: duration(cause.ms) }), el("td", { text: percent(cause.ms / whole, 0) })));
  return el("table", { class: "numbers" }, el("caption", { text: `${title}: ${duration(whole)}` }), el("tbody", {}, ...rows));
}
