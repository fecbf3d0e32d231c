"""What every entry of METRICS keeps: a share that is larger where networks are better, and the
number that its definition gives when it is written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from rfsearch.engine.settings import MetricSettings
from rfsearch.errors import UserError
from rfsearch.training.evaluation import accuracy, score
from rfsearch.training.metrics import METRICS, check_classes

CLASSES = 8


def drawn(seed=0, count=60, classes=CLASSES, missing=2):
    """Labels that leave out the last classes, and logits that hold a little about them."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes - missing, size=count) ** 2 // classes  # not all as often
    logits = rng.normal(size=(count, classes)).astype(np.float32)
    logits[np.arange(count), labels] += 1
    return labels, logits


def rows_of(labels, logits):
    return [(int(k), [float(one) for one in row]) for k, row in zip(labels, logits, strict=True)]


def predicted(row):
    return row.index(max(row))


def by_class(labels, logits, figure):
    rows = rows_of(labels, logits)
    told = []
    for one in sorted({k for k, _ in rows}):
        hits = sum(k == one == predicted(row) for k, row in rows)
        told.append(figure(hits, sum(k == one for k, _ in rows),
                           sum(predicted(row) == one for _, row in rows)))  # fmt: skip
    return math.fsum(told) / len(told)


def product(labels, logits):
    """A geometric mean, one factor at a time."""
    found = 1.0
    for k, row in rows_of(labels, logits):
        found *= (math.exp(row[k]) / math.fsum(map(math.exp, row))) ** (1 / len(labels))
    return found


WRITTEN_OUT = {
    "accuracy": lambda *of: np.mean([k == predicted(row) for k, row in rows_of(*of)]),
    "balanced_accuracy": lambda *of: by_class(*of, lambda hits, those, _: hits / those),
    "macro_f1": lambda *of: by_class(*of, lambda hits, those, told: 2 * hits / (those + told)),
    "top5_accuracy": lambda *of: np.mean(
        [sum(other > row[k] for other in row) < 5 for k, row in rows_of(*of)]
    ),
    "likelihood": product,
}

every_metric = pytest.mark.parametrize("name", METRICS)


@every_metric
@pytest.mark.parametrize("seed", range(3))
def test_it_is_what_its_definition_gives(name, seed):
    labels, logits = drawn(seed)
    assert METRICS[name].of(labels, logits) == pytest.approx(WRITTEN_OUT[name](labels, logits))


@every_metric
def test_it_is_a_share_and_the_order_of_images_is_nothing_to_it(name):
    labels, logits = drawn()
    figure = METRICS[name].of
    assert 0 < figure(labels, logits) < 1
    order = np.random.default_rng(1).permutation(len(labels))
    assert figure(labels[order], logits[order]) == pytest.approx(figure(labels, logits))
    assert figure(labels, 1000 * np.eye(CLASSES)[labels]) == pytest.approx(1)
    assert 0 <= figure(labels, -1000 * np.eye(CLASSES)[labels]) < 1e-6


@every_metric
def test_it_is_larger_where_an_image_more_is_right(name):
    labels, logits = drawn()
    wrong = np.flatnonzero(logits.argmax(1) != labels)
    better = logits.copy()
    worst = min(wrong, key=lambda n: logits[n, labels[n]] - logits[n].max())
    better[worst, labels[worst]] = logits[worst].max() + 1
    assert METRICS[name].of(labels, better) > METRICS[name].of(labels, logits)


@every_metric
def test_logits_that_are_no_numbers_have_a_score(name):
    labels, logits = drawn()
    logits[3], logits[4, 0] = np.nan, np.inf
    assert 0 <= METRICS[name].of(labels, logits) <= 1


def test_a_score_by_accuracy_is_the_accuracy_to_the_last_bit(make_images, augmentation):
    class Fixed(torch.nn.Module):
        def forward(self, x):
            return torch.stack([x.mean((1, 2, 3)), x.amax((1, 2, 3)) - 1, x[:, 0, 0, 0]], 1)

    for count in (7, 33, 99, 250):
        images = make_images(count)
        told = [score(Fixed(), images, augmentation, METRICS["accuracy"]),
                accuracy(Fixed(), images, augmentation)]  # fmt: skip
        assert told[0] == told[1] > 0


def test_few_classes_and_unknown_names_are_told():
    with pytest.raises(UserError, match=r"top5_accuracy needs 6 classes or more, and spots has 5"):
        check_classes("top5_accuracy", 5, "spots")
    check_classes("top5_accuracy", 6, "spots")
    with pytest.raises(UserError, match=r"metric.name 'balanced'.*balanced_accuracy.*likelihood"):
        MetricSettings(name="balanced")
