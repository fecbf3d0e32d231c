"""Means as pages tell them, by numbers worked out elsewhere."""

from __future__ import annotations

import pytest

import longer_training
import means
import real_networks


@pytest.mark.parametrize(
    ("values", "told"), [([], ""), ([94.04], "94.0"), ([90.0, 92.0, 94.0], "92.0 ± 2.0")]
)
def test_a_mean_with_its_spread(values, told):
    assert means.spread(values) == told


def test_a_difference_has_welchs_interval():
    # variances 4 and 1, three values each: s² = 5/3, 2.94 degrees of freedom, t = 3.2188
    assert means.above([90.0, 92.0, 94.0], [88.0, 89.0, 90.0]) == "+3.0 (-1.2 to +7.2)"
    assert means.above([92.0], [88.0, 89.0, 90.0]) == "+3.0"
    assert means.above([], [88.0]) == ""


def test_forms_are_compared_at_the_same_budget():
    rows = [
        {"epochs": epochs, "space": space, "operator": "max 3", "accuracy": accuracy}
        for epochs, space, accuracy in (("10", "pooling", ".8"), ("10", "pmpl", ".5"),
                                        ("30", "pooling", ".9"), ("30", "pmpl", ".95"))
    ]  # fmt: skip
    assert longer_training.paper_above(rows, "max 3", (10, 30)) == ["max 3", "-30.0", "+5.0"]


def test_one_operator_everywhere_is_of_the_spaces_own():
    arms = {"plain": ".5", "max 3 everywhere": ".6", "avg 3 everywhere": ".7",
            "identity everywhere (paper)": ".1"}  # fmt: skip
    rows = [{"arm": arm, "accuracy": accuracy} for arm, accuracy in arms.items()]
    (line,) = real_networks.summary({("cifar10", "residual"): rows})[2:]
    assert line == "| cifar10 | residual | 50.0 |  |  |  |  | +15.0 |"
