// Distributions of latency against their limits, and what latency is made of.

const METRICS = [["ttft", "TTFT", "time to first token"], ["tpot", "TPOT", "time per output token"], ["e2e", "E2E", "arrival to last token"]];

// ---- cumulative distribution -----------------------------------------------------------------------------------

function cdfFigure(metric, title, meaning) {
  let run = null;
  const chart = figure(title, {
    name: `cdf-${metric}`,
    draw: (width) => run && run.sorted[metric].length ? cdf(run, metric, title, width) : null,
  });
  return {
    node: chart.node,
    update: (given) => {
      run = given;
      const sorted = run.sorted[metric];
      chart.say(unbroken(`${meaning}: median ${duration(percentile(sorted, 50))}, p99 ${duration(percentile(sorted, 99))}`));
      chart.redraw();
    },
  };
}

function cdf(run, metric, title, width) {
  const [height, left, right, top, bottom] = [230, 34, 34, 26, 26];
  const sorted = run.sorted[metric];
  const limit = run.limits[metric];
  const reference = run.pinned?.sorted[metric];
  const longest = Math.max(sorted[sorted.length - 1], reference?.[reference.length - 1] ?? 0);
  const least = Math.max(Math.min(sorted[0], reference?.[0] ?? Infinity), longest / 1e5, 1e-3);
  const most = Math.max(longest, limit ?? 0, least * 1.5);
  const low = Math.min(least, limit ?? least) / 1.1;
  const x = logarithmic(low, most * 1.1, left, width - right);
  const y = linear(0, 1, height - bottom, top);
  const within = limit === null ? null : countUpTo(sorted, limit) / run.size;
  const said = `Cumulative distribution of ${title}` + (limit === null ? "" : `: ${percent(within)} within ${duration(limit)}`);
  const svg = canvas(width, height, said);
  for (const value of [0, 0.25, 0.5, 0.75, 1]) {
    svg.append(
      shape("line", { class: "grid", x1: left, x2: width - right, y1: y(value), y2: y(value) }),
      write(left - 6, y(value) + 3.5, `${100 * value}`, { class: "tick", "text-anchor": "end" }),
    );
  }
  let labelled = -Infinity;
  for (const value of logTicks(low, most, Math.max(3, Math.floor(width / 58)))) {
    if (x(value) - labelled < 46) continue; // labels of neighbours would touch
    labelled = x(value);
    svg.append(write(labelled, height - 8, duration(value), { class: "tick", "text-anchor": "middle" }));
  }
  if (reference) {
    const middle = x(percentile(reference, 75));
    const isRight = middle > width - 80;
    svg.append(
      cdfLine(reference, { x, y, low, high: most * 1.1, kind: "curve pinned" }),
      write(middle + (isRight ? -8 : 8), y(0.75) + 4, "reference", { class: "tick", "text-anchor": isRight ? "end" : "start" }),
    );
  }
  svg.append(cdfLine(sorted, { x, y, low, high: most * 1.1, kind: "curve" }));
  for (const q of [50, 99]) {
    const place = x(percentile(sorted, q));
    svg.append(
      shape("circle", { class: "dot", cx: place, cy: y(q / 100), r: 3.2 }),
      write(place + 7, y(q / 100) + 14, `p${q}`, { class: "mark" }), // below the curve, which rises
    );
  }
  if (limit !== null) svg.append(...limitMark(x(limit), { width, top, bottom: height - bottom }, `SLO ${duration(limit)}: ${percent(within)} within`));
  probe(svg, {
    from: left, to: width - right, top, bottom: height - bottom,
    read: (place) => {
      const share = countUpTo(sorted, x.back(place)) / sorted.length;
      return { x: place, y: y(share), lines: [`${percent(share)} within ${duration(x.back(place))}`] };
    },
  });
  return svg;
}

function cdfLine(sorted, { x, y, low, high, kind }) {
  const points = [];
  for (let i = 0; i <= 240; i++) points.push(i <= 200 ? i / 2.02 : 99 + (i - 200) / 40);
  const line = points.map((q) => `${x(Math.min(high, Math.max(low, percentile(sorted, q)))).toFixed(1)},${y(q / 100).toFixed(1)}`);
  return shape("polyline", { class: kind, points: line.join(" ") });
}

function limitMark(place, { width, top, bottom }, text) {
  const isRight = place > width / 2;
  return [
    shape("line", { class: "limit", x1: place, x2: place, y1: top - 6, y2: bottom }),
    write(place + (isRight ? 4 : -4), top - 11, text, { class: "limit-text", "text-anchor": isRight ? "end" : "start" }),
  ];
}

// ---- what latency is made of -------------------------------------------------------------------------------------

// Of programs too, where calls wait for each other.
function compositionFigure() {
  let run = null;
  let [metric, as] = ["ttft", "share"];
  const metrics = choice("Metric", [...METRICS.map(([key, text]) => [key, text]), ["program", "Program"]], metric, (key) => { metric = key; redraw(); });
  const table = el("div", { class: "scroll" });
  const below = el("details", {}, el("summary", { text: "Every cause by percentile, in milliseconds" }), table);
  const legend = el("ul", { class: "legend" });
  const chart = figure("Where the milliseconds go", {
    note: "Mean of those between two percentiles, slowest at the bottom. Orange and plum are time that is not their own work.",
    name: "composition", wide: true,
    tools: [
      metrics,
      choice("Scale", [["share", "Share"], ["ms", "Time"]], as, (key) => { as = key; redraw(); }),
    ],
    draw: (width) => run?.composition?.[metric]?.length ? composition(run, metric, as, width) : null,
    below,
  });
  chart.node.querySelector(".plot").before(legend);
  function update(given) {
    const wanted = run === null ? given.explanation?.metric : null; // what a page is about is shown first
    run = given;
    const has = (key) => Boolean(run.composition?.[key]);
    metrics.pick(has(wanted) ? wanted : has(metric) ? metric : "ttft", has);
  }
  function redraw() {
    if (!run?.composition) return;
    const bands = run.composition[metric];
    const used = new Set(bands.flatMap((band) => Object.keys(band.labels_ms)));
    const shown = run.families.filter((family) => run.labels.some((each) => each.family === family.family && used.has(each.label)));
    legend.replaceChildren(...shown.map((each) => el("li", {}, el("i", { class: `swatch ${each.family}` }), each.text)));
    table.replaceChildren(causesTable(run, bands, used));
    chart.redraw();
  }
  return { node: chart.node, update };
}

const bandName = (band) => band.to_percentile === 100 ? `slowest ${100 - band.from_percentile} %` : `p${band.from_percentile}–${band.to_percentile}`;

function familyTimes(run, labels) {
  return run.families.map((family) => ({
    ...family,
    ms: run.labels.reduce((sum, each) => sum + (each.family === family.family ? (labels[each.label] ?? 0) : 0), 0),
  }));
}

function composition(run, metric, as, width) {
  const bands = run.composition[metric];
  const [left, right, row, gap] = [92, 156, 22, 10];
  const height = bands.length * (row + gap) + 4;
  const most = Math.max(...bands.map((band) => band.mean_ms));
  const svg = canvas(width, height, `Composition of ${metric.toUpperCase()} by percentile: the table below holds the numbers`);
  bands.forEach((band, place) => {
    const y = place * (row + gap) + 4;
    const x = linear(0, as === "share" ? band.mean_ms : most, left, width - right);
    svg.append(write(left - 10, y + 15, bandName(band), { class: "mark", "text-anchor": "end" }));
    let sum = 0;
    for (const family of familyTimes(run, band.labels_ms)) {
      if (family.ms <= 0) continue;
      const part = shape("rect", { class: `part ${family.family}`, x: x(sum), y, width: Math.max(0.4, x(sum + family.ms) - x(sum) - 0.6), height: row });
      const lines = run.labels
        .filter((each) => each.family === family.family && band.labels_ms[each.label] > 0)
        .map((each) => `${duration(band.labels_ms[each.label])}  ${each.text}`);
      part.addEventListener("pointermove", (event) => showTip([`${family.text}: ${duration(family.ms)}, ${percent(family.ms / band.mean_ms, 0)}`, ...lines], event.clientX, event.clientY));
      part.addEventListener("pointerleave", hideTip);
      svg.append(part);
      sum += family.ms;
    }
    svg.append(write(x(sum) + 8, y + 15, duration(band.mean_ms), { class: "mark strong" }));
    if (as === "share") svg.append(write(width, y + 15, plural(band.requests, metric === "program" ? "program" : "req"), { class: "tick", "text-anchor": "end" }));
  });
  return svg;
}

function causesTable(run, bands, used) {
  const rows = run.labels.filter((each) => used.has(each.label)).map((each) =>
    el("tr", {},
      el("th", { scope: "row" }, el("i", { class: `swatch ${each.family}` }), each.text),
      ...bands.map((band) => el("td", { text: significant(band.labels_ms[each.label] ?? 0) })),
    ),
  );
  return el("table", { class: "numbers" },
    el("thead", {}, el("tr", {}, el("th", { scope: "col", text: "cause" }), ...bands.map((band) => el("th", { scope: "col", text: bandName(band) })))),
    el("tbody", {}, ...rows, el("tr", { class: "total" }, el("th", { scope: "row", text: "latency" }), ...bands.map((band) => el("td", { text: significant(band.mean_ms) })))),
  );
}
