"""The semantics for one feed, slow and plain, one short rule per function; knows no backtrader.

Written from the text of the design and the list of backtrader's float operations, not from the engines that it judges.
"""

import math


class Account:
    """Cash, one position (size, average price) and the list of fills."""

    def __init__(self, cash, costs, per_order):
        self.cash, self.costs, self.per_order = cash, costs, per_order
        self.size, self.price = 0, 0.0
        self.fills, self.rejected = [], 0

    # rule: commission of one order
    def commission(self, quantity, price):
        q = abs(quantity)
        if self.costs[0] == "none":
            return 0.0
        if self.costs[0] == "percent":
            return q * (self.costs[1] / 100.0) * price
        per_share, minimum, cap = self.per_order
        fee = q * per_share
        if fee < minimum:
            fee = minimum
        most = q * price * cap
        return most if fee > most else fee

    # rule: a fill that reduces a position brings back what it cost plus the profit; it is never refused
    def reduce(self, bar, quantity, price, reason):
        cost = (-quantity) * self.price
        profit = (-quantity) * (price - self.price)
        fee = self.commission(quantity, price)
        self.cash = self.cash + (cost + profit)
        self.cash = self.cash - fee
        self.size += quantity
        if self.size == 0:
            self.price = 0.0
        self.fills.append((bar, quantity, price, fee, reason))

    # rule: a fill that opens or increases needs cash >= 0 after value and commission, else all of it is refused
    def open(self, bar, quantity, price, reason):
        fee = self.commission(quantity, price)
        cash = self.cash - quantity * price
        cash = cash - fee
        if cash < 0.0:
            self.rejected += 1
            return False
        self.cash = cash
        if self.size == 0:
            self.price = price
        else:
            self.price = (self.price * self.size + quantity * price) / (self.size + quantity)
        self.size += quantity
        self.fills.append((bar, quantity, price, fee, reason))
        return True

    # rule: value, with the detour over unrealised profit that backtrader takes for longs
    def value(self, close):
        worth = self.size * close
        if worth > 0:
            unrealised = self.size * (close - self.price)
            return self.cash + ((worth - unrealised) + unrealised)
        return self.cash + worth


# ---------------------------------------------------------------- prices of fills
def worse(price, buying, slippage, bound):
    """rule: slippage moves the price against us, never beyond the bound."""
    if not slippage:
        return price
    if buying:
        return min(price * (1 + slippage / 100.0), bound)
    return max(price * (1 - slippage / 100.0), bound)


def market_price(bar, buying, slippage):
    o, h, l, c = bar
    return worse(o, buying, slippage, h if buying else l)


def stop_price(bar, stop, buying, slippage):
    """rule: beyond the stop at the open: the open; touched later: the stop; both slip within the bar.  None: untouched."""
    o, h, l, c = bar
    if buying:
        return worse(max(o, stop), True, slippage, h) if h >= stop or o >= stop else None
    return worse(min(o, stop), False, slippage, l) if l <= stop or o <= stop else None


def limit_price(bar, limit, buying, slippage):
    """rule: at the open already good: the open, slipping no further than the limit (a buy: nor than the high); touched
    later: the limit itself."""
    o, h, l, c = bar
    if buying:
        if o <= limit:
            return worse(o, True, slippage, min(h, limit))
        return limit if l <= limit else None
    if o >= limit:
        return worse(o, False, slippage, limit)
    return limit if h >= limit else None


def exit_fill(bar, stop, limit, buying, slippage, limit_first):
    """rule: one exit touched: that one.  Both: the one that the open has reached; reached neither (or both): the stop (or the
    limit, to show the other outcome), ambiguous when it was neither.  Returns (reason, price, ambiguous) or None."""
    at_stop = stop_price(bar, stop, buying, slippage)
    at_limit = limit_price(bar, limit, buying, slippage)
    if at_stop is None and at_limit is None:
        return None
    if at_limit is None:
        return "stop", at_stop, False
    if at_stop is None:
        return "limit", at_limit, False
    o = bar[0]
    stop_at_open = o >= stop if buying else o <= stop
    limit_at_open = o <= limit if buying else o >= limit
    if stop_at_open and not limit_at_open:
        return "stop", at_stop, False
    if limit_at_open and not stop_at_open:
        return "limit", at_limit, False
    ambiguous = not stop_at_open
    return ("limit", at_limit, ambiguous) if limit_first else ("stop", at_stop, ambiguous)


# ---------------------------------------------------------------- targets
def session_target(t, minutes_to_close, bar_minutes, flat_before_close):
    """rule: flat_before_close makes the target 0 at the last close from which one can be flat in time, and after it."""
    if flat_before_close is not None and minutes_to_close - bar_minutes < flat_before_close:
        return 0.0
    return t


def towards_zero(t, last):
    """rule: while entries are closed a target counts only as far as it lies between 0 and the last target."""
    if last >= 0.0:
        return max(0.0, min(t, last))
    return min(0.0, max(t, last))


# ---------------------------------------------------------------- sizes
def units(sizing, t, equity, close, stop):
    """rule: whole units of an entry from flat or of the second order of a reversal, unsigned."""
    kind, amount = sizing
    if kind == "shares":
        return int(amount * abs(t))
    if kind == "cash":
        return int(amount * abs(t) // close)
    if kind == "percent":
        return int(amount / 100.0 * abs(t) * equity // close)
    if math.isnan(stop):
        return 0
    most = int(95.0 / 100.0 * equity // close)
    if stop == close:
        return most
    return min(most, int(amount / 100.0 * abs(t) * equity / abs(close - stop)))


def change(sizing, size, t, equity, close):
    """rule: signed change of a held position for another target of its sign."""
    kind, amount = sizing
    if kind == "shares":
        return int(amount * t) - size
    wanted = amount * t if kind == "cash" else amount / 100.0 * t * equity
    have = size * close
    if wanted == 0.0:
        return -size
    whole = int(abs(wanted - have) // close)
    return whole if wanted > have else -whole


# ---------------------------------------------------------------- the run
def simulate(
    bars,
    target,
    stop,
    limit,
    *,
    follow_stop=False,
    sizing=("percent", 95.0),
    cash=100_000.0,
    costs=("none",),
    slippage=0.0,
    start_rule="first-target",
    minutes_to_close=None,
    bar_minutes=1.0,
    no_entry_last=None,
    flat_before_close=None,
    limit_first=False,
    per_order=(0.005, 1.0, 0.01),
):
    """bars: rows (open, high, low, close).  stop, limit: prices or None.  Returns account, cash and value per bar, ambiguous."""
    nan = math.nan
    account = Account(cash, costs, per_order)
    cash_per_bar, value_per_bar, ambiguous = [], [], 0
    last, seen_number = 0.0, start_rule == "first-target"
    pending_change = pending_entry = 0  # market orders decided at the close before
    stop_at = limit_at = nan  # prices of the exits of the entry
    for i, bar in enumerate(bars):
        c = bar[3]
        # --- orders of the close before, at the open
        if pending_change:
            reason = "close" if pending_change == -account.size else "reduce"
            account.reduce(i, pending_change, market_price(bar, pending_change > 0, slippage), reason)
        if pending_entry:
            account.open(i, pending_entry, market_price(bar, pending_entry > 0, slippage), "entry")
        pending_change = pending_entry = 0
        # --- exits, from the bar of the entry on
        if account.size:
            fill = exit_fill(bar, stop_at, limit_at, account.size < 0, slippage, limit_first)
            if fill is not None:
                reason, price, unsure = fill
                ambiguous += unsure
                account.reduce(i, -account.size, price, reason)
        # --- the close
        value = account.value(c)
        cash_per_bar.append(account.cash)
        value_per_bar.append(value)
        t = target[i]
        left = minutes_to_close[i] if minutes_to_close is not None else math.inf
        t = session_target(t, left, bar_minutes, flat_before_close)
        acts = False  # rule: a target acts when it is a number and not the last target
        closed_to_entries = no_entry_last is not None and left <= no_entry_last
        if not math.isnan(t):
            if not seen_number:
                seen_number, last = True, t
            else:
                if closed_to_entries:
                    t = towards_zero(t, last)
                acts = t != last
                last = t
        if not acts:
            if follow_stop and account.size:
                stop_at = stop[i] if stop is not None and not math.isnan(stop[i]) else stop_at
                limit_at = limit[i] if limit is not None and not math.isnan(limit[i]) else limit_at
            continue
        # --- a new target: the old exits are gone, reductions before entries
        stop_at = stop[i] if stop is not None else nan
        limit_at = limit[i] if limit is not None else nan
        equity = value if value > 0.0 else 0.0
        size = account.size
        if size * t > 0:
            delta = change(sizing, size, t, equity, c)
            if delta * size > 0:
                pending_entry = delta
            else:
                pending_change = delta
        else:
            pending_change = -size
            if t:
                pending_entry = int(math.copysign(1, t)) * units(sizing, t, equity, c, stop_at)
        if closed_to_entries:
            pending_entry = 0
    return account, cash_per_bar, value_per_bar, ambiguous
