"""Search, explain and improve the receptive fields of convolutional networks.

The names below load what they need when they are first used, so that importing this package
costs nothing.
"""

from __future__ import annotations

import pkgutil
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "PMPL": "rfsearch.strategies.pmpl:PMPL",
    "analyze": "rfsearch.engine.analyze:analyze",
    "calibrated_cross_entropy": "rfsearch.training.calibration:calibrated_cross_entropy",
    "estimate_statistics": "rfsearch.training.statistics:estimate",
    "export": "rfsearch.engine.export:export",
    "load": "rfsearch.engine.run:load",
    "run": "rfsearch.engine.whole:run",
    "supernet": "rfsearch.engine.supernet:supernet",
}


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'rfsearch' has no attribute {name!r}")
    return pkgutil.resolve_name(_PUBLIC[name])


def __dir__() -> list[str]:
    return [*globals(), *_PUBLIC]
