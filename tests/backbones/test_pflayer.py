"""PfLayer's networks against what is published of them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torchvision import models
from torchvision.models.resnet import Bottleneck

from rfsearch.analysis.walk import walk
from rfsearch.backbones.pflayer import EffLayer, resnet50_hybrid, resnet50_max, vit_tiny_eff
from rfsearch.operators.replacements import build_replacement

# By hand, from torchvision's ResNet-50 with 25,557,032 parameters and 4,089,184,256 multiply-adds:
# 9 w² weights and 2 w of its norm for each 3×3 convolution, at 56, 28, 14 and 7 pixels.
WIDTHS = ((64, 3, 56), (128, 4, 28), (256, 6, 14), (512, 3, 7))
GONE = sum(n * (9 * w * w + 2 * w) for w, n, _ in WIDTHS)
BACK = sum(9 * w * w + 2 * w for w, _, _ in WIDTHS[1:])
CHEAPER = sum(n * 9 * w * w * side * side for w, n, side in WIDTHS)
AGAIN = sum(9 * w * w * side * side for w, _, side in WIDTHS[1:])


@pytest.mark.parametrize(
    ("build", "params", "macs", "field"),
    [
        (resnet50_max, 14_232_232, 2_239_496_192, 427),
        (resnet50_hybrid, 17_330_600, 2_586_312_704, 511),
    ],
)
def test_size_cost_and_field(build, params, macs, field):
    hybrid = build is resnet50_hybrid
    assert params == 25_557_032 - GONE + hybrid * BACK
    assert macs == 4_089_184_256 - CHEAPER + hybrid * AGAIN
    network = build().eval()
    assert sum(p.numel() for p in network.parameters()) == params
    analysis = walk(network, (224, 224))
    assert analysis.totals.macs == macs
    trunk = [row for row in analysis.layers if row.name.startswith("layer4")]
    assert trunk[-1].field_h == trunk[-1].field_w == field


def test_a_pool_of_the_space_keeps_the_norm_behind_it():
    """In every slot, beside R50-max, whose blocks have none."""
    with torch.device("meta"):
        network = models.resnet50()
        for block in network.modules():
            if isinstance(block, Bottleneck):
                block.conv2 = build_replacement("pf_max", block.conv2, {})
    kept = sum(n * 2 * w for w, n, _ in WIDTHS)
    assert sum(p.numel() for p in network.parameters()) == 14_232_232 + kept == 14_239_784


def test_an_efflayer_is_pooling_between_two_convolutions():
    layer = EffLayer(6).double()
    tokens = torch.randn(2, 1 + 25, 6, dtype=torch.float64)
    grid = tokens[:, 1:].transpose(1, 2).reshape(2, 6, 5, 5)
    wide = F.gelu(F.conv2d(grid, layer.wide.weight[:, :, None, None], layer.wide.bias))
    pooled = F.gelu(F.max_pool2d(wide, 3, 1, 1))
    narrow = F.conv2d(pooled, layer.narrow.weight[:, :, None, None], layer.narrow.bias)
    torch.testing.assert_close(layer(tokens)[:, 1:], narrow.flatten(2).transpose(1, 2))
    alone = layer.narrow(F.gelu(F.gelu(layer.wide(tokens[:, 0]))))
    torch.testing.assert_close(layer(tokens)[:, 0], alone)


def test_a_vision_transformer_with_efflayers():
    network = vit_tiny_eff().eval()
    kinds = [type(block.self_attention).__name__ for block in network.encoder.layers]
    assert kinds == ["MultiheadAttention", "_InPlaceOfAttention"] * 6
    with torch.no_grad():
        assert network(torch.randn(1, 3, 224, 224)).shape == (1, 1000)
