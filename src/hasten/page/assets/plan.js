// The page of a plan: what deployments trade against each other, how the best bears load, and all that was tried.

const dollars = (value) => `$${value.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 })}`;
const price = (value) => (value === null ? "–" : `$${significant(value)}`);
const SPREAD = { left: 52, right: 24, top: 20, bottom: 40, height: 330 };

// Rows that no other row beats in both: `left` says that less is better along x, `down` along y.
function frontOf(points, left, down) {
  const sorted = [...points].sort((one, other) => (left ? one.x - other.x : other.x - one.x) || (down ? one.y - other.y : other.y - one.y));
  let best = down ? Infinity : -Infinity;
  return sorted.filter((point) => {
    const isBetter = down ? point.y < best : point.y > best;
    if (isBetter) best = point.y;
    return isBetter;
  });
}

function spreadFigure(title, { note, name, points, xName, yName, xWords, yWords, down = false, rightDown = false, limit = null, wide = false }) {
  const chart = figure(title, { note, name, wide, draw: (width) => points.length ? spread(width) : null });
  function spread(width) {
    const { left, right, top, bottom, height } = SPREAD;
    const most = (key) => Math.max(...points.map((point) => point[key]));
    const x = linear(0, most("x") * 1.12, left, width - right);
    const y = linear(0, Math.max(most("y"), limit ?? 0) * 1.12, height - bottom, top);
    const svg = canvas(width, height, `${title}: ${plural(points.length, "deployment")}`);
    for (const value of ticks(0, y.back(top), 5)) {
      svg.append(shape("line", { class: "grid", x1: left, x2: width - right, y1: y(value), y2: y(value) }), write(left - 8, y(value) + 4, yWords(value), { class: "tick", "text-anchor": "end" }));
    }
    for (const value of ticks(0, x.back(width - right), 5)) svg.append(write(x(value), height - bottom + 18, xWords(value), { class: "tick", "text-anchor": "middle" }));
    svg.append(write(width - right, height - 4, xName, { class: "tick", "text-anchor": "end" }), write(left, top - 8, yName, { class: "tick" }));
    if (limit !== null) {
      svg.append(shape("line", { class: "limit", x1: left, x2: width - right, y1: y(limit), y2: y(limit) }), write(width - right, y(limit) - 6, `SLO ${yWords(limit)}`, { class: "limit-text", "text-anchor": "end" }));
    }
    const front = frontOf(points.filter((point) => point.row.holds), down, down || rightDown);
    svg.append(shape("polyline", { class: "front", points: front.map((point) => `${x(point.x)},${y(point.y)}`).join(" ") }));
    const isNamed = new Set(front.map((point) => point.row));
    for (const point of [...points].sort((one, other) => one.row.best - other.row.best)) {
      const kind = point.row.best ? "best-point" : point.row.holds ? "holding" : "failing";
      svg.append(shape("circle", { class: kind, cx: x(point.x), cy: y(point.y), r: point.row.best ? 6.5 : 4.2 }));
    }
    const taken = points.map((point) => [x(point.x) - 5, y(point.y) - 5, 10, 10]); // no text on a point or on a text
    const isFree = (box) => box[0] >= left && box[0] + box[2] <= width && taken.every((each) => box[0] >= each[0] + each[2] || each[0] >= box[0] + box[2] || box[1] >= each[1] + each[3] || each[1] >= box[1] + box[3]);
    for (const point of [...points].sort((one, other) => other.row.best - one.row.best)) {
      if (!point.row.best && !isNamed.has(point.row)) continue;
      const [px, py] = [x(point.x), y(point.y)];
      const size = point.row.label.length * 6.3;
      const places = [[px + 10, py - 14], [px - 10 - size, py - 14], [px + 10, py + 3], [px - 10 - size, py + 3]].map(([at, up]) => [at, up, size, 15]);
      const box = places.find(isFree) ?? (point.row.best ? places[0] : null);
      if (!box) continue;
      taken.push(box);
      svg.append(write(box[0], box[1] + 11, point.row.label, { class: point.row.best ? "mark strong" : "mark" }));
    }
    const ordered = [...points].sort((one, other) => one.x - other.x);
    probe(svg, {
      from: left, to: width - right, top, bottom: height - bottom,
      read: (place, at) => {
        const away = (point) => Math.abs(x(point.x) - place) + (at === undefined ? 0 : Math.abs(y(point.y) - at));
        const point = ordered.reduce((best, each) => (away(each) < away(best) ? each : best));
        return { x: x(point.x), y: y(point.y), lines: [point.row.label, `${yName}: ${yWords(point.y)}`, `${xName}: ${xWords(point.x)}`, point.row.holds ? "holds" : `misses: ${point.row.binds}`] };
      },
    });
    return svg;
  }
  return chart;
}

function tradeFigures(plan, percentileName) {
  const isKnown = (point) => [point.x, point.y].every((value) => value !== null && value !== undefined && Number.isFinite(value));
  const points = (x, y) => plan.rows.map((row) => ({ row, x: row[x], y: row[y] })).filter(isKnown);
  const limited = ["ttft", "tpot", "e2e"].find((name) => plan[`slo_${name}_ms`] !== null) ?? "ttft";
  const limit = plan.constraint === "percentile" ? plan[`slo_${limited}_ms`] : null;
  const near = points("price_usd_per_hour", `${limited}_ms`).filter((point) => limit === null || point.y < 6 * limit);
  const loaded = "at the highest rate that holds, where all of a deployment's figures are taken";
  return [
    spreadFigure("Speed for the user, yield of a device", {
      note: `Output tokens/s that the median user sees against those a device gives, ${loaded}.`,
      name: "pareto-speed-yield", xName: "tokens/s per user", yName: "tokens/s per device", xWords: significant, yWords: significant,
      points: points("user_tokens_per_s", "device_tokens_per_s"),
    }),
    spreadFigure("Speed for the user, cost of a token", {
      note: `Output tokens/s that the median user sees against $ per million output tokens, ${loaded}.`,
      name: "pareto-speed-cost", xName: "tokens/s per user", yName: "$ per million tokens", xWords: significant, yWords: (value) => `$${significant(value)}`,
      points: points("user_tokens_per_s", "usd_per_million_output_tokens"), rightDown: true,
    }),
    spreadFigure("Cost against latency", {
      note: `What a deployment costs against its ${limited.toUpperCase()} ${percentileName} at the planned rate; filled: every limit holds.`,
      name: "pareto-cost-latency", xName: "$ per hour", yName: `${limited.toUpperCase()} ${percentileName}`, xWords: (value) => `$${value}`, yWords: duration,
      points: near, down: true, limit, wide: true,
    }),
  ];
}

// ---- load ----------------------------------------------------------------------------------------------------

function loadFigure(data, percentileName) {
  const { plan, curve } = data;
  let metric = (plan.best.binds ?? "").startsWith("TPOT") ? "tpot" : "ttft"; // what gives way first
  const chart = figure("Load up to saturation", {
    note: `${plan.best.label}: ${percentileName} with the 80 % interval of the error of step times, and the median below it.`,
    name: "load", wide: true,
    tools: [choice("Metric", [["ttft", "TTFT"], ["tpot", "TPOT"]], metric, (key) => { metric = key; chart.redraw(); })],
    draw: (width) => drawLoad(plan, curve, metric, percentileName, width),
  });
  return chart;
}

function drawLoad(plan, curve, metric, percentileName, width) {
  const [height, left, right, top, bottom] = [320, 62, 70, 30, 40];
  const key = (end) => `${metric}${end}_ms`;
  const limit = plan[`slo_${metric}_ms`];
  const all = curve.flatMap((point) => [point[key("")], point[`median_${metric}_ms`], limit]).filter((value) => value > 0);
  const x = linear(0, curve[curve.length - 1].rate_req_per_s, left, width - right);
  const y = logarithmic(Math.min(...all) / 1.3, Math.max(...all) * 1.3, height - bottom, top);
  const clipped = (value) => Math.max(top, y(value ?? Infinity));
  const svg = canvas(width, height, `${metric.toUpperCase()} by request rate`);
  for (const value of logTicks(y.back(height - bottom), y.back(top), 6)) {
    svg.append(shape("line", { class: "grid", x1: left, x2: width - right, y1: y(value), y2: y(value) }), write(left - 8, y(value) + 4, duration(value), { class: "tick", "text-anchor": "end" }));
  }
  for (const value of ticks(0, x.back(width - right), 8)) svg.append(write(x(value), height - bottom + 18, significant(value), { class: "tick", "text-anchor": "middle" }));
  svg.append(write(width - right, height - 4, "requests/s", { class: "tick", "text-anchor": "end" }));
  const at = (point) => x(point.rate_req_per_s);
  const high = curve.map((point) => `${at(point)},${clipped(point[key("_high")])}`);
  const low = curve.map((point) => `${at(point)},${clipped(point[key("_low")])}`);
  svg.append(shape("polygon", { class: "span-area", points: [...high, ...low.reverse()].join(" ") }));
  const line = (name, kind, text) => {
    const known = curve.filter((point) => point[name] !== null);
    const last = known[known.length - 1];
    svg.append(shape("polyline", { class: kind, points: known.map((point) => `${at(point)},${y(point[name])}`).join(" ") }));
    if (last) svg.append(write(at(last) + 8, y(last[name]) + 4, text, { class: "mark" }));
  };
  line(`median_${metric}_ms`, "curve second", "median");
  line(key(""), "curve", percentileName);
  if (limit !== null) svg.append(shape("line", { class: "limit", x1: left, x2: width - right, y1: y(limit), y2: y(limit) }), write(left + 4, y(limit) - 6, `SLO ${duration(limit)}`, { class: "limit-text" }));
  const rates = [["planned", plan.rate_req_per_s], ["holds up to", plan.best.capacity_req_per_s]].filter((each) => each[1]);
  rates.forEach(([text, rate], place) => svg.append(
    shape("line", { class: "hair-mark", x1: x(rate), x2: x(rate), y1: top - 6, y2: height - bottom }),
    write(x(rate) + (place ? 5 : -5), top - 10, `${text} ${significant(rate)} req/s`, { class: "mark", "text-anchor": place ? "start" : "end" }),
  ));
  probe(svg, {
    from: left, to: width - right, top, bottom: height - bottom,
    read: (place) => {
      const point = curve.reduce((best, each) => (Math.abs(at(each) - place) < Math.abs(at(best) - place) ? each : best));
      const end = (name) => (point[name] === null ? "without end" : duration(point[name]));
      return { x: at(point), y: clipped(point[key("")]), lines: [`${significant(point.rate_req_per_s)} req/s`, `${percentileName} ${end(key(""))}, ${end(key("_low"))} to ${end(key("_high"))}`, `median ${end(`median_${metric}_ms`)}`] };
    },
  });
  return svg;
}

// ---- tables ---------------------------------------------------------------------------------------------------

function tableFigure(title, note, header, rows) {
  const head = el("tr", {}, ...header.map((text) => el("th", { scope: "col", text })));
  const body = rows.map(({ cells, kind }) => el("tr", { class: kind ?? "" }, el("th", { scope: "row", text: cells[0] }), ...cells.slice(1).map((text) => el("td", { text }))));
  return el("figure", { class: "wide" }, el("figcaption", {}, el("div", {}, el("h3", { text: title }), el("p", { class: "note", text: note }))), el("div", { class: "scroll" }, el("table", { class: "numbers" }, el("thead", {}, head), el("tbody", {}, ...body))));
}

function triedTable(plan, percentileName) {
  const rows = plan.rows.map((row) => ({
    kind: row.best ? "best" : row.holds ? "" : "no",
    cells: [row.label, dollars(row.price_usd_per_hour), duration(row.ttft_ms), duration(row.tpot_ms), percent(row.attainment), `${significant(row.capacity_req_per_s)} req/s`, price(row.planned_usd_per_million_output_tokens), price(row.usd_per_million_output_tokens), percent(row.utilisation, 0), percent(row.kv_peak_share, 0), row.holds ? (row.best ? "chosen" : "holds") : `misses: ${row.binds}`],
  }));
  return tableFigure("Every deployment that was tried", "By cost. The chosen one was played on the whole workload; others on it or on a sample.", ["deployment", "$ per hour", `TTFT ${percentileName}`, `TPOT ${percentileName}`, "within limits", "holds up to", "$ per 1M tokens", "when full", "busy", "KV peak", ""], rows);
}

function sensitivityTable(plan, percentileName) {
  const rows = plan.sensitivity.map((each) => ({ cells: [each.what_if, each.holds ? "holds" : "misses", duration(each.ttft_ms), duration(each.tpot_ms), each.replicas_needed ? String(each.replicas_needed) : "–"] }));
  return tableFigure("If the world is different", "The chosen deployment under other traffic, or with slower steps than predicted.", ["what if", "limits", `TTFT ${percentileName}`, `TPOT ${percentileName}`, "replicas needed"], rows);
}

function planNumbers(plan) {
  const { best } = plan;
  if (!best) return numbers([["nearest miss", plan.nearest_miss ? plan.nearest_miss.label : "–", plan.nearest_miss?.binds]]);
  return numbers([
    ["cost", `${dollars(best.price_usd_per_hour)}/h`, plural(best.devices, "device")],
    ["holds up to", `${significant(best.capacity_req_per_s)} req/s`, best.margin === null ? "" : `${percent(best.margin, 0)} above the planned rate`],
    ["TTFT", duration(best.ttft_ms), `median ${duration(best.median_ttft_ms)}`],
    ["TPOT", duration(best.tpot_ms), `median ${duration(best.median_tpot_ms)}`],
    ["within limits", percent(best.attainment), `${best.binds || "nothing"} gives way first`],
    ["busy", percent(best.utilisation, 0), `KV peak ${percent(best.kv_peak_share, 0)}`],
  ]);
}

function planPage(data) {
  const { plan, heading, curve } = data;
  const percentileName = `p${plan.percentile}`;
  const main = el("main", {}, masthead("plan", heading, [heading.workload, heading.policies]), verdict(heading.checks), planNumbers(plan));
  const charts = tradeFigures(plan, percentileName);
  main.append(el("section", { class: "two", "aria-label": "Trade-offs" }, ...charts.map((each) => each.node)));
  if (plan.best && curve.length) {
    const load = loadFigure(data, percentileName);
    charts.push(load);
    main.append(load.node);
  }
  main.append(triedTable(plan, percentileName));
  if (plan.sensitivity.length) main.append(sensitivityTable(plan, percentileName));
  if (plan.rejected.length) {
    const list = el("ul", { class: "rejected" }, ...plan.rejected.map((each) => el("li", {}, el("b", { text: each.label }), ` ${each.reason}`)));
    main.append(el("details", {}, el("summary", { text: `${plural(plan.rejected.length, "deployment")} left out before playing` }), list));
  }
  main.append(provenance(data.figures, data.version));
  document.body.append(main, tip);
  charts.forEach((each) => each.redraw());
}

PAGES.plan = planPage;
