"""This package's folder in the user's cache: decoded images, latencies, compiled code."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """Below $XDG_CACHE_HOME, or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rfsearch"
