"""RFNet-6 (ours): an inverted-residual network with six slots, small enough for full tables.

Six blocks of MobileNetV2 (arXiv 1801.04381) with expansion 4 between a stem and a head, so that
a space of 3 operators has 729 networks and each trains in seconds.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.ops.misc import Conv2dNormActivation

from rfsearch.backbones.depthwise import quicken
from rfsearch.backbones.slots import Slot, conv_slot

SMALLEST_IMAGE = {"published": 16, "small": 8}
EXPANSION = 4
STEM = 16
HEAD = 128
_BLOCKS = ((16, 1), (24, 2), (24, 1), (40, 2), (40, 1), (64, 2))
"""Output channels at width 1, and stride."""


class RFNet6(nn.Module):
    """Stem, six inverted-residual blocks, 1×1 head; the small stem has stride 1 in place of 2."""

    def __init__(self, width: float, classes: int, channels: int, stem: str) -> None:
        super().__init__()
        inside = _wide(STEM, width)
        parts: list[tuple[str, nn.Module]] = [
            ("stem", _conv(channels, inside, 3, 2 if stem == "published" else 1))
        ]
        for index, (planes, stride) in enumerate(_BLOCKS, 1):
            outside = _wide(planes, width)
            parts.append((f"block{index}", InvertedResidual(inside, outside, stride, EXPANSION)))
            inside = outside
        parts.append(("head", _conv(inside, _wide(HEAD, width), 1, 1)))
        self.features = nn.Sequential(OrderedDict(parts))
        self.classifier = nn.Linear(_wide(HEAD, width), classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) to logits (N, classes)."""
        return self.classifier(self.features(x).mean((2, 3)))


def build(
    width: float = 1.0, classes: int = 1000, channels: int = 3, stem: str = "published"
) -> nn.Module:
    """RFNet-6 of any width, its convolutions initialised as MobileNetV2's are."""
    network = RFNet6(width, classes, channels, stem)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
    quicken(network)
    return network


def slots(network: nn.Module) -> tuple[Slot, ...]:
    """The depthwise convolution of each of the six blocks."""
    return tuple(
        conv_slot(network, f"features.block{n}.conv.1.0", f"features.block{n}.conv.1.3")
        for n in range(1, len(_BLOCKS) + 1)
    )


def _conv(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Module:
    return Conv2dNormActivation(inputs, outputs, kernel, stride, activation_layer=nn.ReLU6)


def _wide(planes: int, width: float) -> int:
    """Channels at this width: a multiple of 8, at least 8."""
    return max(8, round(planes * width / 8) * 8)
