"""Indicators over whole histories: causal, of the input's length, NaN until defined.

standard   TA-Lib behind one face
course     the course's variants by name, and its slope
renko      bricks as an indicator on time bars
"""

from quant.indicators.course import atr_course, macd_course, rsi_course, slope, stochastic_course
from quant.indicators.inputs import PriceBars
from quant.indicators.renko import CLASSIC_REVERSAL, COURSE_REVERSAL, Renko, atr_size, bricks, renko
from quant.indicators.standard import (
    Bands,
    Macd,
    Stochastic,
    adx,
    atr,
    bbands,
    ema,
    macd,
    rsi,
    sma,
    stochastic,
)

__all__ = [
    "CLASSIC_REVERSAL",
    "COURSE_REVERSAL",
    "Bands",
    "Macd",
    "PriceBars",
    "Renko",
    "Stochastic",
    "adx",
    "atr",
    "atr_course",
    "atr_size",
    "bbands",
    "bricks",
    "ema",
    "macd",
    "macd_course",
    "renko",
    "rsi",
    "rsi_course",
    "slope",
    "sma",
    "stochastic",
    "stochastic_course",
]
