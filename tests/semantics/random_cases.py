"""Random bars, targets, exits and settings that visit the corners of the semantics; deterministic by seed.

Round prices make sizes on whole units and cash on exactly 0 common; wild ones make gaps, rejects and exits on the
entry's bar common.
"""

import math
import random

NAN = math.nan


# ---------------------------------------------------------------- random cases
def random_bars(r, n):
    """Ticks, gaps, flat stretches, limit-up like bars, sometimes prices with all digits, sometimes wild moves."""
    tick = r.choice([0.01, 0.05, 0.25, 1.0, None, None])
    wild = r.choice([0.002, 0.01, 0.03, 0.15])
    round_ = (
        (lambda x: max(x, 1e-3)) if tick is None else (lambda x: max(round(round(x / tick) * tick, 2), tick))
    )
    price, bars, flat = r.choice([3.0, 17.0, 100.0, 450.0, 3000.0]), [], 0
    for _ in range(n):
        if flat:
            flat -= 1
            bars.append((round_(price),) * 4)
            continue
        if r.random() < 0.03:
            flat = r.randint(1, 8)
        o = price * (1 + r.gauss(0, wild)) if r.random() < 0.3 else price
        c = o * (1 + r.gauss(0, wild))
        h, l = max(o, c) * (1 + abs(r.gauss(0, wild / 2))), min(o, c) * (1 - abs(r.gauss(0, wild / 2)))
        if r.random() < 0.15:
            h = max(o, c)
        if r.random() < 0.15:
            l = min(o, c)
        o, h, l, c = map(round_, (o, h, l, c))
        bars.append((o, max(o, h, l, c), min(o, h, l, c), c))
        price = c
    return bars


def round_bars(r, n):
    """Prices that stay on few round numbers: sizes on whole units and cash on exactly 0 happen all the time."""
    tick = r.choice([0.1, 0.3, 0.7, 1.1, 10.0])
    at, bars = r.randint(1, 20), []
    for _ in range(n):
        steps = [max(at + r.choice([0, 0, 0, 0, 0, 0, 1, -1]), 1) for _ in range(4)]
        at = steps[3]
        bars.append((steps[0] * tick, max(steps) * tick, min(steps) * tick, steps[3] * tick))
    return bars


def random_target(r, n, exits):
    kind = r.choice(["state", "impulse", "noise"])
    m = r.choice([1.0, 1.0, 1.0, 0.5, 0.3, 0.3333333333, 2.0])
    levels = (
        [0.0, m, -m]
        if exits
        else r.choice([[0.0, m], [0.0, m, -m], [0.0, 0.25, 0.5, 1.0, -0.5, -1.0, 1.7], None])
    )
    if r.random() < 0.3:
        levels = [x for x in levels or [0.0, 1.0] if x >= 0.0]
    pick = lambda: r.choice(levels) if levels else r.uniform(-1.2, 1.2)
    out, now = [], pick()
    for _ in range(n):
        if r.random() < (0.5 if kind == "noise" else 0.08):
            now = pick()
            out.append(now)
        else:
            out.append(NAN if kind == "impulse" or r.random() < 0.1 else now)
    return out


def random_exits(r, bars, target):
    """Prices around the close on the side of the target; now and then on the wrong side, on a price of a coming bar, NaN."""
    width = r.choice([0.003, 0.01, 0.04])
    stop, limit, side = [], [], 1.0
    for i, (bar, t) in enumerate(zip(bars, target)):
        if t == t and t:
            side = math.copysign(1.0, t)
        s, p = bar[3] * (1 - side * r.expovariate(1 / width)), bar[3] * (1 + side * r.expovariate(1 / width))
        ahead = bars[min(i + r.randint(1, 3), len(bars) - 1)]
        if r.random() < 0.1:
            s = r.choice(ahead)
        if r.random() < 0.1:
            p = r.choice(ahead)
        if r.random() < 0.03:
            s, p = p, s
        if r.random() < 0.03:
            s = bar[3]
        s, p = max(s, 1e-6), max(p, 1e-6)
        if r.random() < 0.5:
            s, p = max(round(s, 2), 0.01), max(round(p, 2), 0.01)
        stop.append(NAN if r.random() < 0.1 else s)
        limit.append(NAN if r.random() < 0.1 else p)
    which = r.choice(["both", "both", "stop", "limit"])
    return stop if which != "limit" else None, limit if which != "stop" else None


def random_case(seed):
    r = random.Random(seed)
    n = r.randint(2, 250)
    round_case = r.random() < 0.2
    bars = (round_bars if round_case else random_bars)(r, n)
    exits = r.random() < (0.35 if round_case else 0.65)
    target = random_target(r, n, exits)
    stop, limit = random_exits(r, bars, target) if exits else (None, None)
    price = bars[0][3]
    cash = r.choice([100_000.0, 100_000.0, 1_000.0, price * r.uniform(0.5, 30), price * 100, 1e7])
    kinds = [
        ("shares", float(r.choice([1, 10, 137, 2.5]))),
        ("shares", float(int(cash / price * r.uniform(0.1, 1.6)) + 1)),
        ("percent", r.choice([95.0, 95.0, 100.0, 30.0, 180.0, 99.99])),
        ("cash", cash * r.choice([0.3, 0.95, 1.0, 1.5])),
    ]
    if stop is not None:
        kinds += [("risk", r.choice([0.5, 1.0, 5.0]))] * 2
    settings = dict(
        sizing=r.choice(kinds),
        cash=cash,
        follow_stop=exits and r.random() < 0.5,
        costs=r.choice([("none",), ("percent", 0.05), ("percent", 1.3), ("per-order",), ("per-order",)]),
        slippage=r.choice([0.0, 0.0, 0.02, 0.5, 3.0]),
        start_rule=r.choice(["first-target", "first-target", "next-change"]),
        limit_first=exits and r.random() < 0.2,
    )
    if round_case and r.random() < 0.7:
        settings.update(
            cash=r.choice([100.0, 1000.0, 2310.0]),
            slippage=0.0,
            costs=r.choice([("none",), ("none",), ("percent", 0.0)]),
        )
        settings.update(
            sizing=r.choice(
                [
                    ("percent", 100.0),
                    ("percent", 50.0),
                    ("percent", 10.0),
                    ("cash", settings["cash"]),
                    ("cash", 100.0),
                    ("shares", 10.0),
                ]
            )
        )
    if r.random() < 0.35:
        size = r.choice([1.0, 5.0, 15.0, 30.0, 60.0])
        session = r.choice([60.0, 120.0, 390.0])
        left, out = session, []
        for _ in range(n):
            left -= size
            if r.random() < 0.02:
                left -= size * r.randint(1, 3)  # bars that were not traded
            out.append(max(left, 0.0) if r.random() < 0.97 else left)
            if left <= 0.0 and r.random() < 0.8:  # sometimes one bar more after the close
                left = session
        settings.update(
            minutes_to_close=out,
            bar_minutes=size,
            no_entry_last=r.choice([None, 0.0, 10.0, 30.0]),
            flat_before_close=r.choice([None, 1.0, 5.0, 7.0, 20.0]),
        )
    return bars, target, stop, limit, settings
