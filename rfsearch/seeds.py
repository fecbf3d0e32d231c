"""Random streams derived from one seed by name.

Every place that needs randomness asks for its own stream by name, so that no order of calls and
no interruption changes what it draws: an epoch that is run again after a resume draws the same.
"""

from __future__ import annotations

import hashlib

import numpy as np


def stream(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the stream called ``names``, the same on every machine.

    >>> stream(0, "search", "order", 3) == stream(0, "search", "order", 3)
    True
    >>> stream(0, "search", "order", 3) == stream(1, "search", "order", 3)
    False
    """
    path = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "big") >> 1


def numbers(seed: int, *names: str | int) -> np.random.Generator:
    """A numpy generator on the stream called ``names``."""
    return np.random.Generator(np.random.PCG64(stream(seed, *names)))
