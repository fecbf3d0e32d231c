"""By which figure networks are scored, chosen and reported: functions of labels and logits.

To add one: one function and one line in `METRICS`. Each is a share, 0 to 1, and larger is better:
strategies maximise it and tables tell it in points. So the log-loss stands here as `likelihood`,
exp(−log-loss), which puts networks into the same order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rfsearch.errors import UserError, unknown

Labels = npt.NDArray[np.int64]
Logits = npt.NDArray[np.floating]
Figure = Callable[[Labels, Logits], float]
"""Labels (N,) and logits (N, classes) to a share."""


@dataclass(frozen=True)
class Metric:
    """A line of the table.

    Attributes:
        words: what reports call it.
        least: classes that it needs.
    """

    of: Figure
    words: str
    least: int = 2


def accuracy(labels: Labels, logits: Logits) -> float:
    """Share of the images that are predicted right."""
    return float((logits.argmax(1) == labels).mean())


def balanced_accuracy(labels: Labels, logits: Logits) -> float:
    """Mean of the classes' recalls, of classes that labels have."""
    from sklearn.metrics import recall_score

    return float(recall_score(labels, logits.argmax(1), labels=np.unique(labels), average="macro"))


def macro_f1(labels: Labels, logits: Logits) -> float:
    """Mean of the classes' F1 scores, of classes that labels have."""
    from sklearn.metrics import f1_score

    return float(f1_score(labels, logits.argmax(1), labels=np.unique(labels), average="macro"))


def top5_accuracy(labels: Labels, logits: Logits) -> float:
    """Share of the images whose class is among the five with the largest logits."""
    from sklearn.metrics import top_k_accuracy_score

    known = np.arange(logits.shape[1])
    return float(top_k_accuracy_score(labels, np.nan_to_num(logits), k=5, labels=known))


def likelihood(labels: Labels, logits: Logits) -> float:
    """exp(−log-loss): the geometric mean of the probabilities that right classes were given."""
    from scipy.special import softmax
    from sklearn.metrics import log_loss

    probabilities = softmax(np.nan_to_num(logits.astype(np.float64)), axis=1)
    return float(np.exp(-log_loss(labels, probabilities, labels=np.arange(logits.shape[1]))))


ACCURACY = "accuracy"
METRICS: dict[str, Metric] = {
    ACCURACY: Metric(accuracy, "accuracy"),
    "balanced_accuracy": Metric(balanced_accuracy, "balanced accuracy"),
    "macro_f1": Metric(macro_f1, "macro F1"),
    "top5_accuracy": Metric(top5_accuracy, "top-5 accuracy", least=6),
    "likelihood": Metric(likelihood, "likelihood"),
}


def named(name: str) -> Metric:
    """The metric called ``name``, or an error that lists what is known."""
    if name not in METRICS:
        raise unknown("metric.name", name, METRICS)
    return METRICS[name]


def check_classes(name: str, count: int, data: str) -> None:
    """Refuse a metric that says nothing of so few classes."""
    if count < (least := named(name).least):
        raise UserError(
            f"metric.name={name} needs {least} classes or more, and {data} has {count}; "
            "use --set metric.name=accuracy"
        )
