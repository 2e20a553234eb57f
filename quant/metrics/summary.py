"""The figures of one run or one row of a sweep, from plain arrays. Knows no engine and no files."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quant.errors import ParameterError
from quant.metrics import activity, drawdowns, returns
from quant.metrics.returns import Days, Floats

# What `figures` gives, in its order.
NAMES: Final = (
    "total_return", "cagr", "volatility", "sharpe", "sortino", "calmar", "max_drawdown", "max_drawdown_days",
    "exposure", "turnover", "trades", "win_rate", "profit_factor", "avg_trade", "best_trade", "worst_trade", "sqn",
    "commission", "slippage", "rejected", "buy_hold_return", "final_value", "final_cash",
)  # fmt: skip


def figures(
    *,
    equity: Floats,
    end_ns: NDArray[np.int64],
    session: Days,
    held: NDArray[np.bool_],
    start_cash: float,
    final_cash: float,
    periods_per_year: float,
    quantity: ArrayLike = (),
    price: ArrayLike = (),
    commission: ArrayLike = (),
    slippage: ArrayLike = 0.0,
    multiplier: ArrayLike = 1.0,
    pnl: ArrayLike = (),
    rejected: int = 0,
    buy_hold_return: float = float("nan"),
) -> dict[str, float]:
    """Return the metrics of DESIGN §4, in its order; undefined = NaN, `trades` and `rejected` are ints.

    Bars, (n,) each, n > 0: equity, account value at the bar's end; end_ns, UTC nanoseconds of that end;
    session, datetime64[D]; held, True where any position was held at the end. periods_per_year: of the
    returns, which are per session, the first against the starting cash; drawdown is per bar.
    Fills, (f,) each, or one number for all: quantity, signed; price and commission as booked; slippage, by
    how much the price was worse, in price units (>= 0); multiplier.
    pnl: of each closed trade, net of commission.
    Result: money in the account's currency; rates, returns and drawdown as fractions (0.1 = 10 %).
    Raises ParameterError if the lengths do not fit together.
    Source: of each formula, its function in `returns`, `drawdowns` and `activity`.
    """
    _check_lengths(equity, end_ns, session, held)
    start_cash = float(start_cash)
    closed = np.asarray(pnl, dtype=np.float64)
    size = np.abs(np.asarray(quantity, dtype=np.float64))
    units = size * _per_fill("multiplier", multiplier, len(size))
    r, _ = returns.session_returns(equity, session, start_cash)
    final = float(equity[-1])
    growth = returns.cagr(final / start_cash, len(r), periods_per_year)
    deepest = drawdowns.max_drawdown(equity, start_cash)
    traded = float(np.sum(units * _per_fill("price", price, len(size))))
    return {
        "total_return": returns.total_return(final, start_cash),
        "cagr": growth,
        "volatility": returns.volatility(r, periods_per_year),
        "sharpe": returns.sharpe(r, periods_per_year),
        "sortino": returns.sortino(r, periods_per_year),
        "calmar": returns.calmar(growth, deepest),
        "max_drawdown": deepest,
        "max_drawdown_days": drawdowns.max_drawdown_days(equity, end_ns, start_cash),
        "exposure": activity.exposure(held),
        "turnover": activity.turnover(traded, equity, len(r) / periods_per_year),
        "trades": len(closed),
        "win_rate": activity.win_rate(closed),
        "profit_factor": activity.profit_factor(closed),
        "avg_trade": activity.average(closed),
        "best_trade": activity.best(closed),
        "worst_trade": activity.worst(closed),
        "sqn": activity.sqn(closed),
        "commission": float(np.sum(_per_fill("commission", commission, len(size)))),
        "slippage": float(np.sum(units * _per_fill("slippage", slippage, len(size)))),
        "rejected": rejected,
        "buy_hold_return": buy_hold_return,
        "final_value": final,
        "final_cash": final_cash,
    }


def _check_lengths(equity: Floats, end_ns: NDArray[np.int64], session: Days, held: NDArray[np.bool_]) -> None:
    lengths = {"equity": len(equity), "end_ns": len(end_ns), "session": len(session), "held": len(held)}
    if len(set(lengths.values())) > 1:
        raise ParameterError(", ".join(lengths), tuple(lengths.values()), "one of each a bar is needed")
    if len(equity) == 0:
        raise ParameterError("equity", 0, "at least one bar is needed")


def _per_fill(name: str, values: ArrayLike, count: int) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.shape not in ((), (count,)):
        raise ParameterError(name, f"{array.size} values", f"one a fill is needed, there are {count}")
    return np.broadcast_to(array, (count,))
