"use strict";
// The page of a walk-forward: the joined account with its windows, and what each window chose and got.

const account = new Block(DATA.account), W = DATA.windows, COUNT = W.in.length;
const num = (v) => (v === null ? NaN : v);
const inside = W.in.map(num), outside = W.out.map(num), gains = W.gain.map(num);
let clocks = null;

// ---------------------------------------------------------------- the joined account
const when = (c, i) => {
  const steps = c.rows.factor, at = windowAt(Math.round(c.x[i]));
  return [["", moment(DATA.origin + c.rows.clock[i]) + (steps > 1 ? ` (${steps} sessions)` : "")], ...(at < 0 ? [] : [["Window", String(at + 1)]])];
};
const windowAt = (step) => W.first.findIndex((f, k) => f <= step && step <= W.last[k]);
const kept = (name) => Math.min(Math.max(account.levels[0].columns.find((c) => c.name === name).decimals, 0), 2);

// Every other window is shaded; where there is room a line marks its first session.
function paintWindows(u, c) {
  const box = u.bbox, x = (step) => u.valToPos(step, "x", true);
  for (let k = 0; k < COUNT; k++) {
    const a = Math.max(x(W.first[k] - 0.5), box.left), b = Math.min(x(W.last[k] + 0.5), box.left + box.width);
    if (b <= a) continue;
    if (k % 2 === 0) {
      c.globalAlpha = 0.1;
      c.fillStyle = colours.soft;
      c.fillRect(a, box.top, b - a, box.height);
      c.globalAlpha = 1;
    }
    const at = Math.round(x(W.first[k] - 0.5)) + 0.5;
    if (b - a > 10 * devicePixelRatio) stroke(c, colours.rule, devicePixelRatio, () => { c.moveTo(at, box.top); c.lineTo(at, box.top + box.height); });
    const label = String(k + 1);
    c.font = `${11 * devicePixelRatio}px ${FONT}`;
    if (b - a > c.measureText(label).width + 8 * devicePixelRatio) {
      c.fillStyle = colours.soft;
      c.textAlign = "left";
      c.textBaseline = "top";
      c.fillText(label, a + 4 * devicePixelRatio, box.top + 3 * devicePixelRatio);
    }
  }
}

function accountCharts() {
  const held = DATA.held;
  new Chart({
    box: $("equity"), block: account, format: axisNumber, log: DATA.log, marks: paintWindows,
    lines: [...(held ? [{ column: "hold", colour: "hold", dash: [5, 3] }] : []), { column: "equity", colour: "account", wide: 1.7 }],
    text: (c, i) => [...when(c, i), ["Account", number(c.rows.equity[i], kept("equity")), "account"], ...(held ? [["Buy and hold", number(c.rows.hold[i], kept("hold")), "hold"]] : [])],
  });
  new Chart({
    box: $("drawdown"), block: account, format: axisPercent, base: 0, ceiling: 0, marks: paintWindows,
    lines: [{ column: "drawdown", colour: "loss", fill: true }],
    text: (c, i) => [...when(c, i), ["Drawdown", told("percent", (c.rows["drawdown.min"] ?? c.rows.drawdown)[i]), "loss"]],
  });
}

function controls() {
  const actions = { in: () => zoom(0.5), out: () => zoom(2), left: () => pan(-0.3), right: () => pan(0.3), all: () => setView(-0.5, DATA.steps - 0.5) };
  const keys = { "+": "in", "=": "in", "-": "out", ArrowLeft: "left", ArrowRight: "right", 0: "all", Home: "all" };
  for (const b of document.querySelectorAll("[data-do]")) b.addEventListener("click", () => actions[b.dataset.do]());
  $("charts").addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey || !(e.key in keys)) return;
    e.preventDefault();
    actions[keys[e.key]]();
  });
  $("log").checked = DATA.log;
  $("log").addEventListener("change", (e) => { charts[0].log = e.target.checked; charts[0].make(); drawNow(); });
}

// ---------------------------------------------------------------- window by window
function windowLines(k) {
  const chosen = DATA.dims.map((d) => `${d.name} = ${d.labels[d.codes[k]]}`).join(", "), kind = DATA.metric.kind;
  return [
    `Window ${k + 1}: ${told(kind, inside[k])} in sample, ${told(kind, outside[k])} out of sample`, chosen,
    `trained ${W.trained[k]}`, `tested ${W.tested[k]}, return ${told("percent", gains[k])}`,
  ];
}
const across = () => ({ x: [0.5, COUNT + 0.5], xs: W.in.map((_, k) => [k + 1, String(k + 1)]), xName: "window \u2192" });

let bars = { spots: [], lines: windowLines }, dots = bars;
const steps = DATA.dims.map(() => bars);
function paintBars() {
  const p = plane($("bars"), { ...across(), y: spanOf([...inside, ...outside], [0]), yText: onAxis(DATA.metric.kind), lines: "y" }), c = p.c;
  const wide = Math.min((p.px(2) - p.px(1)) * 0.36, 26), zero = p.py(0);
  const bar = (x, v, colour) => { if (Number.isFinite(v)) { c.fillStyle = colour; const y = p.py(v); c.fillRect(x, Math.min(y, zero), Math.max(wide - 1, 1), Math.max(Math.abs(y - zero), 1)); } };
  for (let k = 0; k < COUNT; k++) {
    bar(p.px(k + 1) - wide, inside[k], colours.hold);
    bar(p.px(k + 1), outside[k], colours.gain);
  }
  bars = {
    spots: inside.map((_, k) => [p.px(k + 1), (p.top + p.bottom) / 2, k]), size: [2 * wide + 4, p.bottom - p.top], lines: windowLines,
    find: (x) => (x < p.left || x > p.right ? -1 : Math.min(Math.max(Math.round(p.ux(x)) - 1, 0), COUNT - 1)),
  };
}

function paintPairs() {
  dots = { ...pairs($("pairs"), inside, outside, { xName: "in sample", yName: "out of sample", kind: DATA.metric.kind }), lines: windowLines };
}

// A parameter by window: steps; words are evenly spaced.
function paintStep(d, n) {
  const numbers = d.labels.map(Number), even = numbers.some((v) => !Number.isFinite(v)), value = (k) => (even ? d.codes[k] : numbers[d.codes[k]]);
  const all = d.codes.map((_, k) => value(k)), ys = even || d.labels.length <= 4 ? { ys: d.labels.map((text, k) => [even ? k : numbers[k], text]) } : {};
  const p = plane($(`step${n}`), { ...across(), y: spanOf(all, [], 0.15), ...ys, lines: "y" }), c = p.c;
  stroke(c, colours.one, 2, () => all.forEach((v, k) => { k ? c.lineTo(p.px(k + 0.5), p.py(v)) : c.moveTo(p.px(0.5), p.py(v)); c.lineTo(p.px(k + 1.5), p.py(v)); }));
  steps[n] = {
    spots: all.map((v, k) => [p.px(k + 1), p.py(v), k]), lines: windowLines,
    find: (x) => (x < p.left || x > p.right ? -1 : Math.min(Math.max(Math.round(p.ux(x)) - 1, 0), COUNT - 1)),
  };
}

async function start() {
  readColours();
  afterDraw.unshift(() => {
    const width = charts[0].plot.bbox.width / devicePixelRatio, rows = windowOf(account, width);
    if (rows === null) return;
    const fresh = clocks === null, before = JSON.stringify(ticks);
    clocks = rows;
    findTicks(rows, width);
    if (fresh || before !== JSON.stringify(ticks)) for (const c of charts) { c.plot.redraw(false, true); if (!c.pointed) c.tell(null); }
  });
  accountCharts();
  controls();
  const width = charts[0].plot.bbox.width / devicePixelRatio;
  await account.load(account.level(DATA.steps, rowsFor(width)), view.lo, view.hi);
  painters.push(paintBars, paintPairs, ...DATA.dims.map((d, n) => () => paintStep(d, n)));
  shell();
  drawNow();
  answers($("bars"), () => bars);
  answers($("pairs"), () => dots);
  DATA.dims.forEach((d, n) => answers($(`step${n}`), () => steps[n]));
  document.documentElement.dataset.ready = "yes";
}

start().catch(failed);
