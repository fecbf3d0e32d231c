"""Spatial-separable pooling (SSP), the one candidate of PMPL that has weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SpatialSeparablePooling(nn.Module):
    """Coordinate attention: x · a_h · a_w with gates from row and column means.

    Source: the authors' code for PMPL (arXiv 2301.10038), which follows coordinate attention
    (arXiv 2103.02907): means over each row and each column, a shared 1×1 convolution to
    max(8, C // 32) channels with BatchNorm and h-swish, then one 1×1 convolution and a sigmoid
    for either axis. All three convolutions have a bias.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(8, channels // 32)
        self.squeeze = nn.Sequential(
            nn.Conv2d(channels, hidden, 1), nn.BatchNorm2d(hidden), nn.Hardswish()
        )
        self.rows = nn.Conv2d(hidden, channels, 1)
        self.columns = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H, W)."""
        height, width = x.shape[-2:]
        lines = torch.cat([x.mean(3, keepdim=True), x.mean(2, keepdim=True).transpose(2, 3)], 2)
        rows, columns = self.squeeze(lines).split([height, width], dim=2)
        gate_rows = self.rows(rows).sigmoid()
        gate_columns = self.columns(columns.transpose(2, 3)).sigmoid()
        return x * gate_rows * gate_columns
