// The page of a comparison: the distributions of all sides over each other, and their figures.

const SIDES = 8; // lines that can be told apart

function overlay(data, metric, title, width) {
  const [height, left, right, top, bottom] = [260, 34, 14, 26, 26];
  const shown = data.sides.slice(0, SIDES).filter((side) => side[`${metric}_ms`].length);
  if (!shown.length) return null;
  const limit = data.limits_ms[metric];
  const ends = shown.flatMap((side) => [side[`${metric}_ms`][0], side[`${metric}_ms`].at(-1)]);
  const most = Math.max(...ends, limit ?? 0) * 1.1;
  const low = Math.max(Math.min(...ends, limit ?? Infinity) / 1.1, most / 1e5, 1e-3);
  const x = logarithmic(low, most, left, width - right);
  const y = linear(0, 100, height - bottom, top);
  const svg = canvas(width, height, `Cumulative distributions of ${title}, ${plural(shown.length, "side")}`);
  for (const value of [0, 25, 50, 75, 100]) {
    svg.append(shape("line", { class: "grid", x1: left, x2: width - right, y1: y(value), y2: y(value) }), write(left - 6, y(value) + 3.5, String(value), { class: "tick", "text-anchor": "end" }));
  }
  let labelled = -Infinity;
  for (const value of logTicks(low, most, Math.max(3, Math.floor(width / 58)))) {
    if (x(value) - labelled < 46) continue;
    labelled = x(value);
    svg.append(write(labelled, height - 8, duration(value), { class: "tick", "text-anchor": "middle" }));
  }
  data.sides.slice(0, SIDES).forEach((side, place) => {
    const points = side[`${metric}_ms`].map((value, i) => `${x(Math.max(low, value)).toFixed(1)},${y(data.percentiles[i]).toFixed(1)}`);
    svg.append(shape("polyline", { class: `curve side-${place}`, points: points.join(" ") }));
  });
  if (limit !== null) svg.append(...limitMark(x(limit), { width, top, bottom: height - bottom }, `SLO ${duration(limit)}`));
  probe(svg, {
    from: left, to: width - right, top, bottom: height - bottom,
    read: (place) => {
      const value = x.back(place);
      const share = (side) => data.percentiles[Math.max(0, countUpTo(side[`${metric}_ms`], value) - 1)];
      return { x: place, lines: [`within ${duration(value)}`, ...shown.map((side) => `${share(side).toFixed(1)} %  ${side.side}`)] };
    },
  });
  return svg;
}

function sidesTable(data) {
  const rows = data.sides.map(({ side, figures }) => ({
    cells: [side, duration(figures.ttft_p50_ms), duration(figures.ttft_p99_ms), duration(figures.tpot_p99_ms), duration(figures.e2e_p99_ms), percent(figures.attainment), significant(figures.output_throughput), significant(figures.cost_usd_per_million_output_tokens), String(figures.not_served)],
  }));
  return tableFigure("Figures", "Over all seeds, where there are several.", ["side", "TTFT p50", "TTFT p99", "TPOT p99", "E2E p99", "within limits", "output tok/s", "$ per Mtok out", "not served"], rows);
}

function comparePage(data) {
  const legend = el("ul", { class: "legend sides" }, ...data.sides.map((side, place) => el("li", {}, el("i", { class: `swatch side-${Math.min(place, SIDES)}` }), side.side)));
  const charts = METRICS.map(([key, title, meaning]) => figure(title, { note: meaning, name: `compare-${key}`, draw: (width) => overlay(data, key, title, width) }));
  const main = el("main", {}, masthead("compare", data.heading, [data.heading.workload, data.heading.policies]), legend,
    el("section", { class: "three", "aria-label": "Distributions" }, ...charts.map((each) => each.node)), sidesTable(data), provenance(data.figures, data.version));
  document.body.append(main, tip);
  charts.forEach((each) => each.redraw());
}

PAGES.compare = comparePage;
