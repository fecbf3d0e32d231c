"""A small architecture for the tests of this room."""

from __future__ import annotations

import pytest

from rfsearch.spaces import Architecture, Backbone, Choice, Input, Operator


@pytest.fixture
def architecture() -> Architecture:
    return Architecture(
        Backbone(
            "mobilenetv2", (("width", 0.5), ("stem", "small"), ("blocks", ((1, 16), (6, 2))))
        ),
        "pooling",
        (
            Choice("features.2.conv.1.0", "residual", (Operator("max_pool", (("kernel", 3),)),)),
            Choice("features.10.conv.1.0", "residual", (Operator("identity"),)),
            Choice(
                "features.3.conv.1.0",
                "residual",
                (Operator("avg_pool", (("kernel", 5),)), Operator("ssp")),
            ),
        ),
        Input((64, 48), 1, (0.25,), (0.5,)),
        ("zero", "one"),
    )
