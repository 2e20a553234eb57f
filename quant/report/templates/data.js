"use strict";
// The data of the page: chunks of columns, decoded when they are first drawn. See quant/report/levels.py.

const DATA = JSON.parse(document.getElementById("data").textContent);
const MISSING = -2147483648;

async function inflate(number) {
  const text = atob(document.getElementById("blob" + number).textContent);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// Column `at` of `rows` whole numbers: planes of bytes, and small numbers of either sign first.
function wholes(bytes, rows, at) {
  const out = new Int32Array(rows), base = at * 4 * rows;
  for (let i = 0; i < rows; i++) {
    const v = bytes[base + i] | bytes[base + rows + i] << 8 | bytes[base + 2 * rows + i] << 16 | bytes[base + 3 * rows + i] << 24;
    out[i] = (v >>> 1) ^ -(v & 1);
  }
  return out;
}

function sums(ints) {
  for (let i = 1; i < ints.length; i++) ints[i] = (ints[i - 1] + ints[i]) | 0;
  return ints;
}

function scaled(ints, decimals) {
  const out = new Float64Array(ints.length), by = Math.pow(10, Math.abs(decimals));
  for (let i = 0; i < ints.length; i++) out[i] = ints[i] === MISSING ? NaN : decimals < 0 ? ints[i] * by : ints[i] / by;
  return out;
}

// Rows of one or more columns on the common axis of steps, in levels of detail.
class Block {
  constructor(spec) {
    this.levels = spec.levels;
    this.ready = new Map();
    this.asked = new Map();
  }

  // The finest level that takes at most `most` rows for `span` steps.
  level(span, most) {
    const fine = this.levels.findIndex((l) => span / l.factor <= most);
    return fine < 0 ? this.levels.length - 1 : fine;
  }

  chunks(k, lo, hi) {
    const level = this.levels[k], all = level.chunks;
    return all.filter((c, i) => c.first * level.factor <= hi && (i + 1 === all.length || all[i + 1].first * level.factor > lo));
  }

  // What lies in the window, from one chunk or more; null while a chunk is not decoded.
  rows(k, lo, hi) {
    const level = this.levels[k];
    const parts = this.chunks(k, lo, hi).map((c) => this.ready.get(c.blob));
    if (parts.some((p) => p === undefined)) return null;
    const from = lo / level.factor - 1, to = hi / level.factor;
    const cut = parts.map((p) => [p, below(p.bucket, from), below(p.bucket, to + 1e-9)]);
    const count = cut.reduce((n, c) => n + c[2] - c[1], 0);
    const out = { factor: level.factor, count };
    for (const name of ["bucket", ...level.columns.map((c) => c.name)]) {
      const joined = (out[name] = new Float64Array(count));
      let at = 0;
      for (const [p, a, b] of cut) {
        joined.set(p[name].subarray(a, b), at);
        at += b - a;
      }
    }
    return out;
  }

  // Decode the chunks of the window; true if any was missing.
  async load(k, lo, hi) {
    const wanted = this.chunks(k, lo, hi).filter((c) => !this.ready.has(c.blob));
    await Promise.all(wanted.map((c) => {
      if (!this.asked.has(c.blob)) this.asked.set(c.blob, this.decode(this.levels[k], c));
      return this.asked.get(c.blob);
    }));
    return wanted.length > 0;
  }

  async decode(level, chunk) {
    const bytes = await inflate(chunk.blob), ints = {}, out = {};
    out.bucket = Float64Array.from(sums(wholes(bytes, chunk.rows, 0)));
    level.columns.forEach((c, i) => {
      const raw = wholes(bytes, chunk.rows, i + 1);
      if (c.base === null) sums(raw);
      else for (let r = 0; r < raw.length; r++) raw[r] = (raw[r] + ints[c.base][r]) | 0;
      ints[c.name] = raw;
      out[c.name] = scaled(raw, c.decimals);
    });
    this.ready.set(chunk.blob, out);
  }
}

// The first place of a sorted array that is not below `value`.
function below(values, value) {
  let lo = 0, hi = values.length;
  while (lo < hi) {
    const mid = (lo + hi) >> 1;
    if (values[mid] < value) lo = mid + 1;
    else hi = mid;
  }
  return lo;
}

// A table of float64 columns; words are numbers of a list.
async function table(spec) {
  const bytes = await inflate(spec.blob), out = { rows: spec.rows, words: spec.words };
  spec.columns.forEach((name, at) => {
    const n = spec.rows, raw = new Uint8Array(8 * n), base = at * 8 * n;
    for (let p = 0; p < 8; p++) for (let i = 0; i < n; i++) raw[8 * i + p] = bytes[base + p * n + i];
    const view = new DataView(raw.buffer), column = (out[name] = new Float64Array(n));
    for (let i = 0; i < n; i++) column[i] = view.getFloat64(8 * i, true);
  });
  out.word = (name, row) => spec.words[name][out[name][row]];
  return out;
}

// ---------------------------------------------------------------- as text
const minus = (text) => text.replace("-", "\u2212");
const number = (v, digits = 2) => Number.isFinite(v) ? minus(v.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits })) : "\u2013";
const price = (v) => Number.isFinite(v) ? minus(v.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: Math.abs(v) < 10 ? 5 : 4 })) : "\u2013";
const percent = (v, digits = 2) => Number.isFinite(v) ? (v > 0 ? "+" : "") + number(100 * v, digits) + "\u00a0%" : "\u2013";
const signed = (v, digits = 2) => (v > 0 ? "+" : "") + number(v, digits);
const two = (n) => String(n).padStart(2, "0");

// A wall clock's seconds as text; a date alone at 00:00.
function moment(clock) {
  if (!Number.isFinite(clock)) return "\u2013";
  const d = new Date(clock * 1000);
  const day = `${d.getUTCFullYear()}-${two(d.getUTCMonth() + 1)}-${two(d.getUTCDate())}`;
  if (clock % 86400 === 0) return day;
  const seconds = clock % 60 ? ":" + two(d.getUTCSeconds()) : "";
  return `${day} ${two(d.getUTCHours())}:${two(d.getUTCMinutes())}${seconds}`;
}
