"""Every operator of a family, in a network where its neighbours are read after it: the rule of the
family says what the probe finds."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rfsearch.analysis import families
from rfsearch.analysis.verify import compare

# ruff: noqa: ARG005
FAMILIES = ("ACTIVATIONS", "ELEMENTWISE", "ARITHMETIC", "SUMS", "COMPARISONS", "REDUCTIONS")
MAPS = torch.rand(3, 1, 4, 6, 6, generator=torch.Generator().manual_seed(0)) / 2 + 0.25
ONE = (
    lambda op, x, y: op(x), lambda op, x, y: op(x, 0.5), lambda op, x, y: op(x, [3], True),
    lambda op, x, y: op(x, 0.1, 0.5), lambda op, x, y: op(x, 3, 0.5), lambda op, x, y: op(x, 3),
    lambda op, x, y: op(x, 0.5, True), lambda op, x, y: op(x > 0.5), lambda op, x, y: op(x, 2, 3),
    lambda op, x, y: op(x, torch.float32), lambda op, x, y: op(torch.complex(x, y)),
)  # fmt: skip
TWO = (
    lambda op, x, y: op(x, y), lambda op, x, y: op(x, y, y), lambda op, x, y: op(x, y, 0.5),
    lambda op, x, y: op(x > 0.5, y > 0.5),
)  # fmt: skip
FORMS = dict.fromkeys(FAMILIES, (*TWO, *ONE)) | {"ACTIVATIONS": ONE, "ELEMENTWISE": (*ONE, *TWO)}
"""Ways to call an operator on one map or two; an activation has one."""


def called(op: Any, form: Any, x: Tensor, y: Tensor) -> Tensor:
    """What it gives first, as numbers; an operator that writes in place gets maps of its own."""
    found = form(op, x.clone(), y)
    found = found[0] if isinstance(found, tuple | list) else found
    if found.is_complex():
        found = torch.view_as_real(found.resolve_conj())[..., 0]
    return found.to(x.dtype)


def varies(op: Any, form: Any) -> bool | None:
    """Whether other maps give something else; None where it cannot be called so."""
    one, two, three = MAPS
    try:
        return not torch.equal(called(op, form, one, two), called(op, form, two, three))
    except (RuntimeError, TypeError, AttributeError, IndexError):
        return None


def form_of(op: Any, family: str) -> Any:
    """The first that tells maps apart, else the first."""
    told = {form: varies(op, form) for form in FORMS[family]}
    able = [form for form, how in told.items() if how is not None]
    return next((form for form in able if told[form]), able[0] if able else None)


class Tried(nn.Module):
    """Operators beside one another, each followed by a convolution where maps are left."""

    def __init__(self, ops: list[Any], family: str) -> None:
        super().__init__()
        self.calls = [(op, form_of(op, family)) for op in ops]
        self.before = nn.ModuleList(nn.Conv2d(3, 4, 3, padding=1) for _ in range(2))
        self.after = nn.Conv2d(4, 2, 3, padding=2, dilation=2)

    def forward(self, image: Tensor) -> list[Tensor]:
        x, y = (conv(image).sigmoid() / 2 + 0.25 for conv in self.before)
        found = [called(op, form, x, y) for op, form in self.calls]
        return [self.after(one) if one.shape == x.shape else one * 2 for one in found]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_operator_of_a_family_is_what_the_probe_finds(family):
    ops = list(getattr(families, family))
    assert [str(op) for op in ops if form_of(op, family) is None] == []
    few = [*range(0, len(ops), 8), len(ops)]
    for start, end in pairwise(few):
        assert (
            compare(Tried(ops[start:end], family), (6, 7), runs="every line").disagreements == ()
        )
