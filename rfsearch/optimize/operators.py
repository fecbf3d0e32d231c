"""What may stand in place of a convolution: what it costs, what it earns, how it is built."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import log
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from rfsearch.errors import UserError, unknown
from rfsearch.operators.rolling import RollingPointwise, Windows
from rfsearch.optimize.staged import Layer

NAMES = ("dense", "pointwise", "grouped", "rolling", "pool")
"""dense: the convolution itself; the others have a depthwise convolution (pool: max-pooling) of
its kernel first, where that is above 1, and then a pointwise, a grouped pointwise with shuffle, a
Rolling-Pointwise, a pointwise convolution."""
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Kernel:
    """An operator in place of a convolution."""

    name: str
    groups: int = 1
    overlap: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise unknown("kernel", self.name, NAMES)

    @property
    def label(self) -> str:
        """Such as ``DW + RPW g=2 o=0.5``."""
        return {
            "dense": "dense", "pointwise": "DW + PW", "pool": "max-pool + PW",
            "grouped": f"DW + grouped PW g={self.groups}, shuffle",
            "rolling": f"DW + RPW g={self.groups} o={self.overlap}",
        }[self.name]  # fmt: skip

    def label_on(self, layer: Layer) -> str:
        """The same in place of this layer: before a 1×1 convolution nothing reads neighbours."""
        alone = layer.kernel == 1 and self.name != "dense"
        return self.label.partition(" + ")[2] if alone else self.label

    def params(self, layer: Layer) -> int:
        """Weights, and the numbers of the norm between its two parts."""
        pointwise = layer.inside * layer.filters // self.groups
        if self.name == "dense":
            return layer.kernel**2 * layer.inside * layer.filters
        spatial = 0 if layer.kernel == 1 or self.name == "pool" else (
            layer.kernel**2 + 2) * layer.inside  # fmt: skip
        return spatial + pointwise

    def macs(self, layer: Layer, pixels: int) -> int:
        """Multiply-adds, on outputs of so many pixels."""
        if self.name == "dense":
            return self.params(layer) * pixels
        depthwise = 0 if layer.kernel == 1 or self.name == "pool" else layer.kernel**2
        return (depthwise * layer.inside + layer.inside * layer.filters // self.groups) * pixels

    def earns(self, layer: Layer, spatial: float) -> float:
        """Trainable score: Δ log of the field where weights widen it, and log(C_in/g)."""
        return (0.0 if self.name == "pool" else spatial) + log(layer.inside // self.groups)

    def reads(self, layer: Layer) -> Mask:
        """(filters, channels): which channels each filter depends on."""
        mask = np.zeros((layer.filters, layer.inside), dtype=bool)
        if self.name == "rolling":
            windows = self._windows(layer)
            for f in range(layer.filters):
                mask[f, list(windows.channels(windows.of_filter(f)))] = True
            return mask
        each, width = layer.filters // self.groups, layer.inside // self.groups
        for group in range(self.groups):
            mask[group * each : (group + 1) * each, group * width : (group + 1) * width] = True
        if self.name == "grouped":  # the shuffle deals the groups out
            order = np.arange(layer.filters).reshape(self.groups, each).T.ravel()
            mask = mask[order]
        return mask

    def fits(self, layer: Layer) -> bool:
        """Whether channels and filters divide as it needs."""
        if layer.inside % self.groups or layer.filters % self.groups:
            return False
        if self.name != "rolling":
            return True
        try:
            self._windows(layer)
        except UserError:
            return False
        return True

    def _windows(self, layer: Layer) -> Windows:
        return Windows(layer.inside, layer.filters, self.groups, self.overlap)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


DENSE = Kernel("dense")
CANDIDATES = (
    DENSE, Kernel("pointwise"),
    *(Kernel("rolling", g, 0.5) for g in (2, 4, 8)), *(Kernel("grouped", g) for g in (2, 4, 8)),
    Kernel("pool"),
)  # fmt: skip


def replacement(conv: nn.Conv2d, kernel: Kernel) -> nn.Module:
    """The operator as a module, freshly initialised, for maps of the same channels and stride."""
    size, stride, padding = conv.kernel_size[0], conv.stride[0], conv.kernel_size[0] // 2
    inside, filters = conv.in_channels, conv.out_channels
    if kernel.name == "dense":
        return conv
    parts: list[nn.Module] = []
    if size > 1 and kernel.name == "pool":
        parts.append(nn.MaxPool2d(size, stride, padding))
    elif size > 1:
        depthwise = nn.Conv2d(inside, inside, size, stride, padding, groups=inside, bias=False)
        parts += [depthwise, nn.BatchNorm2d(inside)]
    if kernel.name == "rolling":
        parts.append(RollingPointwise(inside, filters, kernel.groups, kernel.overlap))
    else:
        parts.append(nn.Conv2d(inside, filters, 1, groups=kernel.groups, bias=False))
    if kernel.name == "grouped":
        parts.append(nn.ChannelShuffle(kernel.groups))
    for part in parts:
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(*parts)
