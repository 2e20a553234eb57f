"""Runs, sweeps, walk-forwards and parity as pages: one self-contained HTML file each, from plain values. Knows no
engine, no files and no network.
"""

from quant.report.compare import compare_page
from quant.report.content import Content, Symbol
from quant.report.document import framed
from quant.report.page import run_page
from quant.report.parity import parity_page
from quant.report.sweep import sweep_page, walk_forward_page
from quant.report.sweep_content import SweepContent, WalkForwardContent

__all__ = [
    "Content",
    "SweepContent",
    "Symbol",
    "WalkForwardContent",
    "compare_page",
    "framed",
    "parity_page",
    "run_page",
    "sweep_page",
    "walk_forward_page",
]
