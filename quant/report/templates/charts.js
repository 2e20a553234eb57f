"use strict";
// Charts on one axis of steps. A window [lo, hi] is common to all; each draws the level of detail that fits.

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
// Units of the time axis, finest first: a clock's seconds -> a number that changes where a label may stand.
const UNITS = [
  ...[1, 5, 15, 30].map((n) => [(s) => Math.floor(s / n), "second"]),
  ...[1, 5, 15, 30, 60, 120, 240].map((n) => [(s) => Math.floor(s / 60 / n), "minute"]),
  [(s) => Math.floor(s / 86400), "day"],
  [(s) => Math.floor((s / 86400 + 3) / 7), "day"],
  ...[1, 3, 6].map((n) => [(s) => Math.floor(month(s) / n), "month"]),
  ...[1, 2, 5, 10, 20].map((n) => [(s) => Math.floor(month(s) / 12 / n), "year"]),
];
const month = (s) => { const d = new Date(s * 1000); return 12 * d.getUTCFullYear() + d.getUTCMonth(); };

let colours = {};
function readColours() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["text", "soft", "rule", "grid", "page", "gain", "loss", "account", "hold", "up", "down", "one", "two", "three", "four", "wash"])
    colours[name] = style.getPropertyValue("--" + name).trim();
}
const LINES = ["one", "two", "three", "four"];
const OVER_BARS = ["four", "three", "two", "one"]; // the first two are not those of the marks

// ---------------------------------------------------------------- the window
const view = { lo: -0.5, hi: DATA.steps - 0.5, lowest: 4 };
const charts = [];
let waiting = false;

function setView(lo, hi) {
  const all = DATA.steps, least = Math.min(view.lowest, all), span = Math.min(Math.max(hi - lo, least), all);
  let begin = (lo + hi - span) / 2;
  begin = Math.min(Math.max(begin, -0.5), all - 0.5 - span);
  view.lo = begin;
  view.hi = begin + span;
  redraw();
}
const zoom = (by, at = (view.lo + view.hi) / 2) => setView(at - (at - view.lo) * by, at + (view.hi - at) * by);
const pan = (share) => setView(view.lo + share * (view.hi - view.lo), view.hi + share * (view.hi - view.lo));

function redraw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; drawNow(); });
}
function drawNow() {
  for (const c of charts) c.draw();
  for (const f of afterDraw) f();
}
const afterDraw = [];

// What a block has for the window: at the level that fits if it is decoded, else at a coarser one until it is.
const rowsFor = (width) => Math.max(2 * width, 600);
function windowOf(source, width) {
  const lo = view.lo, hi = view.hi, k = source.level(hi - lo, rowsFor(width));
  const found = source.rows(k, lo, hi);
  if (found !== null) return found;
  source.load(k, lo, hi).then((changed) => changed && redraw(), failed);
  for (let coarse = k + 1; coarse < source.levels.length; coarse++) {
    const rows = source.rows(coarse, lo, hi);
    if (rows !== null) return rows;
  }
  return null;
}

function centres(rows) {
  const x = new Float64Array(rows.count);
  for (let i = 0; i < x.length; i++) x[i] = rows.bucket[i] * rows.factor + (rows.factor - 1) / 2;
  return x;
}

// ---------------------------------------------------------------- time axis
let ticks = { splits: [], labels: [] };
function findTicks(rows, width) {
  const most = Math.max(Math.floor(width / 70), 2), n = rows.count;
  let best = null;
  for (const [key, unit] of UNITS) {
    const at = [];
    let old = n ? key(DATA.origin + rows.clock[0]) : 0;
    for (let i = 1; i < n && at.length <= most; i++) {
      const now = key(DATA.origin + rows.clock[i]);
      if (now !== old) at.push(i);
      old = now;
    }
    if (at.length <= most) { best = { at, unit }; break; }
  }
  if (best === null || best.at.length === 0) best = { at: n ? [Math.floor(n / 2)] : [], unit: n > 1 ? "day" : "any" };
  const step = (i) => rows.bucket[i] * rows.factor, perPixel = (view.hi - view.lo) / width;
  const seen = { day: null, year: null }, kept = [];
  for (const i of best.at) {
    const text = label(DATA.origin + rows.clock[i], best.unit, seen), room = (text.length * 6.2 + 14) * perPixel;
    if (step(i) - view.lo < room / 2) continue; // it would be cut off
    const last = kept[kept.length - 1];
    const day = (k) => Math.floor((DATA.origin + rows.clock[k]) / 86400), begins = i > 0 && day(i) !== day(i - 1);
    if (last && step(i) - last.step < (room + last.room) / 2) {
      // Nights take no room here: of two labels that touch, the one that begins a day stays.
      if (!begins || last.begins) continue;
      kept.pop();
    }
    kept.push({ step: step(i), text, room, begins });
  }
  ticks.splits = kept.map((k) => k.step);
  ticks.labels = kept.map((k) => k.text);
}
function label(clock, unit, seen) {
  const d = new Date(clock * 1000), year = d.getUTCFullYear(), day = `${d.getUTCDate()} ${MONTHS[d.getUTCMonth()]}`;
  const newYear = seen.year !== year, newDay = seen.day !== day;
  seen.year = year;
  seen.day = day;
  if (unit === "year") return String(year);
  if (unit === "month") return newYear ? `${MONTHS[d.getUTCMonth()]} ${year}` : MONTHS[d.getUTCMonth()];
  if (unit === "day") return newYear ? `${day} ${year}` : day;
  if (unit === "any") return moment(clock);
  const time = `${two(d.getUTCHours())}:${two(d.getUTCMinutes())}` + (unit === "second" ? ":" + two(d.getUTCSeconds()) : "");
  return newDay ? `${day} ${time}` : time;
}

// ---------------------------------------------------------------- one chart
// spec: box (element), lines [{name, column, colour, fill, dash}], candles, block, text(rows, i), format, marks
class Chart {
  constructor(spec) {
    Object.assign(this, spec);
    this.host = this.box.querySelector(".plot");
    this.readout = this.box.querySelector(".readout");
    this.make();
    charts.push(this);
  }

  height() {
    return this.host.clientHeight || 200;
  }

  make() {
    if (this.plot) this.plot.destroy();
    const width = Math.max(this.host.clientWidth, 100), narrow = width < 520;
    const line = { stroke: () => colours.soft, grid: { stroke: () => colours.grid, width: 1 }, ticks: { show: false }, font: "11px " + FONT };
    const columns = this.candles ? ["open", "high", "low", "close"] : [];
    const drawn = this.lines.flatMap((l) => [l.column, l.column + ".min", l.column + ".max"]);
    this.columns = [...columns, ...drawn];
    this.plot = new uPlot({
      width, height: this.height(), legend: { show: false }, pxAlign: 1, padding: [8, 4, 0, 0],
      scales: {
        x: { time: false, range: () => [view.lo, view.hi] },
        y: { distr: this.log ? 3 : 1, range: (u, lo, hi) => this.range(lo, hi) },
      },
      axes: [
        { ...line, size: 24, gap: 4, splits: () => ticks.splits, values: () => ticks.labels, grid: { show: false }, border: { show: true, stroke: () => colours.rule, width: 1 } },
        { ...line, side: 1, size: narrow ? 52 : 66, gap: 6, space: 28, ...(this.log ? { splits: (u, axis, lo, hi) => powers(lo, hi), filter: (u, at) => at } : {}),
          values: (u, at) => at.map((v, i) => this.format(v, this.log ? Math.min(v, 1) : Math.abs(at[1] - at[0]))) },
      ],
      series: [{}, ...this.columns.map(() => ({ paths: () => null, points: { show: false } }))],
      cursor: { sync: { key: "run", scales: ["x", null] }, drag: { x: true, y: false, setScale: false }, points: { show: false }, y: false },
      hooks: {
        draw: [(u) => this.paint(u)],
        setCursor: [(u) => this.point(u)],
        setSelect: [(u) => {
          const { left, width: wide } = u.select;
          u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
          if (wide > 4) setView(u.posToVal(left, "x"), u.posToVal(left + wide, "x"));
        }],
      },
    }, [[0], ...this.columns.map(() => [null])], this.host);
    this.plot.over.addEventListener("dblclick", () => setView(-0.5, DATA.steps - 0.5));
    gestures(this.plot);
  }

  range(lo, hi) {
    if (lo === null || hi === null || !Number.isFinite(lo) || !Number.isFinite(hi)) return this.log ? [1, 10] : [0, 1];
    if (this.ceiling !== undefined) hi = Math.max(hi, this.ceiling);
    if (this.log) return lo > 0 && hi > lo ? [lo * Math.pow(lo / hi, 0.04), hi * Math.pow(hi / lo, 0.04)] : [hi / 2, hi * 2];
    const room = (hi - lo || Math.abs(hi) || 1) * 0.06;
    return [lo - room, hi + (this.ceiling === hi ? 0 : room)];
  }

  draw() {
    const width = this.plot.bbox.width / devicePixelRatio, rows = windowOf(this.block, width);
    if (rows === null) return;
    this.rows = rows;
    this.x = centres(rows);
    const wanted = this.columns.map((name) => rows[name] ?? rows[name.replace(/\.(min|max)$/, "")]);
    this.values = Object.fromEntries(this.columns.map((name, i) => [name, wanted[i]]));
    const nulls = (a) => Array.from(a, (v) => (Number.isNaN(v) || (this.log && v <= 0) ? null : v));
    this.plot.batch(() => {
      this.plot.setData([this.x, ...wanted.map(nulls)], false);
      this.plot.setScale("x", { min: view.lo, max: view.hi });
    });
    if (!this.pointed) this.tell(null);
  }

  resize() {
    this.plot.setSize({ width: Math.max(this.host.clientWidth, 100), height: this.height() });
  }

  // -------------------------------------------------------------- painting
  paint(u) {
    if (!this.rows) return;
    const c = u.ctx, box = u.bbox;
    c.save();
    c.beginPath();
    c.rect(box.left, box.top, box.width, box.height);
    c.clip();
    if (this.candles) this.paintCandles(u, c);
    for (const l of this.lines) this.paintLine(u, c, l);
    if (this.base !== undefined) {
      const y = Math.round(u.valToPos(this.base, "y", true)) + 0.5;
      stroke(c, colours.rule, 1, () => { c.moveTo(box.left, y); c.lineTo(box.left + box.width, y); });
    }
    if (this.marks) this.marks(u, c, this);
    c.restore();
  }

  paintCandles(u, c) {
    const r = this.rows, n = r.count, dpr = devicePixelRatio, step = u.bbox.width / (view.hi - view.lo);
    const wide = Math.min(step * r.factor * (r.factor === 1 ? this.stride : 1) * 0.7, 14 * dpr);
    const y = (v) => u.valToPos(v, "y", true);
    const up = new Path2D(), down = new Path2D(), wicks = new Path2D();
    if (wide < 2.5 * dpr) {
      // Too narrow for bodies: the range of each, and the closes.
      const closes = new Path2D();
      for (let i = 0; i < n; i++) {
        const x = u.valToPos(this.x[i], "x", true);
        wicks.moveTo(x, y(r.high[i]));
        wicks.lineTo(x, y(r.low[i]));
        i ? closes.lineTo(x, y(r.close[i])) : closes.moveTo(x, y(r.close[i]));
      }
      c.lineWidth = Math.max(wide, dpr);
      c.strokeStyle = colours.up;
      c.stroke(wicks);
      c.lineWidth = dpr;
      c.strokeStyle = colours.down;
      c.stroke(closes);
      return;
    }
    for (let i = 0; i < n; i++) {
      const x = Math.round(u.valToPos(this.x[i], "x", true)) + 0.5, o = y(r.open[i]), e = y(r.close[i]);
      const body = e <= o ? up : down;
      wicks.moveTo(x, y(r.high[i]));
      wicks.lineTo(x, Math.min(o, e));
      wicks.moveTo(x, Math.max(o, e));
      wicks.lineTo(x, y(r.low[i]));
      body.rect(x - wide / 2, Math.min(o, e), wide, Math.max(Math.abs(o - e), dpr));
    }
    c.lineWidth = dpr;
    c.strokeStyle = colours.down;
    c.stroke(wicks);
    c.stroke(up);
    c.fillStyle = colours.page;
    c.fill(up);
    c.fillStyle = colours.down;
    c.fill(down);
    c.stroke(down);
  }

  paintLine(u, c, l) {
    const x = this.x, v = this.values[l.column], lo = this.values[l.column + ".min"], hi = this.values[l.column + ".max"];
    const ok = (w) => !Number.isNaN(w) && !(this.log && w <= 0), coarse = this.rows.factor > 1;
    const path = new Path2D(), range = new Path2D(), dpr = devicePixelRatio;
    let pen = false, first = null, last = null;
    for (let i = 0; i < x.length; i++) {
      if (!ok(v[i])) { pen = false; continue; }
      const px = u.valToPos(x[i], "x", true), py = u.valToPos(v[i], "y", true);
      pen ? path.lineTo(px, py) : path.moveTo(px, py);
      if (!pen && (i + 1 === x.length || !ok(v[i + 1]))) path.lineTo(px + dpr, py); // a value alone
      pen = true;
      first = first ?? px;
      last = px;
      if (coarse && ok(lo[i]) && ok(hi[i])) {
        range.moveTo(px, u.valToPos(lo[i], "y", true));
        range.lineTo(px, u.valToPos(hi[i], "y", true));
      }
    }
    if (first === null) return;
    if (l.fill) {
      const area = new Path2D(path), y0 = u.valToPos(this.base, "y", true);
      area.lineTo(last, y0);
      area.lineTo(first, y0);
      c.globalAlpha = 0.16;
      c.fillStyle = colours[l.colour];
      c.fill(area);
      c.globalAlpha = 1;
    }
    c.lineJoin = "round";
    c.strokeStyle = colours[l.colour];
    c.lineWidth = dpr;
    c.globalAlpha = 0.45;
    c.stroke(range);
    c.globalAlpha = 1;
    c.lineWidth = (l.wide ?? 1.4) * dpr;
    c.setLineDash((l.dash ?? []).map((d) => d * dpr));
    c.stroke(path);
    c.setLineDash([]);
  }

  // -------------------------------------------------------------- pointing
  point(u) {
    const left = u.cursor.left;
    this.pointed = left !== null && left >= 0 && this.rows && this.rows.count > 0;
    if (!this.pointed) { this.tell(null); if (this.hover) this.hover(null); return; }
    const at = u.posToVal(left, "x"), i = nearest(this.x, at);
    this.tell(i);
    if (this.hover && u.cursor.event) this.hover({ at, i, left, top: u.cursor.top, u });
  }

  // i: row under the pointer, null = the last of the window.
  tell(i) {
    const row = i ?? (this.rows ? this.rows.count - 1 : -1);
    if (row < 0) return;
    this.readout.replaceChildren(...this.text(this, row).map(([name, value, colour]) => {
      const span = document.createElement("span");
      if (colour) {
        const mark = document.createElement("i");
        mark.className = "c-" + colour;
        span.append(mark);
      }
      span.append(name ? name + " " : "");
      const b = document.createElement("b");
      b.textContent = value;
      span.append(b);
      return span;
    }));
  }
}

// The step, a round number, that gives at most `most` parts.
function niceStep(span, most) {
  const raw = span / most, size = Math.pow(10, Math.floor(Math.log10(raw)));
  return [1, 2, 5, 10].map((m) => m * size).find((s) => s >= raw * (1 - 1e-9));
}

// Labels of a logarithmic axis: 1, 2, 5, 10, ... or, over many decades, 1, 10, 100; over less than one, even steps.
function powers(lo, hi) {
  const out = [], steps = hi / lo < 30 ? [1, 2, 5] : [1];
  if (hi / lo < 4) {
    const step = niceStep(hi - lo, 7);
    for (let k = Math.ceil(lo / step); k * step <= hi; k++) out.push(Number((k * step).toPrecision(9)));
    return out;
  }
  for (let e = Math.floor(Math.log10(lo)); e <= Math.log10(hi); e++)
    for (const s of steps) { const v = Number((s * Math.pow(10, e)).toPrecision(3)); if (v >= lo && v <= hi) out.push(v); }
  return out;
}

function stroke(c, colour, width, path) {
  c.beginPath();
  path();
  c.strokeStyle = colour;
  c.lineWidth = width;
  c.stroke();
}

function nearest(x, at) {
  const i = below(x, at);
  return i === 0 ? 0 : i === x.length ? i - 1 : at - x[i - 1] < x[i] - at ? i - 1 : i;
}

// Wheel with Ctrl or Shift, two fingers to zoom, one to move. One finger up or down still scrolls the page.
function gestures(u) {
  const over = u.over, at = (e) => u.posToVal(e.clientX - over.getBoundingClientRect().left, "x");
  over.addEventListener("wheel", (e) => {
    if (e.ctrlKey || e.metaKey) zoom(Math.exp(Math.max(Math.min(e.deltaY, 100), -100) / 250), at(e));
    else if (e.shiftKey || Math.abs(e.deltaX) > Math.abs(e.deltaY)) pan((e.deltaX || e.deltaY) / 800);
    else return;
    e.preventDefault();
  }, { passive: false });
  const fingers = new Map();
  over.addEventListener("pointerdown", (e) => { if (e.pointerType === "touch") fingers.set(e.pointerId, e.clientX); });
  for (const end of ["pointerup", "pointercancel"]) over.addEventListener(end, (e) => fingers.delete(e.pointerId));
  over.addEventListener("pointermove", (e) => {
    if (!fingers.has(e.pointerId)) return;
    const width = over.clientWidth, span = view.hi - view.lo, old = [...fingers.values()], moved = e.clientX - fingers.get(e.pointerId);
    fingers.set(e.pointerId, e.clientX);
    const now = [...fingers.values()];
    if (now.length === 1) setView(view.lo - moved / width * span, view.hi - moved / width * span);
    else if (now.length === 2) zoom(Math.abs(old[0] - old[1]) / Math.max(Math.abs(now[0] - now[1]), 8));
  });
}
