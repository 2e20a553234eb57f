"use strict";
// The page of a sweep: map of the parameters, spread of a figure, first against second half, sorted table.

// Values of a parameter that stand by themselves; more are joined to groups, fewer ones where combinations are sparse.
const MOST = DATA.dims.length > 1 ? 60 : 600, SPARSE = Math.min(Math.max(Math.floor(Math.sqrt(DATA.rows) / 1.5), 8), MOST);
const ROWS = DATA.rows;
let codes = [], errors = new Int32Array(0), figures = {};
const state = { metric: null, across: 0, up: 1, fixed: [] };

const dims = DATA.dims.map((d) => {
  const joined = d.labels.length > MOST ? Math.ceil(d.labels.length / SPARSE) : 1, groups = [], begins = [];
  for (let k = 0; k < d.labels.length; k += joined) {
    const last = d.labels[Math.min(k + joined, d.labels.length) - 1];
    begins.push(short(d.labels[k]));
    groups.push(joined > 1 && last !== d.labels[k] ? `${d.labels[k]} \u2026 ${last}` : d.labels[k]);
  }
  return { ...d, joined, groups, begins };
});

// A value on an axis: four digits of a long number.
function short(text) {
  return text.length > 7 && Number.isFinite(Number(text)) ? minus(String(Number(Number(text).toPrecision(4)))) : text;
}

async function decode() {
  const bytes = await inflate(0);
  codes = dims.map((d, k) => wholes(bytes, ROWS, k));
  errors = wholes(bytes, ROWS, dims.length);
  if (DATA.full) figures = await table({ rows: ROWS, blob: 1, columns: DATA.columns, words: {} });
  else {
    const raw = await inflate(1);
    DATA.columns.forEach((name, k) => { figures[name] = new Float32Array(wholes(raw, ROWS, k).buffer); });
  }
}

// ---------------------------------------------------------------- rows
const metricOf = (name) => DATA.metrics.find((m) => m.name === name);
const better = (a, b) => (state.metric.best === "lowest" ? a < b : a > b);
const settingsOf = (i) => dims.map((d, k) => `${d.name} = ${d.labels[codes[k][i]]}`).join(", ");

function bestOf(values) {
  let best = -1;
  for (let i = 0; i < ROWS; i++) if (Number.isFinite(values[i]) && (best < 0 || better(values[i], values[best]))) best = i;
  return best;
}

// What a tip says of a row: the figure in view, the parameters, and a few more figures.
function rowLines(i) {
  const m = state.metric, shown = ["sharpe", "total_return", "max_drawdown", "trades"].filter((n) => n !== m.name && figures[n]);
  const more = shown.map((n) => `${metricOf(n).label} ${told(metricOf(n).kind, figures[n][i])}`).join(", ");
  return [`${m.label} ${told(m.kind, figures[m.name][i])}`, settingsOf(i), more];
}

// ---------------------------------------------------------------- cells of the map
const isAxis = (k) => k === state.across || (dims.length > 1 && k === state.up);

// By cell: which row is the best (-1 none), how many rows, how many of them failed, and one that did.
function cells() {
  const X = dims[state.across], Y = dims.length > 1 ? dims[state.up] : null, nx = X.groups.length, ny = Y ? Y.groups.length : 1;
  const values = figures[state.metric.name], best = new Int32Array(nx * ny).fill(-1), count = new Int32Array(nx * ny);
  const broken = new Int32Array(nx * ny), wrong = new Int32Array(nx * ny).fill(-1);
  const held = state.fixed.map((g, k) => [k, g]).filter(([k, g]) => g >= 0 && !isAxis(k)), xs = codes[state.across], ys = codes[state.up];
  rows: for (let i = 0; i < ROWS; i++) {
    for (const [k, g] of held) if (Math.floor(codes[k][i] / dims[k].joined) !== g) continue rows;
    const at = (Y ? Math.floor(ys[i] / Y.joined) * nx : 0) + Math.floor(xs[i] / X.joined);
    count[at]++;
    if (errors[i] >= 0) { broken[at]++; wrong[at] = i; }
    if (Number.isFinite(values[i])) { if (best[at] < 0 || better(values[i], values[best[at]])) best[at] = i; }
  }
  let star = -1;
  for (let k = 0; k < best.length; k++) if (best[k] >= 0 && (star < 0 || better(values[best[k]], values[best[star]]))) star = k;
  return { nx, ny, best, count, broken, wrong, star, values };
}

function cellLines(found, k) {
  const x = `${dims[state.across].name} = ${dims[state.across].groups[k % found.nx]}`;
  const here = found.ny > 1 ? `${x}, ${dims[state.up].name} = ${dims[state.up].groups[Math.floor(k / found.nx)]}` : x;
  const failures = found.broken[k] ? [`${found.broken[k]} failed: ${DATA.errors[errors[found.wrong[k]]] ?? "see the table of errors"}`] : [];
  if (found.best[k] < 0) return [found.count[k] ? `${state.metric.label} undefined` : "No combination", here, ...failures];
  const many = found.count[k] > 1 ? [`the ${state.metric.best} of ${number(found.count[k], 0)} combinations here`] : [];
  return [...rowLines(found.best[k]), ...many, ...failures];
}

// ---------------------------------------------------------------- colours
const VIRIDIS = ["#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"];
const AROUND = {
  light: ["#8a3a00", "#d5752a", "#f4c193", "#f5f5f3", "#a8cdec", "#3f8fd2", "#08457e"],
  dark: ["#ffb875", "#d5752a", "#70431c", "#2b3036", "#1d4a74", "#3f8fd2", "#a3d4ff"],
};
const rgb = (hex) => [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16));

// From a share 0..1 of the scale to a colour.
function ramp(stops) {
  const points = stops.map(rgb);
  return (t) => {
    const at = Math.min(Math.max(t, 0), 1) * (points.length - 1), k = Math.min(Math.floor(at), points.length - 2), f = at - k;
    return points[k].map((v, n) => Math.round(v + f * (points[k + 1][n] - v)));
  };
}
const css = ([r, g, b]) => `rgb(${r},${g},${b})`;
// Relative luminance as WCAG 2.2 has it: above 0.18 black text is the more readable one.
const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
const bright = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);

// Values on both sides of 0: blue above, orange below, 0 in the middle. Else from dark (low) to yellow (high).
function scaleOf(values) {
  const sorted = Float64Array.from(values).sort(), n = sorted.length, at = (q) => sorted[Math.min(Math.floor(q * n), n - 1)];
  if (!n) return { lo: 0, hi: 1, colour: ramp(VIRIDIS), cutLow: false, cutHigh: false };
  let lo = at(0.02), hi = at(0.98);
  // A few far ones would take all colours; others may stretch the scale.
  if (lo - sorted[0] <= hi - lo) lo = sorted[0];
  if (sorted[n - 1] - hi <= hi - lo) hi = sorted[n - 1];
  const cutLow = lo > sorted[0], cutHigh = hi < sorted[n - 1];
  if (lo < 0 && hi > 0) {
    const far = Math.max(-lo, hi), around = ramp(AROUND[document.documentElement.dataset.theme]);
    return { lo, hi, cutLow, cutHigh, colour: (t) => around(0.5 + (lo + t * (hi - lo)) / far / 2) };
  }
  return { lo, hi, cutLow, cutHigh, colour: ramp(VIRIDIS) };
}

function hatch(c, x, y, w, h, colour, both) {
  c.save();
  c.beginPath();
  c.rect(x, y, w, h);
  c.clip();
  c.fillStyle = colours.wash;
  c.fillRect(x, y, w, h);
  const gap = both ? 5 : 4;
  stroke(c, colour, 1, () => {
    for (let d = -h; d < w; d += gap) {
      c.moveTo(x + d, y + h);
      c.lineTo(x + d + h, y);
      if (both) { c.moveTo(x + d, y); c.lineTo(x + d + h, y + h); }
    }
  });
  c.restore();
}

// ---------------------------------------------------------------- map
let drawn = { spots: [], lines: () => [] };
function paintMap() {
  const canvas = $("map");
  if (!canvas) return;
  const found = cells();
  tellMap(found);
  if (dims.length > 1) heatMap(canvas, found);
  else curve(canvas, found);
}

function tellMap(found) {
  const m = state.metric, free = dims.filter((d, k) => !isAxis(k) && state.fixed[k] < 0).map((d) => d.name);
  const axes = [state.across, state.up].filter((k) => k < dims.length).map((k) => dims[k]);
  const joined = axes.filter((d) => d.joined > 1).map((d) => `${d.name} in groups of ${d.joined} values`);
  const over = [...free, ...joined].join(", "), each = over ? `; each place shows its ${m.best} over ${over}` : "";
  const by = `by ${axes.map((d) => d.name).join(" and ")}`;
  const best = found.star < 0 ? "; undefined everywhere" : `. ${m.best[0].toUpperCase()}${m.best.slice(1)}: ${told(m.kind, found.values[found.best[found.star]])} at ${settingsOf(found.best[found.star])}`;
  const name = document.createElement("b");
  name.textContent = m.label;
  $("map-told").replaceChildren(name, ` ${by}${each}${best}`);
}

function heatMap(canvas, found) {
  const { nx, ny, best, count, broken, values, star } = found, m = state.metric, X = dims[state.across], Y = dims[state.up];
  canvas.style.height = `${Math.min(Math.max(ny * 30, 150), innerWidth < 640 ? 380 : 520) + 56}px`;
  const known = Array.from(best).filter((i) => i >= 0).map((i) => values[i]), scale = scaleOf(known);
  const every = Math.ceil(ny * 15 / (canvas.clientHeight - 56));
  const p = plane(canvas, {
    x: [-0.5, nx - 0.5], y: [-0.5, ny - 0.5], lines: false, top: 20, xName: `${X.name} \u2192`,
    xs: X.begins.map((g, k) => [k, g]), ys: Y.begins.map((g, k) => [k, g]).filter(([k]) => k % every === 0),
  }), c = p.c, w = (p.right - p.left) / nx, h = (p.bottom - p.top) / ny, gap = Math.min(w, h) > 7 ? 1 : 0;
  c.textAlign = "left";
  c.textBaseline = "top";
  c.fillStyle = colours.soft;
  c.fillText(cut(c, `\u2191 ${Y.name}`, p.right), 2, 2);
  const text = cellText(m, scale), roomy = h >= 15 && w >= Math.max(...known.map((v) => c.measureText(text(v)).width), 10) + 6;
  c.textAlign = "center";
  c.textBaseline = "middle";
  for (let k = 0; k < best.length; k++) {
    const x = p.left + (k % nx) * w, y = p.bottom - (Math.floor(k / nx) + 1) * h;
    if (!count[k]) {
      c.lineWidth = 1;
      c.strokeStyle = colours.grid;
      if (gap) c.strokeRect(x + 0.5, y + 0.5, w - 2, h - 2);
      continue;
    }
    if (best[k] < 0) { hatch(c, x, y, w - gap, h - gap, broken[k] ? colours.loss : colours.soft, broken[k] > 0); continue; }
    const v = values[best[k]], shade = scale.colour(scale.hi > scale.lo ? (v - scale.lo) / (scale.hi - scale.lo) : 0.5);
    c.fillStyle = css(shade);
    c.fillRect(x, y, gap ? w - gap : w + 0.5, gap ? h - gap : h + 0.5);
    if (roomy) { c.fillStyle = bright(shade) > 0.18 ? "#000" : "#fff"; c.fillText(text(v), x + (w - gap) / 2, y + (h - gap) / 2 + 0.5); }
  }
  if (star >= 0) {
    const x = p.left + (star % nx) * w, y = p.bottom - (Math.floor(star / nx) + 1) * h, grow = Math.max((9 - Math.min(w, h)) / 2, 0);
    for (const [wide, colour] of [[5, colours.page], [2.5, colours.text]]) {
      c.lineWidth = wide;
      c.strokeStyle = colour;
      c.strokeRect(x - grow, y - grow, w - gap + 2 * grow, h - gap + 2 * grow);
    }
  }
  const any = (test) => best.some((i, k) => i < 0 && test(k));
  legend(scale, m, [
    ["star", m.best, star >= 0], ["undefined", "undefined", any((k) => count[k] && !broken[k])],
    ["broken", "failed", any((k) => broken[k])], ["empty", "no combination", any((k) => !count[k])],
  ]);
  drawn = {
    spots: Array.from(best, (_, k) => [p.left + (k % nx + 0.5) * w - gap / 2, p.bottom - (Math.floor(k / nx) + 0.5) * h - gap / 2, k]),
    size: [w - gap, h - gap], first: Math.max(star, 0), lines: (k) => cellLines(found, k),
    find: (x, y) => {
      if (x < p.left || x >= p.right || y < p.top || y >= p.bottom) return -1;
      return Math.min(Math.floor((p.bottom - y) / h), ny - 1) * nx + Math.min(Math.floor((x - p.left) / w), nx - 1);
    },
    move: (k, key) => {
      const x = k % nx + ({ ArrowRight: 1, ArrowLeft: -1 }[key] ?? 0), y = Math.floor(k / nx) + ({ ArrowUp: 1, ArrowDown: -1 }[key] ?? 0);
      return x < 0 || x >= nx || y < 0 || y >= ny ? k : y * nx + x;
    },
  };
}

// A figure in a cell: as short as the scale allows.
function cellText(m, scale) {
  const far = Math.max(Math.abs(scale.hi), Math.abs(scale.lo));
  if (inPercent(m.kind)) return (v) => minus((100 * v).toFixed(far >= 1 ? 0 : 1)) + "%";
  return far >= 1000 ? (v) => minus(compact.format(v)) : (v) => number(v, m.kind === "whole" ? 0 : 2);
}

// found: [class, text, whether there is any], the best first.
function legend(scale, m, found) {
  const known = found[0][2], [low, canvas, high, signs] = $("scale").children, c = sized(canvas), n = canvas.clientWidth;
  for (let x = 0; known && x < n; x++) { c.fillStyle = css(scale.colour(x / (n - 1))); c.fillRect(x, 0, n - x, canvas.clientHeight); }
  low.textContent = !known ? "" : (scale.cutLow ? "\u2264 " : "") + told(m.kind, scale.lo);
  high.textContent = !known ? "" : (scale.cutHigh ? "\u2265 " : "") + told(m.kind, scale.hi);
  signs.replaceChildren();
  for (const [name, text, shown] of found) {
    if (!shown) continue;
    const mark = document.createElement("i");
    mark.className = name;
    signs.append(mark, text);
  }
}

// One parameter: a line.
function curve(canvas, found) {
  const { nx, best, broken, count, values, star } = found, m = state.metric, X = dims[0];
  const numbers = X.groups.map(Number), even = X.joined > 1 || numbers.some((v) => !Number.isFinite(v)), at = (k) => (even ? k : numbers[k]);
  $("scale").hidden = true;
  const known = [...Array(nx).keys()].filter((k) => best[k] >= 0), x = spanOf([...Array(nx).keys()].map(at), [], 0.03);
  const p = plane(canvas, {
    x, y: spanOf(known.map((k) => values[best[k]]), [], 0.08), yText: onAxis(m.kind), xName: `${X.name} \u2192`,
    ...(even || nx < 12 ? { xs: X.begins.map((g, k) => [at(k), g]) } : {}),
  }), c = p.c, place = (k) => [p.px(at(k)), p.py(values[best[k]])];
  c.lineJoin = "round";
  stroke(c, colours.one, 1.7, () => { for (const k of known) k && best[k - 1] >= 0 ? c.lineTo(...place(k)) : c.moveTo(...place(k)); });
  for (const k of known) dot(c, ...place(k), nx > 200 ? 1.5 : 3, colours.one);
  const order = [...Array(nx).keys()].filter((k) => count[k]);
  for (const k of order) if (best[k] < 0) hatch(c, p.px(at(k)) - 5, p.bottom - 14, 10, 13, broken[k] ? colours.loss : colours.soft, broken[k] > 0);
  if (star >= 0) { dot(c, ...place(star), 6.5, colours.page); dot(c, ...place(star), 5, colours.two); }
  drawn = {
    spots: order.map((k) => (best[k] >= 0 ? [...place(k), k] : [p.px(at(k)), p.bottom - 8, k])),
    first: Math.max(order.indexOf(star), 0), lines: (k) => cellLines(found, k),
  };
}

// ---------------------------------------------------------------- spread
let bins = { spots: [], lines: () => [] };
function paintSpread() {
  const m = state.metric, sorted = Float64Array.from(figures[m.name]).filter(Number.isFinite).sort(), n = sorted.length;
  const luck = m.name === DATA.metric && Number.isFinite(DATA.luck) ? DATA.luck : null, best = bestOf(figures[m.name]);
  tellSpread(m, n, luck, best);
  const [lo, hi] = spreadRange(sorted, luck), parts = Math.min(Math.max(Math.ceil(Math.sqrt(n)) * 2, 10), 60);
  const heights = new Int32Array(parts), width = (hi - lo) / parts, edge = (b) => lo + b * width;
  for (const v of sorted) heights[Math.min(Math.max(Math.floor((v - lo) / width), 0), parts - 1)]++;
  const most = Math.max(...heights, 1), room = (hi - lo) * 0.02;
  const p = plane($("spread"), {
    x: [lo - room, hi + room], y: [0, most * 1.06], xText: onAxis(m.kind), xName: `${m.label} \u2192`, top: 10,
    ys: ticksOf([0, most], Math.min(5, most), axisNumber).filter(([v]) => Number.isInteger(v)),
  }), c = p.c;
  c.globalAlpha = 0.7;
  c.fillStyle = colours.one;
  heights.forEach((k, b) => {
    const x = p.px(edge(b)), y = Math.min(p.py(k), p.bottom - 1);
    if (k) c.fillRect(x, y, Math.max(p.px(edge(b + 1)) - x - 1, 1), p.bottom - y);
  });
  c.globalAlpha = 1;
  for (const [v, dash] of [...(luck === null ? [] : [[luck, [6, 4]]]), ...(best < 0 ? [] : [[figures[m.name][best], []]])]) {
    const x = Math.round(Math.min(Math.max(p.px(v), p.left), p.right));
    c.setLineDash(dash);
    stroke(c, colours.text, 1.8, () => { c.moveTo(x, p.top - 8); c.lineTo(x, p.bottom); });
    c.setLineDash([]);
  }
  const from = (b) => told(m.kind, b === 0 && n && sorted[0] < lo ? sorted[0] : edge(b));
  const to = (b) => told(m.kind, b === parts - 1 && n && sorted[n - 1] > hi ? sorted[n - 1] : edge(b + 1));
  bins = {
    spots: Array.from(heights, (k, b) => [p.px(edge(b + 0.5)) - 0.5, (p.py(k) + p.bottom) / 2, b, Math.max(p.px(edge(1)) - p.px(lo), 4), Math.max(p.bottom - p.py(k), 2)]),
    find: (x) => (x < p.left || x > p.right ? -1 : Math.min(Math.max(Math.floor((p.ux(x) - lo) / width), 0), parts - 1)),
    lines: (b) => [`${number(heights[b], 0)} combination${heights[b] === 1 ? "" : "s"}`, `${m.label} ${from(b)} to ${to(b)}`],
  };
}

function tellSpread(m, n, luck, best) {
  const name = document.createElement("b"), all = n === ROWS ? "all" : `${number(n, 0)} of`;
  name.textContent = m.label;
  const dashed = luck === null ? "" : ` Dashed: what the best of pure luck would be expected to show, ${told(m.kind, luck)}.`;
  const solid = best < 0 ? "" : ` Solid: the ${m.best}, ${told(m.kind, figures[m.name][best])}.`;
  $("spread-told").replaceChildren(name, ` of ${all} ${number(ROWS, 0)} combinations.${dashed}${solid}`);
}

// Without a few far ones, which are counted in the outermost bars.
function spreadRange(sorted, luck) {
  const n = sorted.length, at = (q) => sorted[Math.min(Math.floor(q * n), n - 1)];
  let lo = n ? at(0.005) : 0, hi = n ? at(0.995) : 1;
  if (n && lo - sorted[0] <= hi - lo) lo = sorted[0];
  if (n && sorted[n - 1] - hi <= hi - lo) hi = sorted[n - 1];
  if (luck !== null) { lo = Math.min(lo, luck); hi = Math.max(hi, luck); }
  return hi > lo ? [lo, hi] : [lo - 0.5, hi + 0.5];
}

let halves = { spots: [], lines: () => [] };
function paintHalves() {
  if (!DATA.halves) return;
  const a = figures["first half"], b = figures["second half"];
  const made = pairs($("halves"), a, b, { xName: "first half", yName: "second half", kind: "number", best: bestOf(figures[state.metric.name]) });
  halves = { ...made, lines: (i) => [`First half ${told("number", a[i])}, second half ${told("number", b[i])}`, ...rowLines(i)] };
}

// ---------------------------------------------------------------- table
function sortBy(values, up, header) {
  const order = [];
  for (let i = 0; i < ROWS; i++) if (Number.isFinite(values[i])) order.push(i);
  order.sort((i, j) => (up ? values[i] - values[j] : values[j] - values[i]) || i - j);
  const best = $("best"), body = best.tBodies[0], like = body.rows[0], most = body.rows.length;
  for (const th of best.tHead.rows[0].cells) th.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", up ? "ascending" : "descending");
  best.caption.firstElementChild.textContent = `${header.textContent}, ${up ? "lowest" : "highest"} first: ${Math.min(most, order.length)} of ${number(ROWS, 0)}`;
  body.replaceChildren(...order.slice(0, Math.max(most, 50)).map((i) => {
    const row = like.cloneNode(true), shown = DATA.metrics.map((m) => told(m.kind, figures[m.name][i]));
    const texts = [...dims.map((d, k) => d.labels[codes[k][i]]), ...shown];
    texts.forEach((text, k) => { row.cells[k].textContent = text; });
    return row;
  }));
}

function sorting() {
  if (!$("best")) return;
  for (const th of $("best").tHead.rows[0].cells) {
    const button = document.createElement("button"), m = th.dataset.metric === undefined ? null : DATA.metrics[th.dataset.metric];
    button.type = "button";
    button.append(...th.childNodes);
    th.append(button);
    if (th.hasAttribute("aria-sort") && m.best === "lowest") th.setAttribute("aria-sort", "ascending");
    button.addEventListener("click", () => {
      const old = th.getAttribute("aria-sort"), up = old === null ? (m === null || m.best === "lowest") : old === "descending";
      sortBy(m === null ? codes[th.dataset.dim] : figures[m.name], up, th);
    });
  }
}

// ---------------------------------------------------------------- choices
function picks() {
  $("metric").addEventListener("change", (e) => { state.metric = metricOf(e.target.value); repaint(); });
  if (dims.length < 2) return;
  $("up").value = "1";
  for (const [id, other] of [["across", "up"], ["up", "across"]]) $(id).addEventListener("change", (e) => {
    const chosen = Number(e.target.value), old = state[id];
    // The two change places rather than be the same.
    if (state[other] === chosen) { state[other] = old; $(other).value = String(old); }
    state[id] = chosen;
    others();
    repaint();
  });
  others();
}

// A list for each parameter that is on neither axis.
function others() {
  for (const label of document.querySelectorAll("#picks label.other")) label.remove();
  dims.forEach((d, k) => {
    if (k === state.across || k === state.up) return;
    const label = document.createElement("label"), select = document.createElement("select");
    label.className = "other";
    select.id = `fixed${k}`;
    ["any, best shown", ...d.groups].forEach((text, g) => select.add(new Option(text, String(g - 1))));
    select.value = String(state.fixed[k]);
    select.addEventListener("change", () => { state.fixed[k] = Number(select.value); repaint(); });
    label.append(d.name, select);
    $("picks").append(label);
  });
}

async function start() {
  state.metric = metricOf(DATA.metric) ?? DATA.metrics[0];
  // Symbols are no parameter to choose the best of.
  state.fixed = dims.map((d) => (d.name === "symbol" ? 0 : -1));
  await decode();
  painters.push(paintMap, paintSpread, paintHalves);
  picks();
  sorting();
  shell();
  if ($("map")) answers($("map"), () => drawn);
  answers($("spread"), () => bins);
  if (DATA.halves) answers($("halves"), () => halves);
  document.documentElement.dataset.ready = "yes";
}

start().catch(failed);
