"""torch's random numbers from a named stream, without touching the caller's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int) -> Iterator[torch.Generator]:
    """Inside, torch's global generator starts at ``seed``; outside, it is as it was.

    Initialisers and dropout draw from the global generator and from nothing else, which is why
    it is set here and nowhere else. Yields a generator of its own for what can be told one.
    """
    # of several GPUs the one that this process is on
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield torch.Generator().manual_seed(seed)
