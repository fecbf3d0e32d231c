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
    plain = {"epochs": "30", "space": "pooling", "operator": "identity", "accuracy": ".8"}
    told = longer_training.above_plain([*rows, plain], ("pmpl", "max 3"), (10, 30))
    assert told == ["paper, max 3 everywhere", "", "+15.0"]


def test_one_operator_everywhere_is_of_the_spaces_own():
    arms = {"plain": ".5", "max 3 everywhere": ".6", "avg 3 everywhere": ".7",
            "identity everywhere (paper)": ".1"}  # fmt: skip
    rows = [{"arm": arm, "accuracy": accuracy} for arm, accuracy in arms.items()]
    header, _, line = real_networks.summary({("cifar10", "residual"): rows})
    told = dict(zip(cells(header), cells(line), strict=True))
    assert {column: value for column, value in told.items() if value} == {
        "ground": "cifar10", "form": "residual", "plain, %": "50.0",
        "one operator everywhere": "+15.0",
        "identity everywhere (paper)": "-40.0",
    }  # fmt: skip


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_same_networks_are_told_after_both_budgets(tmp_path, monkeypatch):
    """Three of each arm, the first of a seed; both stand above plain's of the residual form."""
    monkeypatch.setattr(real_networks, "REPORT", tmp_path)
    short = {"residual": {"plain": (0.5, 0.52, 0.54), "pmpl-even": (0.59, 0.61, 0.6, 0.9)},
             "paper": {"pmpl-even": (0.4, 0.42, 0.44)}}  # fmt: skip
    columns = ("arm", "search_seed", "accuracy")
    for form, arms in short.items():
        told = [
            (arm, number % 3, value)
            for arm, values in arms.items()
            for number, value in enumerate(values)
        ]
        rows = [dict(zip(columns, one, strict=True)) for one in told]
        real_networks.tables.write(tmp_path / f"cifar10-{form}.csv", columns, rows)
        later = [{**row, "accuracy": row["accuracy"] + 0.2} for row in rows[:5]]
        real_networks.tables.write(tmp_path / f"cifar10-{form}-longer.csv", columns, later)
    assert len(real_networks.three_of_each("cifar10", "residual")) == 6
    plain, ours, published = real_networks.trained_for_longer("cifar10")[4:-1]
    assert plain == "| residual | plain | 3 | 52.0 ± 2.0 | 72.0 ± 2.0 |  |  |"
    assert ours.startswith("| residual | pmpl-even | 2 | 60.0 ± 1.0 | 80.0 ± 1.4 | +8.0 (")
    assert published.startswith("| paper | pmpl-even | 3 | 42.0 ± 2.0 | 62.0 ± 2.0 | -10.0 (")
    assert real_networks.trained_for_longer("imagenette") == []
