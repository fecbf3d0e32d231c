"""Reads a network without training it: what every layer sees, and what it costs."""

from rfsearch.analysis.effective import effective_maps, effective_sizes
from rfsearch.analysis.layers import COLUMNS, Analysis, Join, Layer, Totals, write_layers
from rfsearch.analysis.probe import probe
from rfsearch.analysis.verify import Comparison, Strip, compare, strips
from rfsearch.analysis.walk import walk

__all__ = [
    "COLUMNS",
    "Analysis",
    "Comparison",
    "Join",
    "Layer",
    "Strip",
    "Totals",
    "compare",
    "effective_maps",
    "effective_sizes",
    "probe",
    "strips",
    "walk",
    "write_layers",
]
