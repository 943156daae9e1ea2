// Columns as hasten/page/columns.py writes them: base64 of little-endian numbers, `low` and `step` make values of them.

function stored(column) {
  const text = atob(column.data);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const kinds = { u8: Uint8Array, u16: Uint16Array, u32: Uint32Array, f32: Float32Array };
  return new kinds[column.type](bytes.buffer);
}

function values(column) {
  const raw = stored(column);
  const found = Float64Array.from(raw);
  if (column.type !== "f32") {
    for (let i = 0; i < found.length; i++) found[i] = column.low + found[i] * column.step;
  }
  return found;
}

function decoded(columns) {
  return Object.fromEntries(Object.entries(columns).map(([name, column]) => [name, values(column)]));
}

// Decoded when first asked for: shares are needed for one request at a time.
function lazily(column) {
  let raw = null;
  return (row) => {
    raw = raw ?? stored(column);
    return column.low + raw[row] * column.step;
  };
}

function known(numbers) {
  return numbers.filter((value) => !Number.isNaN(value)).sort();
}

// Percentile (0 to 100) of sorted numbers, between neighbours as numpy has it.
function percentile(sorted, q) {
  if (!sorted.length) return NaN;
  const place = (q / 100) * (sorted.length - 1);
  const low = Math.floor(place);
  const high = Math.min(low + 1, sorted.length - 1);
  return sorted[low] + (place - low) * (sorted[high] - sorted[low]);
}

// How many of sorted numbers are at most `limit`.
function countUpTo(sorted, limit) {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] <= limit) low = middle + 1;
    else high = middle;
  }
  return low;
}

// The first place whose number is above `limit`, less one: the cell of a timeline that holds an instant.
function cellAt(begins, instant) {
  return Math.max(0, countUpTo(begins, instant) - 1);
}

function decodedRun(data) {
  const rows = decoded(data.requests.columns);
  const size = data.requests.count;
  rows.tpot_ms = new Float64Array(size);
  for (let i = 0; i < size; i++) {
    const later = rows.output_tokens[i] - 1;
    rows.tpot_ms[i] = rows.status[i] === 0 && later > 0 ? (rows.e2e_ms[i] - rows.ttft_ms[i]) / later : NaN;
    if (rows.status[i] !== 0) rows.e2e_ms[i] = NaN;
  }
  const figures = data.figures;
  const limits = { ttft: figures.slo_ttft_ms, tpot: figures.slo_tpot_ms, e2e: figures.slo_e2el_ms };
  const served = (name) => known(rows[name].filter((_, row) => rows.status[row] === 0));
  const sorted = { ttft: served("ttft_ms"), tpot: served("tpot_ms"), e2e: served("e2e_ms") };
  return { ...data, rows, size, limits, sorted, ...decodedDetail(data) };
}

// Of a run, what its labels and steps tell.
function decodedDetail(data) {
  const lives = data.lives && Object.fromEntries(
    Object.entries(data.lives).map(([phase, shares]) => [
      phase, shares.map((each) => ({ label: each.label, share: lazily(each) })),
    ]),
  );
  const ranks = (data.timeline?.ranks ?? []).map((rank) => {
    const { name, cells, merged, ...columns } = rank;
    return { name, cells, merged, ...decoded(columns) };
  });
  const moving = data.timeline?.moving && decoded(data.timeline.moving);
  return { composition: data.composition, lives, ranks, moving };
}
