"""Sums whose last bit is that of numpy and of math.fsum, so that a figure is the same by either way."""

from __future__ import annotations

from typing import Any

from numba import types

from quant.kernel.compiling import FLOATS, compiled, inline

BLOCK = 128  # numpy's: longer arrays are halved


@compiled(types.float64(FLOATS, types.int64, types.int64))
def pairwise(x: Any, first: int, count: int) -> float:
    """Return the sum of x[first : first + count] as np.sum gives it.

    Source: numpy, loops_utils.h.src, pairwise_sum: eight running sums over up to 128 values, longer arrays halved.
    """
    if count < 8:
        total = 0.0
        for i in range(first, first + count):
            total += x[i]
        return total
    if count <= BLOCK:
        a, b, c, d = x[first], x[first + 1], x[first + 2], x[first + 3]
        e, f, g, h = x[first + 4], x[first + 5], x[first + 6], x[first + 7]
        whole = count - count % 8
        for i in range(first + 8, first + whole, 8):
            a += x[i]
            b += x[i + 1]
            c += x[i + 2]
            d += x[i + 3]
            e += x[i + 4]
            f += x[i + 5]
            g += x[i + 6]
            h += x[i + 7]
        total = ((a + b) + (c + d)) + ((e + f) + (g + h))
        for i in range(first + whole, first + count):
            total += x[i]
        return total
    half = count // 2
    half -= half % 8
    return pairwise(x, first, half) + pairwise(x, first + half, count - half)


@inline
def add_exactly(parts: Any, n: int, x: float) -> int:
    """Add x to a sum held as n floats that do not overlap; return their new number.

    Source: J. R. Shewchuk, Adaptive Precision Floating-Point Arithmetic (1997), as CPython's math.fsum.
    """
    kept = 0
    for j in range(n):
        y = parts[j]
        if abs(x) < abs(y):
            x, y = y, x
        high = x + y
        low = y - (high - x)
        if low != 0.0:
            parts[kept] = low
            kept += 1
        x = high
    parts[kept] = x
    return kept + 1


@inline
def rounded(parts: Any, n: int) -> float:
    """Return the sum that `add_exactly` holds, rounded once, half to even.

    Source: CPython, mathmodule.c, math_fsum.
    """
    if n == 0:
        return 0.0
    n -= 1
    high, low = parts[n], 0.0
    while n > 0:
        x = high
        n -= 1
        y = parts[n]
        high = x + y
        low = y - (high - x)
        if low != 0.0:
            break
    if n > 0 and ((low < 0.0 and parts[n - 1] < 0.0) or (low > 0.0 and parts[n - 1] > 0.0)):
        y = low * 2.0
        x = high + y
        if y == x - high:
            high = x
    return high
