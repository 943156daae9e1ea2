// What pages have in common, and the page of a run.

function themeButton() {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";
  const button = el("button", { type: "button", class: "quiet theme", onclick: () => { document.documentElement.dataset.theme = isDark() ? "light" : "dark"; name(); } });
  const name = () => { button.textContent = isDark() ? "Light" : "Dark"; button.setAttribute("aria-label", `Use ${isDark() ? "light" : "dark"} colours`); };
  dark.addEventListener("change", name);
  name();
  return button;
}

function masthead(kind, heading, lines) {
  const title = el("h1", {}, el("span", { text: heading.model }), el("span", { class: "on", text: heading.deployment }));
  return el("header", {}, el("div", { class: "kind" }, el("span", { text: `hasten ${kind}` }), themeButton()), title, ...lines.filter(Boolean).map((text) => el("p", { class: "lead", text })));
}

function verdict(checks) {
  const box = el("ul", { class: "checks" });
  for (const check of checks) box.append(el("li", { class: check.held ? "held" : "missed" }, el("b", { text: check.held ? "held" : "missed" }), check.text));
  return box;
}

function numbers(facts) {
  return el("dl", { class: "kpis" }, ...facts.map(([name, text, note]) => el("div", {}, el("dt", { text: name }), el("dd", { text }), el("dd", { class: "note", text: note ?? "" }))));
}

const mean = (list) => list.reduce((sum, value) => sum + value, 0) / (list.length || 1);

function runNumbers(run) {
  const { figures, sorted } = run;
  const tail = (name) => `p99 ${duration(percentile(sorted[name], 99))}`;
  const lost = figures.failed ? `${plural(figures.failed, "request")} not served, ` : "";
  const price = figures.cost_usd_per_million_output_tokens;
  const programs = figures.programs ? [["program, median", duration(figures.median_program_completion_ms), `${plural(figures.programs, "program")}, ${percent(figures.mean_program_away_ms / figures.mean_program_completion_ms, 0)} of their time away`]] : [];
  return numbers([
    ["TTFT, median", duration(percentile(sorted.ttft, 50)), tail("ttft")],
    ["TPOT, median", duration(percentile(sorted.tpot, 50)), tail("tpot")],
    ["E2E, median", duration(percentile(sorted.e2e, 50)), tail("e2e")],
    ...programs,
    ["output", `${significant(figures.output_throughput)} tok/s`, `${significant(figures.request_throughput)} req/s served`],
    ["within limits", figures.attainment === null ? "–" : percent(figures.attainment), lost + (figures.request_goodput === null ? "no limit given" : `${significant(figures.request_goodput)} req/s goodput`)],
    ["busy", percent(mean(figures.utilisation), 0), `KV peak ${percent(figures.kv_peak_share, 0)}, ${plural(figures.preemptions, "preemption")}`],
    ["cost", price === null ? "–" : `$${significant(price)}`, price === null ? "no price known" : "per million output tokens"],
  ]);
}

// The charts of a run: its curves and its table, and what its time went on, which may `wait` for another run's.
function runCharts() {
  const life = drawer();
  const distributions = METRICS.map(([key, title, meaning]) => cdfFigure(key, title, meaning));
  const [parts, time, table] = [compositionFigure(), timelineFigure(), requestTable(life.show)];
  const nodes = [el("section", { class: "three", "aria-label": "Distributions" }, ...distributions.map((each) => each.node)), parts.node, time.node, table.node];
  const curves = (run) => [...distributions, table].forEach((each) => each.update(run));
  const causes = (run) => {
    parts.node.hidden = !run.composition;
    time.node.hidden = !run.ranks.length;
    [parts, time].forEach((each) => { each.node.removeAttribute("aria-busy"); each.update(run); });
  };
  const wait = () => [parts, time].forEach((each) => each.node.setAttribute("aria-busy", "true"));
  return { nodes, life: life.node, curves, causes, wait };
}

function provenance(figures, version) {
  return el("footer", {},
    el("p", {}, el("b", { text: "Origin of step times: " }), `${figures.origin}. `, el("b", { text: "Error: " }), `${figures.error}.`),
    ...(figures.notes ?? []).map((note) => el("p", { text: note })),
    el("p", { class: "note", text: `Made by hasten ${version}. TTFT counts from the arrival at the server; TPOT is (last − first token) / (output tokens − 1); percentiles are of served requests, shares within limits of all.` }));
}

function runPage(data) {
  const run = decodedRun(data);
  const charts = runCharts();
  const { heading, explanation } = run;
  const changes = explanation ? whatIfFigure(explanation) : null;
  const main = el("main", {}, masthead("report", heading, [heading.workload, heading.policies]), verdict(heading.checks), runNumbers(run), explanation ? el("p", { class: "sentence", text: `Bottleneck: ${explanation.sentence}.` }) : "", changes?.node ?? "", ...charts.nodes, provenance(run.figures, run.version));
  document.body.append(main, charts.life, tip);
  charts.curves(run);
  charts.causes(run);
  changes?.redraw();
}

PAGES.run = runPage;
