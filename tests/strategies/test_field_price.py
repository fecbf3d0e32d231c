"""What candidates add to the field, beside NaN put in pixel by pixel; and what its price does."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import tiny_task as tiny
from rfsearch.backbones.supernet import Supernet, supernet
from rfsearch.errors import UserError
from rfsearch.operators import OPERATORS, build_operator
from rfsearch.operators.replacements import build_replacement
from rfsearch.spaces import Backbone, Operator, Space, load_space
from rfsearch.strategies.field_price import growth, growths, slope
from rfsearch.strategies.pmpl_settings import PMPLSettings

ARGUMENTS = {"max_pool": {"kernel": 5}, "avg_pool": {"kernel": 7}, "dw_rpw": {"kernel": 3}}


def seen(operator, shape):
    """Rows and columns of the map that the middle of the output depends on, in number."""
    operator = operator.double().eval()
    plain = torch.rand(1, *shape, dtype=torch.float64)
    rows, columns = set(), set()
    for row in range(shape[1]):
        for column in range(shape[2]):
            image = plain.clone()
            image[:, :, row, column] = math.nan
            out = operator(image)
            if out[0, :, out.shape[2] // 2, out.shape[3] // 2].isnan().any():
                rows.add(row)
                columns.add(column)
    return max(rows) - min(rows) + 1, max(columns) - min(columns) + 1


@pytest.mark.parametrize("shape", [(8, 11, 9), (8, 3, 3)], ids=str)
@pytest.mark.parametrize("name", list(OPERATORS))
def test_growth_is_what_nan_shows(name, shape):
    operator = build_operator(name, shape[0], ARGUMENTS.get(name, {}))
    height, width = seen(operator, shape)
    share = ((height - 1) / shape[1] + (width - 1) / shape[2]) / 2
    assert growth(operator, shape) == pytest.approx(share, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("conv", {}), ("dilated", {"dilation": 3}), ("resized", {"kernel": 5}),
     ("pf_max", {"kernel": 3}), ("depthwise", {"kernel": 3})],
    ids=str,
)  # fmt: skip
def test_growth_in_the_place_of_a_convolution(name, arguments):
    shape = (8, 15, 15)
    operator = build_replacement(name, nn.Conv2d(8, 8, 3, padding=1, groups=8), arguments)
    assert growth(operator, shape) == pytest.approx((seen(operator, shape)[0] - 1) / 15)


def searched(**settings):
    return tiny.search("rfnet6", **settings).pmpl


def objective():
    x = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(3))
    return lambda net: net(x).square().mean()


def test_every_slot_has_its_own_map():
    pmpl = searched()
    found = growths(pmpl.supernet, lambda: pmpl.supernet(torch.rand(2, 1, 16, 16)))
    assert list(found) == list(pmpl.supernet.slots)
    sides = [16, 8, 8, 4, 4, 4]
    for told, side in zip(found.values(), sides, strict=True):
        assert told[:3].tolist() == pytest.approx([0, 2 / side, 2 / side])


def test_of_two_places_both_count():
    operators = (Operator("identity"), Operator("max_pool", (("kernel", 5),)),
                 Operator("pf_max", (("kernel", 7),)))  # fmt: skip
    both = Space("both", "residual", operators, replacing=1)
    arguments = (("channels", 1), ("classes", 3), ("stem", "small"), ("width", 0.25))
    network: Supernet = supernet(Backbone("rfnet6", arguments), both)
    found = growths(network, lambda: network(torch.rand(2, 1, 32, 32)))
    taken, given = 32, 32  # of a convolution of stride 1: it sees 3 by itself
    first = next(iter(found.values())).tolist()
    assert first == pytest.approx([2 / taken, 2 / taken + 4 / given, 6 / taken])


@pytest.mark.parametrize("kept", [0, 1])
def test_the_slope_is_the_gradient(kept):
    alpha = torch.randn(4, dtype=torch.float64, generator=torch.Generator().manual_seed(kept))
    growth = torch.rand(4, dtype=torch.float64)
    alpha.requires_grad_()
    (alpha.softmax(0) * growth).sum().backward()
    assert torch.allclose(slope(alpha, growth), alpha.grad, atol=1e-15)


@pytest.mark.parametrize("relaxation", ["alone", "mixed"])
def test_the_price_is_added_to_the_gradient(relaxation):
    free = searched(relaxation=relaxation)
    priced = searched(relaxation=relaxation, field_price=0.5)
    told, without = free.gradients(objective())
    also, gradients = priced.gradients(objective())
    assert told == also, "the loss is told without the price"
    for slot, gradient in gradients.items():
        mixture = priced.supernet.mixture(slot)
        p, g = mixture.alpha.detach().softmax(0), priced.growths[slot]
        assert torch.allclose(gradient, without[slot] + 0.5 * p * (g - p @ g), atol=1e-7)


def test_where_nothing_is_gained_nothing_is_widened():
    pmpl = searched(field_price=0.1, relaxation="alone", progressive=False)
    for _ in range(60):
        pmpl.step(lambda net: objective()(net) * 0)
    pmpl.finish()
    assert {choice.label for choice in pmpl.supernet.choices()} == {"identity"}


def test_a_high_price_leaves_the_plain_operators_alone():
    lines = tiny.records(pmpl := tiny.search("rfnet6", field_price=100.0, stages=(0, 4, 0)))
    assert lines
    assert {choice.label for choice in pmpl.choices()} == {"identity"}
    assert {c.label for c in done(tiny.search("rfnet6", stages=(0, 4, 0)))} != {"identity"}


def done(search):
    tiny.records(search)
    return search.choices()


def test_mistakes():
    with pytest.raises(UserError, match=r"pmpl\.field_price must be 0 or more"):
        PMPLSettings(field_price=-1.0)
    with pytest.raises(UserError, match=r"masking compares losses.*pmpl\.select=alpha"):
        PMPLSettings(field_price=0.1, select="masking")


def test_the_default_space_has_rising_growths():
    labels = load_space("pooling").labels
    told = dict(zip(labels, (growth(build_operator(o.name, 4, dict(o.arguments)), (4, 12, 12))
                             for o in load_space("pooling").operators), strict=True))  # fmt: skip
    assert [told[f"max {k}"] for k in (3, 5, 7)] == pytest.approx([2 / 12, 4 / 12, 6 / 12])
    assert told["identity"] == 0
