"""The networks of PfLayer (arXiv 2202.02777): pooling in place of spatial convolutions.

Stated by the authors: the blocks of R50-max and R50-hybrid, and the order inside an EffLayer. Ours
is what becomes of a token that is no patch: it passes the pooling by.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import VisionTransformer
from torchvision.models.resnet import Bottleneck, ResNet


class MaxBottleneck(Bottleneck):
    """1×1, BN, ReLU; max-pool 3×3 of the block's stride; 1×1, BN; shortcut, ReLU. The 3×3
    convolution is gone with its norm and activation."""

    def __init__(
        self, inplanes: int, planes: int, stride: int = 1, *rest: Any, **more: Any
    ) -> None:
        super().__init__(inplanes, planes, stride, *rest, **more)
        self.conv2: nn.Module = nn.MaxPool2d(3, stride, 1)
        self.bn2 = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, 4 planes, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.conv2(self.relu(self.bn1(self.conv1(x))))
        return self.relu(self.bn3(self.conv3(out)) + shortcut)


class HybridBottleneck(MaxBottleneck):
    """`MaxBottleneck`, but at a stride of 2: average-pool 2×2, then a 3×3 convolution of stride 1
    with BN and ReLU. The paper's rule: convolutions stay where resolution is lost."""

    def __init__(
        self, inplanes: int, planes: int, stride: int = 1, *rest: Any, **more: Any
    ) -> None:
        super().__init__(inplanes, planes, stride, *rest, **more)
        if stride > 1:
            self.conv2 = nn.Sequential(
                nn.AvgPool2d(stride, stride),
                nn.Conv2d(planes, planes, 3, padding=1, bias=False),
                nn.BatchNorm2d(planes),
                nn.ReLU(inplace=True),
            )


def resnet50_max() -> nn.Module:
    """R50-max: 14.23 M parameters, 2.24 G multiply-adds at 224 pixels."""
    return ResNet(MaxBottleneck, [3, 4, 6, 3])


def resnet50_hybrid() -> nn.Module:
    """R50-hybrid: 17.33 M parameters, 2.59 G multiply-adds at 224 pixels."""
    return ResNet(HybridBottleneck, [3, 4, 6, 3])


class EffLayer(nn.Module):
    """Linear d → 3d, GELU, max-pool 3×3 over the tokens as a square grid, GELU, linear 3d → d."""

    def __init__(self, width: int, expansion: int = 3, kernel: int = 3) -> None:
        super().__init__()
        self.wide = nn.Linear(width, expansion * width)
        self.pool = nn.MaxPool2d(kernel, 1, kernel // 2)
        self.narrow = nn.Linear(expansion * width, width)
        self.activation = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (N, T, d) to the same; the last s² of them are a grid of s × s patches, row by
        row, and those before it (a class token) meet no other."""
        x = self.activation(self.wide(x))
        side = math.isqrt(x.shape[1])
        others, patches = x.split([x.shape[1] - side * side, side * side], 1)
        grid = self.pool(patches.transpose(1, 2).unflatten(2, (side, side)))
        pooled = torch.cat([others, grid.flatten(2).transpose(1, 2)], 1)
        return self.narrow(self.activation(pooled))


class _InPlaceOfAttention(nn.Module):
    """An EffLayer as torchvision's encoder calls its attention."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = EffLayer(width)

    def forward(self, query: Tensor, *_: Any, **__: Any) -> tuple[Tensor, None]:
        """Tokens, and no weights."""
        return self.layer(query), None


def vit_tiny_eff() -> nn.Module:
    """ViT-Ti/16 with an EffLayer in place of attention in every second block."""
    network = VisionTransformer(224, 16, 12, 3, 192, 768)
    for index, block in enumerate(network.encoder.layers):
        if index % 2:
            block.self_attention = _InPlaceOfAttention(192)
    return network
