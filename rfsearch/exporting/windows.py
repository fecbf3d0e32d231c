"""Windows that some runtimes are slow at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import fx

from rfsearch.analysis.follow import module_name
from rfsearch.exporting.subject import Subject

LARGEST = 7
"""Pixels a side up to which runtimes have kernels of their own for pooling and convolution."""
POOLS = (torch.ops.aten.max_pool2d.default, torch.ops.aten.avg_pool2d.default)
CONVOLUTION = torch.ops.aten.conv2d.default
TOLD = 3


def warning(subject: Subject) -> str | None:
    """A sentence that names the layers with larger windows; None where there are none."""
    found = list(dict.fromkeys(_large(subject)))
    if not found:
        return None
    more = f" and {len(found) - TOLD} more" if len(found) > TOLD else ""
    return (
        f"windows over {LARGEST} pixels are slow in many runtimes: {', '.join(found[:TOLD])}{more}"
    )


def _large(subject: Subject) -> Iterator[str]:
    for node in subject.program.graph.nodes:
        kernel = _kernel(node)
        if max(kernel, default=0) > LARGEST:
            yield f"{module_name(node)} ({'×'.join(map(str, kernel))})"


def _kernel(node: fx.Node) -> tuple[int, ...]:
    """(height, width) of an operator's window; empty where it has none."""
    given: Any = node.args
    if node.target in POOLS:
        sides = tuple(given[1])
        return sides * 2 if len(sides) == 1 else sides
    if node.target is CONVOLUTION:
        return tuple(given[1].meta["val"].shape[2:])
    return ()
