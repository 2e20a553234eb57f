"""Runs as pages: one self-contained HTML file each, from plain values. Knows no engine, no files and no network."""

from quant.report.compare import compare_page
from quant.report.content import Content, Symbol
from quant.report.document import framed
from quant.report.page import run_page

__all__ = ["Content", "Symbol", "compare_page", "framed", "run_page"]
