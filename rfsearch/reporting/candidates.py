"""The operators of a run as the report shows them: label, family, kernel, colour token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rfsearch.spaces import Operator, load_space

FAMILIES = ("identity", "max", "avg", "ssp")
SHORT = {"identity": "·", "max": "M", "avg": "A", "ssp": "S"}


@dataclass(frozen=True)
class Candidate:
    """One operator for the eye. ``kernel`` is None where the operator has no window."""

    label: str
    family: str
    kernel: int | None

    @property
    def token(self) -> str:
        """Its name in the palette: the family and, for windows, one of three shades."""
        if self.family in ("identity", "ssp"):
            return self.family
        size = self.kernel or 3
        shade = 3 if size <= 3 else 5 if size <= 5 else 7
        return f"{self.family}-{shade}"

    @property
    def short(self) -> str:
        """Two characters at most, for a strip in the terminal: ``·``, ``M3``, ``A7``, ``S``."""
        return f"{SHORT.get(self.family, self.label[:1].upper())}{self.kernel or ''}"[:2]


def from_label(label: str) -> Candidate:
    """Read a label back.

    >>> from_label("max 3")
    Candidate(label='max 3', family='max', kernel=3)
    >>> from_label("identity").token
    'identity'
    """
    head, _, tail = label.partition(" ")
    family = head if head in FAMILIES else "other"
    return Candidate(label, family, int(tail) if tail.isdecimal() else None)


def leading(label: str) -> Candidate:
    """The one whose colour a slot has: of ``max 3 + avg 5`` the first.

    >>> leading("max 3 + avg 5").label
    'max 3'
    """
    return from_label(label.split(" + ")[0])


def from_json(record: object) -> Candidate:
    """The operator of a choice in ``architecture.json``.

    >>> from_json({"name": "avg_pool", "arguments": {"kernel": 5}}).label
    'avg 5'
    """
    return from_label(Operator.from_json(record).label)


def of_choice(choice: Mapping[str, Any]) -> tuple[Candidate, ...]:
    """The operators in one slot: one, or two where the deadline left a pair."""
    return tuple(from_json(operator) for operator in choice["operators"])


def of_space(config: Mapping[str, Any]) -> tuple[Candidate, ...]:
    """The candidates of the run's space, in the order of every ``p`` in its history.

    ``config["operators"]`` (labels) is what the run itself recorded; without it the space is
    looked up by name or path, which can fail when a file has moved since.
    """
    labels = config.get("operators")
    if labels is None:
        labels = [operator.label for operator in load_space(str(config["space"])).operators]
    return tuple(from_label(label) for label in labels)


def count(candidates: Sequence[Candidate]) -> str:
    """How often each operator occurs, most often first.

    >>> count([from_label("max 3"), from_label("identity"), from_label("max 3")])
    '2 × max 3, 1 × identity'
    """
    labels = [candidate.label for candidate in candidates]
    order = sorted(set(labels), key=lambda label: (-labels.count(label), labels.index(label)))
    return ", ".join(f"{labels.count(label)} × {label}" for label in order)
