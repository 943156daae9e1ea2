// The live page: every control plays the scenario again; only the newest answer counts.

const GROUPS = [["deployment", "Deployment"], ["traffic", "Traffic"], ["limits", "Limits"], ["policies", "Policies"], ["engine", "Engine"]];
const PAUSE_MS = 250; // until a run that another tab's took the place of is asked for again
const PATIENCE_MS = 400; // a movement lets the run under way draw its curves first, unless that takes longer than this

function slider(control, value, changed) {
  const { low, high, log, is_whole: isWhole } = control;
  const place = (number) => (log ? Math.log(number / low) / Math.log(high / low) : (number - low) / (high - low));
  const rounded = (number) => (isWhole ? Math.round(number) : Number(number.toPrecision(3)));
  const at = (share) => Math.min(high, Math.max(low, rounded(log ? low * (high / low) ** share : low + share * (high - low))));
  const unit = control.unit ? ` in ${control.unit}` : "";
  const range = el("input", { type: "range", min: 0, max: 1, step: 0.001, "aria-label": `${control.label}${unit}` });
  const box = el("input", { type: "number", min: low, max: high, step: isWhole ? 1 : "any", "aria-label": `${control.label}${unit}, exact`, placeholder: control.group === "limits" ? "none" : "default" });
  const show = (number) => {
    box.value = number ?? "";
    range.value = number === null ? 0 : place(number);
    dress(range, { "aria-valuetext": number === null ? box.placeholder : `${number} ${control.unit}` }, []);
  };
  range.addEventListener("input", () => { const number = at(Number(range.value)); show(number); changed(number); });
  box.addEventListener("input", () => {
    const number = box.value === "" ? null : Number(box.value);
    const isFine = number === null ? control.is_optional : box.checkValidity();
    box.setAttribute("aria-invalid", String(!isFine));
    if (!isFine) return;
    range.value = number === null ? 0 : place(number);
    changed(number);
  });
  show(value);
  return { node: el("div", { class: "control" }, el("span", { class: "label", text: control.label }), range, box, el("span", { class: "unit", text: control.unit })), show };
}

function chooser(control, value, changed) {
  const select = el("select", { "aria-label": control.label }, ...control.options.map((option) => el("option", { value: option, text: option })));
  select.value = value;
  select.addEventListener("change", () => changed(select.value));
  return { node: el("div", { class: "control" }, el("span", { class: "label", text: control.label }), select), show: (given) => { select.value = given; } };
}

// A scenario in the part of the address that is never sent: only what differs from where the page began.
function toHash(values, start) {
  const changed = Object.entries(values).filter(([name, value]) => value !== start[name]);
  return changed.length ? `#${new URLSearchParams(changed.map(([name, value]) => [name, value ?? ""]))}` : "";
}

function fromHash(controls, start) {
  const values = { ...start };
  for (const [name, text] of new URLSearchParams(location.hash.slice(1))) {
    const control = controls.find((each) => each.name === name);
    if (!control) continue;
    if (control.options.length) {
      if (control.options.includes(text)) values[name] = text;
    } else if (text === "" && control.is_optional) values[name] = null;
    else if (text !== "" && Number(text) >= control.low && Number(text) <= control.high) values[name] = Number(text);
  }
  return values;
}

async function* linesOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (let read = await reader.read(); !read.done; read = await reader.read()) {
    const lines = (rest + read.value).split("\n");
    rest = lines.pop();
    yield* lines;
  }
}

function livePage(data) {
  const { controls, scenario: start } = data;
  let values = fromHash(controls, start);
  let [abort, timer, last, pinned] = [null, 0, null, null];
  let [drawing, again] = [null, false]; // since when curves are waited for, and whether something moved meanwhile
  const charts = runCharts();
  const said = el("p", { class: "note said", role: "status" });
  const results = el("div", { class: "results" });
  const top = el("div", { class: "top" });
  const line = el("code", { class: "command" });
  const made = new Map(controls.map((control) => {
    const changed = (value) => { values[control.name] = value; soon(); };
    return [control.name, (control.options.length ? chooser : slider)(control, values[control.name], changed)];
  }));
  const showAll = () => made.forEach((each, name) => each.show(values[name]));

  function soon() {
    history.replaceState(null, "", toHash(values, start) || location.pathname);
    clearTimeout(timer);
    if (drawing !== null && performance.now() - drawing < PATIENCE_MS) again = true;
    else timer = setTimeout(play, 0);
  }

  async function play() {
    abort?.abort();
    const mine = new AbortController();
    abort = mine;
    results.setAttribute("aria-busy", "true");
    const began = performance.now();
    [drawing, again] = [began, false];
    try {
      const answer = await fetch("run", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(values), signal: mine.signal });
      if (answer.status === 409) { // another tab asked for something newer: its turn, then this one's
        drawing = null;
        timer = setTimeout(play, PAUSE_MS);
        return;
      }
      if (!answer.ok) complain((await answer.json()).error);
      else await follow(answer.body, began, () => mine === abort);
    } catch (error) {
      if (error.name !== "AbortError") complain("no answer: has hasten ui been stopped?");
    }
    if (mine === abort && again) play();
  }

  // Curves as soon as they are there, then what they are made of, unless something has moved.
  async function follow(body, began, isNewest) {
    let isDrawn = false;
    for await (const line of linesOf(body)) {
      if (!isNewest()) return;
      if (isDrawn) detail(JSON.parse(line));
      else show(JSON.parse(line), performance.now() - began);
      isDrawn = true;
      if (again) return;
    }
  }

  function complain(text) {
    drawing = null;
    results.removeAttribute("aria-busy");
    said.textContent = text;
    said.classList.add("missed");
  }

  function show(found, took) {
    drawing = null;
    results.removeAttribute("aria-busy");
    last = decodedRun(found);
    last.pinned = pinned;
    said.classList.remove("missed");
    said.textContent = `${last.heading.model} on ${last.heading.deployment}: ${plural(last.size, "request")} played in ${Math.round(took)} ms`;
    top.replaceChildren(verdict(last.heading.checks), runNumbers(last));
    line.textContent = found.command;
    foot.replaceChildren(provenance(last.figures, data.version));
    charts.curves(last);
    charts.wait();
    count("played");
  }

  function detail(found) {
    charts.causes(Object.assign(last, decodedDetail(found)));
    count("explained");
  }

  function count(what) {
    const { dataset } = document.documentElement;
    dataset[what] = String(Number(dataset[what] ?? 0) + 1);
  }

  function adopt(given) {
    const named = Object.entries(given).filter(([name]) => made.has(name));
    values = { ...values, ...Object.fromEntries(named) };
    showAll();
    soon();
  }

  const pin = el("button", { type: "button", text: "Pin as reference", "aria-pressed": "false", onclick: () => {
    pinned = pinned ? null : last && { sorted: last.sorted };
    pin.setAttribute("aria-pressed", String(Boolean(pinned)));
    if (last) { last.pinned = pinned; charts.curves(last); }
  } });
  const file = el("input", { type: "file", accept: ".json,application/json", hidden: true, onchange: async () => {
    try {
      adopt(JSON.parse(await file.files[0].text()));
    } catch {
      complain("that file is no scenario");
    }
    file.value = "";
  } });
  const keep = el("button", { type: "button", text: "Save scenario", onclick: () => download(URL.createObjectURL(new Blob([JSON.stringify(values, null, 2)], { type: "application/json" })), "scenario.json") });
  const open = el("button", { type: "button", text: "Open", onclick: () => file.click() });
  const reset = el("button", { type: "button", text: "Reset", onclick: () => adopt(start) });
  const foot = el("div");
  const panel = el("form", { class: "panel", "aria-label": "Scenario", onsubmit: (event) => event.preventDefault() },
    el("div", { class: "kind" }, el("span", { text: "hasten ui" }), themeButton()),
    ...GROUPS.map(([group, title]) => el("fieldset", {}, el("legend", { text: title }), ...controls.filter((each) => each.group === group).map((each) => made.get(each.name).node))),
    el("div", { class: "actions" }, pin, keep, open, reset, file));
  results.append(said, top, ...charts.nodes, el("p", { class: "note same", text: "The same on the command line" }), line, foot);
  document.body.append(el("main", { class: "live" }, panel, results), charts.life, tip);
  window.addEventListener("hashchange", () => { values = fromHash(controls, start); showAll(); soon(); });
  play();
}

PAGES.live = livePage;
