"""Reads a network without training it: what every layer sees, and what it costs."""

from rfsearch.analysis.layers import COLUMNS, Analysis, Layer, Totals, write_layers
from rfsearch.analysis.walk import walk

__all__ = ["COLUMNS", "Analysis", "Layer", "Totals", "walk", "write_layers"]
