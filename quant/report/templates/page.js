"use strict";
// What a reader does with the page: theme, symbol, keys, hovering over fills, scatter of trades, print.

const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif';
const $ = (id) => document.getElementById(id);
const host = $("charts"), tip = $("tip");

function failed(error) {
  const old = typeof DecompressionStream === "undefined";
  $("trouble").textContent = old
    ? "This browser is too old for the charts (it has no DecompressionStream). All tables are complete without them."
    : `The charts could not be drawn: ${error}. All tables are complete without them.`;
  $("trouble").hidden = false;
}

// ---------------------------------------------------------------- the charts of a run
const account = new Block(DATA.account);
let fills = null, trades = null, symbol = 0, prices = null;
const when = (chart, i) => {
  const c = chart.rows.clock ?? null, steps = chart.rows.factor;
  const clock = c ? c[i] : clockAt(chart.x[i] - (steps - 1) / 2);
  return [["", moment(DATA.origin + clock) + (steps > 1 ? ` (${steps} bars)` : "")]];
};

// The clock at a step, from the level of the account that is drawn.
function clockAt(step) {
  const rows = clocks;
  if (!rows || !rows.count) return NaN;
  const i = below(rows.bucket, step / rows.factor + 1e-9) - 1;
  return rows.clock[Math.max(Math.min(i + (rows.bucket[i + 1] * rows.factor <= step ? 1 : 0), rows.count - 1), 0)];
}
let clocks = null;

const compact = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 2 });
const decimalsFor = (step) => Math.min(Math.max(-Math.floor(Math.log10(Math.abs(step) || 1)), 0), 8);
const axisNumber = (v, step) => minus(Math.abs(v) >= 1e6 ? compact.format(v) : v.toLocaleString("en-US", { minimumFractionDigits: decimalsFor(step), maximumFractionDigits: decimalsFor(step) }));
const axisPercent = (v, step) => minus((100 * v).toFixed(decimalsFor(100 * step))) + "\u00a0%";

// The decimals that a line of the account kept.
const kept = (name) => Math.min(Math.max(account.levels[0].columns.find((c) => c.name === name).decimals, 0), 2);

function runCharts() {
  if (DATA.symbols.length) priceCharts();
  new Chart({
    box: $("equity"), block: account, format: axisNumber, log: DATA.log,
    lines: [{ column: "hold", colour: "hold", dash: [5, 3] }, { column: "equity", colour: "account", wide: 1.7 }],
    text: (c, i) => [...when(c, i), ["Account", number(c.rows.equity[i], kept("equity")), "account"], ["Buy and hold", number(c.rows.hold[i], kept("hold")), "hold"]],
  });
  new Chart({
    box: $("drawdown"), block: account, format: axisPercent, base: 0, ceiling: 0,
    lines: [{ column: "drawdown", colour: "loss", fill: true }],
    text: (c, i) => [...when(c, i), ["Drawdown", percent((c.rows["drawdown.min"] ?? c.rows.drawdown)[i]), "loss"]],
  });
  $("overview") && overview();
}

function priceCharts() {
  const s = DATA.symbols[symbol], log = $("log").checked;
  for (const old of charts.filter((c) => c.ofSymbol)) {
    old.plot.destroy();
    charts.splice(charts.indexOf(old), 1);
  }
  prices = new Block(s.block);
  $("panes").replaceChildren();
  const lines = (pane) => pane.lines.map((l, i) => ({ ...l, colour: (pane.name === "price" ? OVER_BARS : LINES)[i % LINES.length] }));
  const told = (c, i, drawn, text) => drawn.map((l) => [l.name, text(c.rows[l.column][i]), l.colour]);
  const over = s.panes.filter((p) => p.name === "price").flatMap(lines);
  const found = [new Chart({
    box: $("price"), block: prices, candles: true, stride: s.stride, ofSymbol: true, format: axisNumber, lines: over, log,
    marks: paintFills, hover: hoverFills,
    text: (c, i) => [
      ...when(c, i), ["", s.name],
      ...["open", "high", "low", "close"].map((n) => [n[0].toUpperCase(), price(c.rows[n][i])]),
      ["Vol", compact.format(c.rows.volume[i])], ...told(c, i, over, price),
    ],
  })];
  for (const pane of s.panes.filter((p) => p.name !== "price")) {
    const box = document.createElement("div"), drawn = lines(pane);
    box.className = "chart";
    box.innerHTML = '<p class="readout"></p><div class="plot low"></div>';
    $("panes").append(box);
    found.push(new Chart({
      box, block: prices, lines: drawn, ofSymbol: true, format: axisNumber,
      text: (c, i) => [...when(c, i), [pane.name, ""], ...told(c, i, drawn, (v) => Number.isInteger(v) ? number(v, 0) : price(v))],
    }));
  }
  charts.splice(0, charts.length, ...found, ...charts.filter((c) => !found.includes(c)));
  chooseFills();
}

// ---------------------------------------------------------------- fills
let chosen = new Int32Array(0), chosenSteps = new Float64Array(0);
function chooseFills() {
  if (!fills || !DATA.symbols.length) return;
  const code = fills.words.symbol.indexOf(DATA.symbols[symbol].name), rows = [];
  for (let i = 0; i < fills.rows; i++) if (fills.symbol[i] === code) rows.push(i);
  rows.sort((a, b) => fills.step[a] - fills.step[b] || a - b);
  chosen = Int32Array.from(rows);
  chosenSteps = Float64Array.from(rows, (i) => fills.step[i]);
}
const isEntry = (i) => ["entry", ""].includes(fills.word("reason", i));

function paintFills(u, c, chart) {
  if (!fills) return;
  const a = below(chosenSteps, view.lo), b = below(chosenSteps, view.hi + 1e-9), dpr = devicePixelRatio;
  const crowd = (b - a) / (u.bbox.width / dpr), size = (crowd > 0.35 ? 2.2 : crowd > 0.12 ? 4 : 5.5) * dpr, seen = new Set();
  for (let k = a; k < b; k++) {
    const i = chosen[k], x = u.valToPos(fills.step[i], "x", true), y = u.valToPos(fills.price[i], "y", true);
    const buy = fills.quantity[i] > 0, side = buy ? 1 : -1;
    // Of many on one spot one is drawn.
    const spot = `${Math.round(x / dpr / 2)},${Math.round(y / dpr / 4)},${side}`;
    if (crowd > 0.35 && seen.has(spot)) continue;
    seen.add(spot);
    const path = new Path2D();
    path.moveTo(x, y);
    path.lineTo(x - size, y + side * size * 1.7);
    path.lineTo(x + size, y + side * size * 1.7);
    path.closePath();
    c.lineWidth = (crowd > 0.35 ? 0.8 : 1.3) * dpr;
    c.strokeStyle = c.fillStyle = colours[buy ? "gain" : "loss"];
    if (!isEntry(i)) c.fillStyle = colours.page;
    c.fill(path);
    c.stroke(path);
    if (fills.ambiguous[i]) {
      const ring = new Path2D();
      ring.arc(x, y + side * size, size * 1.9, 0, 7);
      c.stroke(ring);
    }
  }
  if (marked !== null) {
    const x = u.valToPos(fills.step[marked], "x", true), y = u.valToPos(fills.price[marked], "y", true);
    stroke(c, colours.text, dpr, () => c.arc(x, y, 11 * dpr, 0, 7));
  }
}
let marked = null;

// The fills of the bars under the pointer, or near it.
function hoverFills(spot) {
  if (spot === null || !fills) { hideTip(); return; }
  const perPixel = (view.hi - view.lo) / spot.u.over.clientWidth, near = Math.max(7 * perPixel, 0.5);
  const a = below(chosenSteps, spot.at - near), b = below(chosenSteps, spot.at + near);
  if (a === b) { hideTip(); return; }
  const rows = Array.from(chosen.subarray(a, b)).sort((i, j) => Math.abs(fills.step[i] - spot.at) - Math.abs(fills.step[j] - spot.at));
  showTip(rows, spot.u.over, spot.left, spot.top);
}

function fillText(i) {
  const q = fills.quantity[i], lines = [];
  lines.push([`${q > 0 ? "Buy" : "Sell"} ${number(Math.abs(q), Number.isInteger(q) ? 0 : 4)} at ${price(fills.price[i])}`, fills.word("reason", i)]);
  lines.push([`filled in the bar of ${moment(fills.filled[i])}`, ""]);
  lines.push([`order ${fills.order[i]} (${fills.word("kind", i)}), decided ${moment(fills.decided[i])}`, ""]);
  const slipped = fills.slippage[i] > 0 ? `, slippage ${price(fills.slippage[i])} a unit` : "";
  lines.push([`commission ${price(fills.commission[i])}${slipped}`, ""]);
  if (fills.ambiguous[i]) lines.push(["the bar touched stop and limit: which came first is unknown", ""]);
  return lines;
}

function showTip(rows, over, left, top, describe = fillText) {
  tip.replaceChildren();
  for (const i of rows.slice(0, 3)) {
    const p = document.createElement("p");
    describe(i).forEach(([text, reason], n) => {
      const line = document.createElement(n ? "span" : "b");
      line.textContent = text;
      p.append(line);
      if (reason) {
        const tag = document.createElement("em");
        tag.textContent = reason;
        p.append(tag);
      }
    });
    tip.append(p);
  }
  if (rows.length > 3) {
    const more = document.createElement("p");
    more.textContent = `and ${rows.length - 3} more; look closer`;
    tip.append(more);
  }
  tip.hidden = false;
  const box = over.getBoundingClientRect(), wide = tip.offsetWidth, high = tip.offsetHeight;
  const page = document.documentElement.clientWidth;
  let x = box.left + left + 16;
  if (x + wide > page - 8) x = Math.max(box.left + left - wide - 16, 8);
  tip.style.left = `${x + scrollX}px`;
  tip.style.top = `${Math.max(box.top + top - high - 8, 8) + scrollY}px`;
}
const hideTip = () => { tip.hidden = true; };

// Keys n and p: the next fill after, or the last before, the marked one or the window's middle.
function goToFill(forward) {
  if (!chosen.length) return;
  const here = marked === null ? -1 : chosen.indexOf(marked), middle = below(chosenSteps, (view.lo + view.hi) / 2);
  let k = here < 0 ? (forward ? middle : middle - 1) : here + (forward ? 1 : -1);
  k = Math.min(Math.max(k, 0), chosen.length - 1);
  marked = chosen[k];
  const step = fills.step[marked], span = Math.min(view.hi - view.lo, Math.max(120, DATA.steps / 500));
  setView(step - span / 2, step + span / 2);
  requestAnimationFrame(() => requestAnimationFrame(() => {
    const chart = charts[0], u = chart.plot;
    showTip([marked], u.over, u.valToPos(step, "x"), u.valToPos(fills.price[marked], "y"));
  }));
}

// ---------------------------------------------------------------- the strip of the whole run
function overview() {
  const canvas = $("overview").querySelector("canvas"), k = account.levels.length - 1;
  account.load(k, 0, DATA.steps).then(redraw, failed);
  const across = (e) => (e.clientX - canvas.getBoundingClientRect().left) / canvas.clientWidth * DATA.steps - 0.5;
  let held = null;
  canvas.addEventListener("pointerdown", (e) => {
    const at = across(e);
    held = at >= view.lo && at <= view.hi ? at - view.lo : (view.hi - view.lo) / 2;
    canvas.setPointerCapture(e.pointerId);
    setView(at - held, at - held + view.hi - view.lo);
  });
  canvas.addEventListener("pointermove", (e) => { if (held !== null) setView(across(e) - held, across(e) - held + view.hi - view.lo); });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { held = null; });
  afterDraw.push(() => {
    const c = sized(canvas), w = canvas.width, h = canvas.height, rows = account.rows(k, -0.5, DATA.steps);
    if (rows === null) return;
    const column = DATA.lines ? DATA.lines[0].column : "equity", v = rows[column];
    const known = v.filter((x) => !Number.isNaN(x)), lo = Math.min(...known), hi = Math.max(...known);
    const x = (s) => (s + 0.5) / DATA.steps * w, y = (e) => h - 3 - (e - lo) / (hi - lo || 1) * (h - 6);
    c.fillStyle = colours.wash;
    c.fillRect(0, 0, w, h);
    c.fillStyle = colours.page;
    c.fillRect(x(view.lo), 0, Math.max(x(view.hi) - x(view.lo), 3 * devicePixelRatio), h);
    stroke(c, colours.soft, devicePixelRatio, () => { for (let i = 0; i < rows.count; i++) c.lineTo(x((rows.bucket[i] + 0.5) * rows.factor - 0.5), y(v[i])); });
    c.strokeStyle = colours.account;
    c.lineWidth = 1.5 * devicePixelRatio;
    c.strokeRect(x(view.lo), 1, Math.max(x(view.hi) - x(view.lo), 3 * devicePixelRatio), h - 2);
  });
}

function sized(canvas) {
  canvas.width = Math.round(canvas.clientWidth * devicePixelRatio);
  canvas.height = Math.round(canvas.clientHeight * devicePixelRatio);
  return canvas.getContext("2d");
}

// ---------------------------------------------------------------- scatter of trades
function scatter(canvas, name) {
  const c = sized(canvas), dpr = devicePixelRatio, w = canvas.width, h = canvas.height, n = trades.rows;
  const left = 56 * dpr, right = 10 * dpr, top = 8 * dpr, bottom = 30 * dpr;
  const xs = trades[name], ys = trades["gross"];
  const known = [...Array(n).keys()].filter((i) => !Number.isNaN(xs[i]) && !Number.isNaN(ys[i]));
  const span = (values) => { let lo = 0, hi = 0; for (const v of values) { if (v < lo) lo = v; if (v > hi) hi = v; } const room = (hi - lo || 0.01) * 0.05; return [lo < 0 ? lo - room : 0, hi > 0 ? hi + room : 0]; };
  const [x0, x1] = span(known.map((i) => xs[i])), [y0, y1] = span(known.map((i) => ys[i]));
  const px = (v) => left + (v - x0) / (x1 - x0 || 1) * (w - left - right), py = (v) => top + (y1 - v) / (y1 - y0 || 1) * (h - top - bottom);
  c.clearRect(0, 0, w, h);
  c.font = `${11 * dpr}px ${FONT}`;
  c.fillStyle = colours.soft;
  const axis = (lo, hi, most, draw) => { const step = niceStep(hi - lo, most); for (let v = Math.ceil(lo / step) * step; v <= hi + 1e-12; v += step) draw(v, axisPercent(Math.abs(v) < 1e-12 ? 0 : v, step)); };
  axis(x0, x1, Math.max(Math.floor(w / dpr / 80), 2), (v, text) => { const at = Math.round(px(v)) + 0.5; stroke(c, colours.grid, dpr, () => { c.moveTo(at, top); c.lineTo(at, h - bottom); }); c.textAlign = "center"; c.textBaseline = "top"; c.fillText(text, Math.min(at, w - c.measureText(text).width / 2), h - bottom + 6 * dpr); });
  axis(y0, y1, 6, (v, text) => { const at = Math.round(py(v)) + 0.5; stroke(c, v === 0 || Math.abs(v) < 1e-12 ? colours.soft : colours.grid, dpr, () => { c.moveTo(left, at); c.lineTo(w - right, at); }); c.textAlign = "right"; c.textBaseline = "middle"; c.fillText(text, left - 6 * dpr, at); });
  const size = (known.length > 2000 ? 1.5 : known.length > 300 ? 2.4 : 3.4) * dpr, spots = [];
  c.globalAlpha = known.length > 2000 ? 0.45 : 0.75;
  for (const i of known) {
    const x = px(xs[i]), y = py(ys[i]);
    c.fillStyle = colours[trades.pnl[i] > 0 ? "gain" : "loss"];
    c.beginPath();
    trades.quantity[i] > 0 ? c.arc(x, y, size, 0, 7) : c.rect(x - size * 0.9, y - size * 0.9, size * 1.8, size * 1.8);
    c.fill();
    spots.push([x / dpr, y / dpr, i]);
  }
  c.globalAlpha = 1;
  canvas.spots = spots;
}

function tradeText(i) {
  const q = trades.quantity[i];
  return [
    [`${q > 0 ? "Long" : "Short"} ${number(Math.abs(q), Number.isInteger(q) ? 0 : 4)} ${trades.word("symbol", i)}`, trades.word("reason", i)],
    [`${moment(trades.entered[i])} at ${price(trades.entry_price[i])}`, ""],
    [`${trades.open[i] ? "still held, last close" : moment(trades.left[i])} at ${price(trades.exit_price[i])}`, ""],
    [`result ${signed(trades.pnl[i])} (${percent(trades.return[i])})`, ""],
    [`best ${percent(trades.mfe[i])}, worst ${percent(trades.mae[i])}`, ""],
  ];
}

function hoverTrades(canvas) {
  const near = (e) => {
    const box = canvas.getBoundingClientRect(), x = e.clientX - box.left, y = e.clientY - box.top;
    let best = null, least = 144;
    for (const [sx, sy, i] of canvas.spots ?? []) {
      const d = (sx - x) ** 2 + (sy - y) ** 2;
      if (d < least) { least = d; best = [i, sx, sy]; }
    }
    return best;
  };
  canvas.addEventListener("pointermove", (e) => { const found = near(e); found ? showTip([found[0]], canvas, found[1], found[2], tradeText) : hideTip(); });
  canvas.addEventListener("pointerleave", hideTip);
  canvas.addEventListener("click", (e) => { const found = near(e); if (found) { hideTip(); showTrade(found[0]); } });
}

function showTrade(i) {
  const name = trades.word("symbol", i), at = DATA.symbols.findIndex((s) => s.name === name);
  if (at >= 0 && at !== symbol) {
    symbol = at;
    $("symbol").value = name;
    priceCharts();
  }
  const a = trades.entry_step[i], b = trades.exit_step[i], room = Math.max((b - a) * 0.6, 20);
  setView(a - room, b + room);
  host.scrollIntoView({ block: "start", behavior: "auto" });
}

function scatters() {
  if (trades) for (const name of ["mae", "mfe"]) if ($(name)) scatter($(name), name);
}

// ---------------------------------------------------------------- theme, size, keys, print
const dark = matchMedia("(prefers-color-scheme: dark)");
function theme(name) {
  document.documentElement.dataset.theme = name;
  $("theme").textContent = name === "dark" ? "Light" : "Dark";
  readColours();
  for (const c of charts) c.plot.redraw();
  scatters();
  redraw();
}
$("theme").addEventListener("click", () => theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
dark.addEventListener("change", () => theme(dark.matches ? "dark" : "light"));

const actions = {
  in: () => zoom(0.5), out: () => zoom(2), left: () => pan(-0.3), right: () => pan(0.3),
  all: () => { marked = null; hideTip(); setView(-0.5, DATA.steps - 0.5); },
  "earlier-fill": () => goToFill(false), "later-fill": () => goToFill(true),
};
const keys = { "+": "in", "=": "in", "-": "out", ArrowLeft: "left", ArrowRight: "right", 0: "all", Home: "all", p: "earlier-fill", n: "later-fill" };
for (const b of document.querySelectorAll("[data-do]")) b.addEventListener("click", () => actions[b.dataset.do]());
if (host) host.addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey) return;
  if (e.key === "Escape") hideTip();
  if (!(e.key in keys)) return;
  e.preventDefault();
  actions[keys[e.key]]();
});
if ($("symbol")) $("symbol").addEventListener("change", (e) => { symbol = e.target.selectedIndex; marked = null; hideTip(); priceCharts(); redraw(); });
if ($("log")) $("log").addEventListener("change", (e) => {
  for (const c of charts) if (c.box.id === "price" || c.box.id === "equity") { c.log = e.target.checked; c.make(); }
  drawNow();
});

function resize() {
  for (const c of charts) c.resize();
  scatters();
  drawNow();
}
let resizing = 0;
addEventListener("resize", () => { cancelAnimationFrame(resizing); resizing = requestAnimationFrame(resize); });

// Paper is light, and as wide as the style sheet says.
let screenTheme = "light";
addEventListener("beforeprint", () => {
  screenTheme = document.documentElement.dataset.theme;
  document.documentElement.classList.add("printing");
  for (const d of document.querySelectorAll("details")) d.open = true;
  theme("light");
  resize();
});
addEventListener("afterprint", () => {
  document.documentElement.classList.remove("printing");
  theme(screenTheme);
  resize();
});

// ---------------------------------------------------------------- start
async function start() {
  theme(dark.matches ? "dark" : "light");
  afterDraw.unshift(() => {
    const width = charts.length ? charts[0].plot.bbox.width / devicePixelRatio : 600, rows = windowOf(account, width);
    if (rows === null) return;
    const fresh = clocks === null;
    clocks = rows;
    const before = JSON.stringify(ticks);
    findTicks(rows, width);
    if (fresh || before !== JSON.stringify(ticks)) { for (const c of charts) c.plot.redraw(false, true); for (const c of charts) if (!c.pointed) c.tell(null); }
  });
  if ($("log")) $("log").checked = DATA.log;
  if (DATA.lines) comparedCharts();
  else runCharts();
  if (DATA.fills && DATA.fills.rows) fills = await table(DATA.fills);
  if (DATA.trades && DATA.trades.rows) {
    trades = await table(DATA.trades);
    // Before costs, as MFE and MAE are.
    trades.gross = trades.exit_price.map((v, i) => trades.entry_price[i] > 0 ? Math.sign(trades.quantity[i]) * (v / trades.entry_price[i] - 1) : NaN);
    for (const name of ["mae", "mfe"]) if ($(name)) hoverTrades($(name));
  }
  chooseFills();
  scatters();
  const width = charts.length ? charts[0].plot.bbox.width / devicePixelRatio : 600;
  const blocks = new Set([account, ...charts.map((c) => c.block)]);
  await Promise.all([...blocks].map((b) => b.load(b.level(DATA.steps, rowsFor(width)), view.lo, view.hi)));
  drawNow();
  document.documentElement.dataset.ready = "yes";
}

// Of several runs: a line each, on one axis of sessions.
function comparedCharts() {
  const lines = DATA.lines.map((l, i) => ({ ...l, dash: i < LINES.length ? [] : [5, 3], colour: LINES[i % LINES.length] }));
  const chart = (id, suffix, format, text, extra) => new Chart({
    box: $(id), block: account, format, log: DATA.log && id === "equity", lines: lines.map((l) => ({ ...l, column: l.column + suffix })), ...extra,
    text: (c, i) => [...when(c, i), ...lines.map((l) => [l.name, text(c.rows[l.column + suffix][i]), l.colour])],
  });
  chart("equity", "", (v, step) => axisPercent(v - 1, step), (v) => percent(v - 1), { base: 1 });
  chart("drawdown", "fall", axisPercent, (v) => percent(v), { base: 0, ceiling: 0 });
  $("overview") && overview();
}

start().catch(failed);
