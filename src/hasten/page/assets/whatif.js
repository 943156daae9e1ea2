// What one change would buy: its effect on the user's own objective, with its interval, the most helpful first.

const EFFECTS = { shown: 16, row: 26, left: 330, right: 150, most: 1 };

function whatIfFigure(explanation) {
  const known = explanation.what_ifs.filter((each) => each.relative !== null);
  let kinds = "all";
  const chart = figure("What one change would buy", {
    note: `Effect on ${explanation.objective}, each played again on the same requests. Bars: where 90 % of new traffic of the same kind lie, for the leading changes; hollow where they leave room for nothing.`,
    name: "what-ifs", wide: true,
    tools: [choice("Kind", [["all", "All"], ["cause", "Causes"], ["remedy", "What one can do"]], kinds, (key) => { kinds = key; chart.redraw(); })],
    draw: (width) => {
      const fitting = known.filter((each) => kinds === "all" || (each.kind === "cause") === (kinds === "cause"));
      return fitting.length ? drawEffects(explanation, leading(fitting), width) : null;
    },
  });
  return chart;
}

// The most helpful, and the three most harmful.
function leading(effects) {
  return effects.length <= EFFECTS.shown ? effects : [...effects.slice(0, EFFECTS.shown - 3), ...effects.slice(-3)];
}

function drawEffects(explanation, effects, width) {
  const { row, most } = EFFECTS;
  const left = Math.min(EFFECTS.left, width * 0.42);
  const right = Math.min(EFFECTS.right, width * 0.2);
  const height = effects.length * row + 34;
  const held = (value) => Math.max(-most, Math.min(most, value));
  const x = linear(-most, most, left, width - right);
  const svg = canvas(width, height, `Effects on ${explanation.objective}`);
  for (const value of [-1, -0.5, 0, 0.5, 1]) {
    svg.append(
      shape("line", { class: value ? "grid" : "zero", x1: x(value), x2: x(value), y1: 4, y2: height - 26 }),
      write(x(value), height - 8, `${signed(value)}${value === 1 ? " and more" : ""}`, { class: "tick", "text-anchor": "middle" }),
    );
  }
  effects.forEach((each, place) => {
    const y = place * row + 16;
    const kind = each.relative < 0 ? "helps" : each.relative > 0 ? "harms" : "idles";
    const clear = each.clear ? "" : " unclear";
    svg.append(write(left - 14, y + 4, each.text, { class: "mark", "text-anchor": "end" }));
    if (each.relative_low !== null && each.relative_high !== null) {
      svg.append(shape("line", { class: `effect ${kind}`, x1: x(held(each.relative_low)), x2: x(held(each.relative_high)), y1: y, y2: y }));
    }
    const dot = shape("circle", { class: `effect-dot ${kind}${clear}`, cx: x(held(each.relative)), cy: y, r: 4.5 });
    svg.append(dot, write(width, y + 4, effectText(each), { class: "tick", "text-anchor": "end" }));
  });
  return svg;
}

function effectText(each) {
  const value = each.value_share === undefined ? duration(each.value_ms) : percent(each.value_share);
  const change = each.relative >= 9 ? `× ${significant(each.relative + 1)}` : signed(each.relative);
  return `${change}, ${value}`;
}

function signed(share) {
  const whole = Math.round(100 * share);
  return whole === 0 ? "0 %" : `${whole > 0 ? "+" : "−"}${Math.abs(whole)} %`;
}
