"""q.walk_forward: parameters chosen on the past, traded on what follows, window after window, as one account.

What is decided here. Signals of a span are computed over all bars up to the span's end, and over none after it; the
account trades the span's bars alone and starts flat, so its first fill is at the open of the second bar.
A position that is held at the end of a test span is closed at the last close as a market-on-close order would close
it, with commission and slippage: that the window ends there is known beforehand. So each window starts with the cash
that the one before left, and the joined account adds up to the cent. Training spans end with their positions open, as
q.backtest values them.
A plain bt.Strategy cannot be shown bars that it must not trade: it sees the bars of its span only.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import backtrader as bt
import numpy as np

from quant.backtest import compiled, engine
from quant.backtest import findings as noticed
from quant.backtest.job import AnyCosts, Job, decide
from quant.backtest.records import difference
from quant.backtest.result import make_run, measured
from quant.core import clock
from quant.core.bars import Bars
from quant.core.finding import Finding
from quant.core.sessions import Floats
from quant.errors import ParameterError, ParityError, QuantError
from quant.indicators.shared import sharing
from quant.kernel.run import Scratch, row
from quant.metrics import NAMES
from quant.research import chunks as files
from quant.research import processes, threads
from quant.research.out_of_sample import Tested, flat, joined, window_run
from quant.research.progress import Progress, no_progress
from quant.research.result import LOW_IS_GOOD
from quant.research.sweep import Combos, Plan, _check, _trials, plan_sweep, record_trials
from quant.research.task import SHARED_BYTES, Row, Task
from quant.research.verify import SHARPE
from quant.research.windows import Length, Span, Window, cut_windows, sessions_of, span
from quant.store.folder import data_folder

if TYPE_CHECKING:
    from distributed import Client
