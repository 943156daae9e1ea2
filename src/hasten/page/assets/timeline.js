// What every replica ran when, how full its KV cache was, and who waited: one span of time for all of it.

function timelineFigure() {
  let run = null;
  let span = null; // seconds shown
  let whole = null;
  const zoom = (factor, middle = (span[0] + span[1]) / 2) => {
    const half = Math.max(1e-4, ((span[1] - span[0]) * factor) / 2);
    moveTo(middle - half, middle + half);
  };
  const moveTo = (from, to) => {
    const length = Math.min(to - from, whole[1] - whole[0]);
    const begin = Math.min(Math.max(from, whole[0]), whole[1] - length);
    span = [begin, begin + length];
    chart.redraw();
  };
  const button = (text, label, act) => el("button", { type: "button", class: "quiet", text, "aria-label": label, onclick: () => run && act() });
  const chart = figure("Steps, queue and KV cache over time", {
    name: "timeline", wide: true,
    tools: [
      button("–", "Show more time", () => zoom(2)),
      button("+", "Show less time", () => zoom(0.5)),
      button("All", "Show all of the run", () => moveTo(...whole)),
    ],
    draw: (width) => {
      if (!run?.ranks.length) return null;
      const svg = drawTimeline(run, span, width);
      navigate(svg, { span: () => span, zoom, moveTo });
      return svg;
    },
  });
  return {
    node: chart.node,
    update: (given) => {
      run = given;
      if (!run.ranks.length) return;
      whole = [Math.min(...run.ranks.map((rank) => rank.begin_s[0] ?? 0)), Math.max(...run.ranks.map((rank) => rank.end_s[rank.cells - 1] ?? 1))];
      span = [...whole];
      const merged = run.ranks.some((rank) => rank.merged) ? " Neighbouring steps are put together: peaks are kept." : "";
      chart.say(`Drag to look closer, arrow keys move, + and – zoom.${merged}`);
      chart.redraw();
    },
    show: (from, to) => { if (whole) moveTo(from, to); },
  };
}

function navigate(svg, { span, zoom, moveTo }) {
  const [left, right] = [TIMELINE.left, svg.viewBox.baseVal.width - TIMELINE.right];
  const instant = (event) => {
    const box = svg.getBoundingClientRect();
    const place = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
    return linear(span()[0], span()[1], left, right).back(Math.max(left, Math.min(right, place)));
  };
  let began = null;
  const band = shape("rect", { class: "brush", y: 0, height: svg.viewBox.baseVal.height, width: 0 });
  svg.append(band);
  svg.addEventListener("pointerdown", (event) => { began = instant(event); svg.setPointerCapture(event.pointerId); });
  svg.addEventListener("pointermove", (event) => {
    if (began === null) return;
    const x = linear(span()[0], span()[1], left, right);
    const [one, other] = [x(began), x(instant(event))];
    dress(band, { x: Math.min(one, other), width: Math.abs(other - one) }, []);
  });
  svg.addEventListener("pointerup", (event) => {
    const [one, other] = [began, instant(event)];
    began = null;
    if (one !== null && Math.abs(other - one) > (span()[1] - span()[0]) / 200) moveTo(Math.min(one, other), Math.max(one, other));
  });
  svg.addEventListener("dblclick", () => zoom(1e9));
  svg.addEventListener("keydown", (event) => {
    const length = span()[1] - span()[0];
    const act = {
      ArrowLeft: () => moveTo(span()[0] - length / 5, span()[1] - length / 5),
      ArrowRight: () => moveTo(span()[0] + length / 5, span()[1] + length / 5),
      "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), Home: () => zoom(1e9),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    const plot = svg.parentNode;
    act();
    plot.querySelector("svg").focus();
  });
}

const TIMELINE = { left: 108, right: 14, lane: 64, most: 24, few: 8 };

// Per pixel: shares of time with prefill and with decodes only, and the peaks of KV and queue.
function sampled(rank, span, count) {
  const width = (span[1] - span[0]) / count;
  const found = { prefill: new Float64Array(count), decode: new Float64Array(count), kv: new Float64Array(count), waiting: new Float64Array(count) };
  for (let cell = cellAt(rank.begin_s, span[0]); cell < rank.cells && rank.begin_s[cell] < span[1]; cell++) {
    const [begin, end] = [Math.max(rank.begin_s[cell], span[0]), Math.min(rank.end_s[cell], span[1])];
    if (end < span[0]) continue;
    const first = Math.min(count - 1, Math.floor((begin - span[0]) / width));
    const last = Math.min(count - 1, Math.floor((end - span[0]) / width));
    for (let pixel = first; pixel <= last; pixel++) {
      const from = span[0] + pixel * width;
      const part = Math.max(0, Math.min(end, from + width) - Math.max(begin, from)) / width;
      found.prefill[pixel] += part * rank.prefill_share[cell];
      found.decode[pixel] += part * rank.decode_share[cell];
      found.kv[pixel] = Math.max(found.kv[pixel], rank.kv_share[cell]);
      found.waiting[pixel] = Math.max(found.waiting[pixel], rank.waiting[cell]);
    }
  }
  return found;
}

// Per pixel: the most requests whose KV was on its way between pools.
function held(moving, span, count) {
  const found = new Float64Array(count);
  const width = (span[1] - span[0]) / count;
  const last = moving.begin_s.length - 1;
  for (let at = cellAt(moving.begin_s, span[0]); at <= last && moving.begin_s[at] < span[1]; at++) {
    const end = at < last ? moving.begin_s[at + 1] : span[1];
    const first = Math.max(0, Math.floor((moving.begin_s[at] - span[0]) / width));
    const until = Math.min(count - 1, Math.floor((end - span[0]) / width));
    for (let pixel = first; pixel <= until; pixel++) found[pixel] = Math.max(found[pixel], moving.requests[at]);
  }
  return found;
}

function areaPath(low, high, x, y) {
  let up = "";
  let down = "";
  for (let i = 0; i < high.length; i++) {
    const [from, to] = [x(i).toFixed(1), x(i + 1).toFixed(1)];
    up += `${i ? "L" : "M"}${from} ${y(high[i]).toFixed(1)}H${to}`;
    down = `L${to} ${y(low[i]).toFixed(1)}H${from}` + down;
  }
  return `${up}${down}Z`;
}

function drawTimeline(run, span, width) {
  const { left, right, lane, most, few } = TIMELINE;
  const ranks = run.ranks.slice(0, most);
  const [band, gap] = ranks.length > few ? [13, 4] : [26, 7];
  const bands = ranks.length * (band + gap);
  const height = 22 + bands + (run.moving ? 3 : 2) * (lane + 26) + 14;
  const svg = canvas(width, height, `Timeline of ${plural(ranks.length, ranks[0].name.includes("rank") ? "rank" : "replica")} from ${duration(span[0] * 1e3)} to ${duration(span[1] * 1e3)}`);
  const count = Math.max(50, Math.floor((width - left - right) / 1.5));
  const pixel = linear(0, count, left, width - right);
  const samples = ranks.map((rank) => sampled(rank, span, count));
  const nothing = new Float64Array(count);
  svg.append(...timelineKey(left));
  ranks.forEach((rank, place) => {
    const top = 22 + place * (band + gap);
    const y = linear(0, 1, top + band, top);
    const { prefill, decode } = samples[place];
    const busy = prefill.map((value, i) => Math.min(1, value + decode[i]));
    svg.append(
      shape("rect", { class: "idle", x: left, y: top, width: width - left - right, height: band }),
      shape("path", { class: "decode-area", d: areaPath(prefill, busy, pixel, y) }),
      shape("path", { class: "prefill-area", d: areaPath(nothing, prefill, pixel, y) }),
      write(left - 10, top + band / 2 + 4, rank.name, { class: "tick", "text-anchor": "end" }),
    );
  });
  const peak = (name) => samples[0][name].map((_, i) => Math.max(...samples.map((each) => each[name][i])));
  const waits = peak("waiting");
  lanes(svg, 22 + bands + 18, { name: "longest queue", series: [waits], top: Math.max(1, ...waits), words: (value) => significant(value), kind: "wait-line", pixel, width });
  lanes(svg, 22 + bands + lane + 44, { name: "KV cache", series: samples.map((each) => each.kv), top: 1, words: (value) => percent(value, 0), kind: "kv-line", pixel, width });
  if (run.moving) {
    const moving = held(run.moving, span, count);
    lanes(svg, 22 + bands + 2 * lane + 70, { name: "KV on its way", series: [moving], top: Math.max(1, ...moving), words: (value) => significant(value), kind: "moving-line", pixel, width });
  }
  const x = linear(span[0], span[1], left, width - right);
  for (const value of ticks(span[0], span[1], Math.max(3, Math.floor(width / 110)))) {
    svg.append(write(x(value), height - 2, clock(value, span), { class: "tick", "text-anchor": "middle" }));
  }
  if (run.ranks.length > most) svg.append(write(width - right, 12, `${run.ranks.length - most} more replicas are not drawn`, { class: "tick", "text-anchor": "end" }));
  probe(svg, { keys: false, from: left, to: width - right, top: 20, bottom: height - 16, read: (place) => instantOf(ranks, x.back(place), place) });
  return svg;
}

function clock(seconds, span) {
  const digits = Math.max(0, Math.min(6, 1 - Math.floor(Math.log10(span[1] - span[0]))));
  return `${seconds.toLocaleString("en", { maximumFractionDigits: digits })} s`;
}

function timelineKey(left) {
  return [["prefill-area", "steps with prefill"], ["decode-area", "decode only"], ["idle", "idle"]].flatMap(([kind, text], place) => [
    shape("rect", { class: kind, x: left + place * 132, y: 3, width: 10, height: 10 }),
    write(left + 15 + place * 132, 12, text, { class: "tick" }),
  ]);
}

function lanes(svg, top, { name, series, top: most, words, kind, pixel, width }) {
  const { left, right, lane } = TIMELINE;
  const y = linear(0, most, top + lane, top);
  svg.append(
    shape("line", { class: "grid", x1: left, x2: width - right, y1: y(0), y2: y(0) }),
    shape("line", { class: "grid", x1: left, x2: width - right, y1: y(most), y2: y(most) }),
    write(left - 10, top + lane / 2 + 4, name, { class: "tick", "text-anchor": "end" }),
    write(left - 10, top + 4, words(most), { class: "tick", "text-anchor": "end" }),
    write(left - 10, top + lane + 4, words(0), { class: "tick", "text-anchor": "end" }),
  );
  for (const line of series) {
    const points = Array.from(line, (value, i) => `${pixel(i + 0.5).toFixed(1)},${y(Math.min(most, value)).toFixed(1)}`);
    svg.append(shape("polyline", { class: kind, points: points.join(" ") }));
  }
}

function instantOf(ranks, instant, place) {
  const lines = [`at ${significant(instant, 5)} s`];
  for (const rank of ranks.slice(0, 8)) {
    const cell = cellAt(rank.begin_s, instant);
    const isOver = !rank.cells || rank.end_s[cell] < instant || rank.begin_s[cell] > instant;
    const tokens = rank.merged ? "" : `, ${significant(rank.prefill_tokens[cell], 6)} prefill tokens`;
    lines.push(isOver ? `${rank.name}: idle` : `${rank.name}: ${significant(rank.decodes[cell])} decodes${tokens}, ${rank.waiting[cell]} waiting, KV ${percent(rank.kv_share[cell], 0)}`);
  }
  return { x: place, y: 20, lines };
}
