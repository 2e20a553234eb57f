"""The gates between a backtest and paper, and between paper and real money: evidence, rules, and what is written."""

from quant.promotion.gates.promote import Promotion, to_live, to_paper
from quant.promotion.gates.values import Thresholds, Verdict

__all__ = ["Promotion", "Thresholds", "Verdict", "to_live", "to_paper"]
