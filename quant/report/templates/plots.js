"use strict";
// What the pages of sweeps and walk-forwards share: theme, print, tips, axes on a canvas, pointer and keys. All
// drawing is in CSS pixels.

const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif';
const $ = (id) => document.getElementById(id);
const tip = $("tip"), ring = $("ring");
const painters = []; // of canvases: called after a change of size or theme

function failed(error) {
  const old = typeof DecompressionStream === "undefined";
  $("trouble").textContent = old
    ? "This browser is too old for the charts (it has no DecompressionStream). The tables are complete without them."
    : `The charts could not be drawn: ${error}. The tables are complete without them.`;
  $("trouble").hidden = false;
}

// ---------------------------------------------------------------- as text
const compact = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 2 });
const decimalsFor = (step) => Math.min(Math.max(-Math.floor(Math.log10(Math.abs(step) || 1) + 1e-9), 0), 8);
const axisNumber = (v, step) => minus(Math.abs(v) >= 1e5 ? compact.format(v) : v.toLocaleString("en-US", { minimumFractionDigits: decimalsFor(step), maximumFractionDigits: decimalsFor(step) }));
const axisPercent = (v, step) => minus((100 * v).toFixed(decimalsFor(100 * step))) + "%";
const inPercent = (kind) => kind === "percent" || kind === "share";

// A figure as the tables write it.
function told(kind, v) {
  if (!Number.isFinite(v)) return "\u2013";
  if (kind === "percent") return (v < 0 || Object.is(v, -0) ? "" : "+") + number(100 * v) + "%";
  return inPercent(kind) ? number(100 * v) + "%" : number(v, kind === "whole" ? 0 : 2);
}
const onAxis = (kind) => (inPercent(kind) ? axisPercent : axisNumber);

// ---------------------------------------------------------------- canvas
function sized(canvas) {
  canvas.width = Math.round(canvas.clientWidth * devicePixelRatio);
  canvas.height = Math.round(canvas.clientHeight * devicePixelRatio);
  const c = canvas.getContext("2d");
  c.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
  c.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
  c.font = `11px ${FONT}`;
  return c;
}

function ticksOf([lo, hi], most, text) {
  const step = niceStep(hi - lo, Math.max(most, 2)), out = [];
  for (let k = Math.ceil(lo / step - 1e-9); k * step <= hi + step * 1e-9; k++) out.push([k * step || 0, text(k * step || 0, step)]); // || 0: no \u22120
  return out;
}

// A range with room around it. values: finite; beside: more that must be inside.
function spanOf(values, beside = [], room = 0.05) {
  let lo = Infinity, hi = -Infinity;
  for (const list of [values, beside]) for (const v of list) if (Number.isFinite(v)) { if (v < lo) lo = v; if (v > hi) hi = v; }
  if (lo > hi) return [0, 1];
  const more = (hi - lo || Math.abs(hi) || 1) * room;
  return [lo - more, hi + more];
}

function cut(c, text, width) {
  if (c.measureText(text).width <= width) return text;
  while (text.length > 1 && c.measureText(text + "\u2026").width > width) text = text.slice(0, -1);
  return text + "\u2026";
}

// Axes with a grid. x, y: ranges. xs, ys: [[value, text]], by default round numbers. xName: below the axis.
// The result maps values to places: px, py; and the other way round.
function plane(canvas, { x, y, xs, ys, xText = axisNumber, yText = axisNumber, xName = "", top = 8, lines = true }) {
  const c = sized(canvas), w = canvas.clientWidth, h = canvas.clientHeight, bottom = xName ? 36 : 22;
  const words = ys !== undefined; // no 0 among them
  ys = ys ?? ticksOf(y, Math.floor((h - top - bottom) / 32), yText);
  const widest = Math.min(Math.max(...ys.map(([, text]) => c.measureText(text).width), 20), w * 0.3);
  const left = Math.ceil(widest) + 10, right = 12;
  xs = xs ?? ticksOf(x, Math.floor((w - left - right) / 70), xText);
  const px = (v) => left + (v - x[0]) / (x[1] - x[0] || 1) * (w - left - right);
  const py = (v) => top + (y[1] - v) / (y[1] - y[0] || 1) * (h - top - bottom);
  c.lineWidth = 1;
  c.textBaseline = "middle";
  c.textAlign = "right";
  for (const [v, text] of ys) {
    const at = Math.round(py(v)) + 0.5;
    if (lines) stroke(c, !words && Math.abs(v) < 1e-12 ? colours.soft : colours.grid, 1, () => { c.moveTo(left, at); c.lineTo(w - right, at); });
    c.fillStyle = colours.soft;
    c.fillText(cut(c, text, widest + 2), left - 6, at);
  }
  c.textBaseline = "top";
  c.textAlign = "center";
  c.fillStyle = colours.soft;
  const most = Math.max((w - left - right) / xs.length - 8, 64); // of a long word
  const labels = xs.map(([v, word]) => {
    const text = cut(c, word, most), wide = c.measureText(text).width, centre = Math.min(Math.max(px(v), left + wide / 2 - 6), w - wide / 2 - 1);
    return { v, text, from: centre - wide / 2, to: centre + wide / 2 };
  });
  // The first, and then every second, third, ... until no two touch.
  const spread = (n) => labels.filter((_, k) => k % n === 0), touch = (some) => some.some((l, k) => k > 0 && l.from < some[k - 1].to + 8);
  let every = 1;
  while (touch(spread(every))) every++;
  for (const l of spread(every)) {
    const at = Math.round(px(l.v)) + 0.5;
    if (lines === true) stroke(c, colours.grid, 1, () => { c.moveTo(at, top); c.lineTo(at, h - bottom); });
    c.fillText(l.text, (l.from + l.to) / 2, h - bottom + 5);
  }
  if (xName) {
    c.textAlign = "right";
    c.fillText(cut(c, xName, w - left - right), w - right, h - 14);
  }
  stroke(c, colours.rule, 1, () => { c.moveTo(left, h - bottom + 0.5); c.lineTo(w - right, h - bottom + 0.5); });
  return { c, px, py, left, top, right: w - right, bottom: h - bottom, ux: (at) => x[0] + (at - left) / (w - left - right) * (x[1] - x[0]) };
}

function dot(c, x, y, size, colour) {
  c.fillStyle = colour;
  c.beginPath();
  c.arc(x, y, size, 0, 7);
  c.fill();
}

// ---------------------------------------------------------------- tips
function showTip(lines, canvas, left, top) {
  tip.replaceChildren();
  const p = document.createElement("p");
  lines.forEach((text, n) => {
    const line = document.createElement(n ? "span" : "b");
    line.textContent = text;
    p.append(line);
  });
  tip.append(p);
  tip.hidden = false;
  const box = canvas.getBoundingClientRect(), wide = tip.offsetWidth, high = tip.offsetHeight, page = document.documentElement.clientWidth;
  let x = box.left + left + 16;
  if (x + wide > page - 8) x = box.left + left - wide - 16;
  tip.style.left = `${Math.min(Math.max(x, 8), page - wide - 8) + scrollX}px`;
  const above = box.top + top - high - 10;
  tip.style.top = `${(above < 8 ? box.top + top + 16 : above) + scrollY}px`;
}
function hideTip() {
  tip.hidden = ring.hidden = true;
}

function showRing(canvas, [x, y, w, h]) {
  const box = canvas.getBoundingClientRect();
  ring.hidden = false;
  ring.style.left = `${box.left + scrollX + x - w / 2 - 2}px`;
  ring.style.top = `${box.top + scrollY + y - h / 2 - 2}px`;
  ring.style.width = `${w + 4}px`;
  ring.style.height = `${h + 4}px`;
  ring.style.borderRadius = w === h && w < 14 ? "50%" : "0";
}

// Let a canvas answer pointer, tap and keys. model() gives what is drawn now: spots [[x, y, id]] and, if not the nearest
// spot within reach, find(x, y) -> place among them or -1; size [w, h] of a spot, or [x, y, id, w, h] of each; first:
// where the keys begin;
// move(at, key) -> place; lines(id) -> texts.
function answers(canvas, model) {
  let at = -1;
  const show = (place) => {
    const m = model();
    at = place;
    if (place < 0 || place >= m.spots.length) { at = -1; hideTip(); return; }
    const [x, y, id, ...own] = m.spots[place], size = own.length ? own : m.size ?? [11, 11];
    showRing(canvas, [x, y, ...size]);
    showTip(m.lines(id), canvas, x + size[0] / 2 - 8, y - size[1] / 2 + 4);
  };
  const point = (e) => {
    const m = model(), box = canvas.getBoundingClientRect(), x = e.clientX - box.left, y = e.clientY - box.top;
    show(m.find ? m.find(x, y) : nearestSpot(m.spots, x, y));
  };
  canvas.addEventListener("pointermove", point);
  canvas.addEventListener("pointerdown", point);
  canvas.addEventListener("pointerleave", (e) => { if (e.pointerType !== "touch") show(-1); });
  canvas.addEventListener("blur", () => show(-1));
  canvas.addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    if (e.key === "Escape") { show(-1); return; }
    const m = model(), moves = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 };
    if (!(e.key in moves) && e.key !== "Home" || !m.spots.length) return;
    e.preventDefault();
    if (e.key === "Home" || at < 0) show(m.first ?? 0);
    else show(m.move ? m.move(at, e.key) : Math.min(Math.max(at + moves[e.key], 0), m.spots.length - 1));
  });
}

function nearestSpot(spots, x, y) {
  let found = -1, least = 18 * 18;
  for (let k = 0; k < spots.length; k++) {
    const d = (spots[k][0] - x) ** 2 + (spots[k][1] - y) ** 2;
    if (d < least) { least = d; found = k; }
  }
  return found;
}

// In sample against out of sample with the diagonal, on one scale. Returns the spots, from left to right.
function pairs(canvas, xs, ys, { xName, yName, kind, best = -1 }) {
  const known = [];
  for (let i = 0; i < xs.length; i++) if (Number.isFinite(xs[i]) && Number.isFinite(ys[i])) known.push(i);
  const x = spanOf(known.map((i) => xs[i]), [0]), y = spanOf(known.map((i) => ys[i]), [0]), text = onAxis(kind);
  const p = plane(canvas, { x, y, xText: text, yText: text, xName: `${xName} \u2192`, top: 24 }), c = p.c;
  c.textAlign = "left";
  c.textBaseline = "top";
  c.fillStyle = colours.soft;
  c.fillText(`\u2191 ${yName}`, p.left - 8, 4);
  const lo = Math.max(x[0], y[0]), hi = Math.min(x[1], y[1]), zero = Math.round(p.px(0)) + 0.5;
  stroke(c, colours.soft, 1, () => { c.moveTo(zero, p.top); c.lineTo(zero, p.bottom); });
  c.setLineDash([5, 4]);
  if (hi > lo) stroke(c, colours.soft, 1.2, () => { c.moveTo(p.px(lo), p.py(lo)); c.lineTo(p.px(hi), p.py(hi)); });
  c.setLineDash([]);
  const many = known.length > 2000, size = many ? 1.6 : known.length > 300 ? 2.4 : 3.6;
  const spots = known.map((i) => [p.px(xs[i]), p.py(ys[i]), i]);
  c.globalAlpha = known.length > 20000 ? 0.1 : many ? 0.45 : 0.7;
  c.fillStyle = colours.one;
  if (many) for (const [a, b] of spots) c.fillRect(a - size / 2, b - size / 2, size, size);
  else for (const [a, b] of spots) dot(c, a, b, size, colours.one);
  c.globalAlpha = 1;
  spots.sort((a, b) => a[0] - b[0]);
  const star = spots.findIndex((s) => s[2] === best);
  if (star >= 0) {
    dot(c, spots[star][0], spots[star][1], 5.5, colours.page);
    dot(c, spots[star][0], spots[star][1], 4, colours.two);
  }
  return { spots, first: Math.max(star, 0) };
}

// ---------------------------------------------------------------- theme, size, print
const dark = matchMedia("(prefers-color-scheme: dark)");
function repaint() {
  hideTip();
  for (const paint of painters) paint();
}
function theme(name) {
  document.documentElement.dataset.theme = name;
  $("theme").textContent = name === "dark" ? "Light" : "Dark";
  readColours();
  for (const chart of charts) chart.plot.redraw();
  repaint();
}
function resize() {
  for (const chart of charts) chart.resize();
  if (charts.length) drawNow();
  repaint();
}
function shell() {
  $("theme").addEventListener("click", () => theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
  dark.addEventListener("change", () => theme(dark.matches ? "dark" : "light"));
  let resizing = 0, screenTheme = "light", wide = innerWidth;
  addEventListener("resize", () => {
    // A phone's address bar changes the height while one scrolls.
    if (innerWidth === wide) return;
    wide = innerWidth;
    cancelAnimationFrame(resizing);
    resizing = requestAnimationFrame(resize);
  });
  // Paper is light, and as wide as the style sheet says.
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
  theme(dark.matches ? "dark" : "light");
}
