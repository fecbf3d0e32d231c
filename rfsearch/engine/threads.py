"""The threads of torch's operators, for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def threads(num: int) -> Iterator[int]:
    """Inside, torch has so many."""
    before = torch.get_num_threads()
    torch.set_num_threads(num)
    try:
        yield num
    finally:
        torch.set_num_threads(before)


def half() -> int:
    """Half of those this process has, at least one."""
    return max(1, torch.get_num_threads() // 2)
