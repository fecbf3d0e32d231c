"""A space: the operators every slot may hold, and how they stand there."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rfsearch.errors import UserError, unknown
from rfsearch.spaces.architecture import FORMS, Choice
from rfsearch.spaces.operator import Operator

if TYPE_CHECKING:  # numpy only comes with the generator that is handed in
    from numpy.random import Generator

__all__ = ["FORMS", "Space"]


@dataclass(frozen=True)
class Space:
    """Every slot may hold any one of ``operators``, in the given form.

    Attributes:
        form: ``residual`` and ``paper`` enhance: operators stand behind the convolution of a
            slot. ``replace``: they stand in its place.
        operators: the candidates.
        replacing: of a space that enhances, how many operators at the end of the list stand in
            the place of the convolution all the same (such a space is mixed).

    >>> space = Space("pair", "residual", (Operator("identity"), Operator("ssp")))
    >>> space.size(16)
    65536
    """

    name: str
    form: str
    operators: tuple[Operator, ...]
    description: str = ""
    replacing: int = 0

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise unknown("form", self.form, FORMS)
        if not self.operators:
            raise UserError(f"space {self.name!r} has no operators; it needs at least one")
        for index, label in enumerate(self.labels):
            if label in self.labels[:index]:
                raise UserError(f"space {self.name!r} holds operator {label!r} twice")
        if self.replacing and (self.form != "residual" or self.replacing >= len(self.operators)):
            raise UserError(
                f"space {self.name!r}: [[replacements]] stand beside residual [[operators]]; "
                'a space of replacements alone has form = "replace" and lists them as operators'
            )

    @property
    def labels(self) -> tuple[str, ...]:
        """The operators' short names, in order."""
        return tuple(operator.label for operator in self.operators)

    @property
    def enhancing(self) -> tuple[Operator, ...]:
        """The operators that stand behind a convolution."""
        return tuple(one for k, one in enumerate(self.operators) if self.form_of(k) != "replace")

    @property
    def replacements(self) -> tuple[Operator, ...]:
        """The operators that stand in the place of a convolution."""
        return tuple(one for k, one in enumerate(self.operators) if self.form_of(k) == "replace")

    @property
    def kind(self) -> str:
        """What its operators do to a slot: enhance, replace, or, by choice, one of both."""
        if self.replacing:
            return "enhance or replace"
        return "replace" if self.form == "replace" else "enhance"

    @property
    def plain(self) -> Operator:
        """The operator that leaves a slot plain, whether the space holds it or not."""
        return Operator("conv" if self.form == "replace" else "identity")

    @property
    def plain_index(self) -> int | None:
        """Where the space holds `plain`, or None where it does not."""
        return self.operators.index(self.plain) if self.plain in self.operators else None

    def form_of(self, index: int) -> str:
        """How one of the operators stands at a slot."""
        return "replace" if index >= len(self.operators) - self.replacing else self.form

    def size(self, num_slots: int) -> int:
        """How many architectures there are."""
        size: int = len(self.operators) ** num_slots  # a negative exponent would be a float
        return size

    def choose(self, slots: Sequence[str], indices: Sequence[int]) -> tuple[Choice, ...]:
        """One choice per slot from one operator index per slot."""
        return tuple(
            Choice(slot, self.form_of(index), (self.operators[index],))
            for slot, index in zip(slots, indices, strict=True)
        )

    def sample(self, slots: Sequence[str], rng: Generator) -> tuple[Choice, ...]:
        """An independent uniform choice for every slot."""
        return self.choose(slots, rng.integers(len(self.operators), size=len(slots)).tolist())

    def enumerate(self, slots: Sequence[str]) -> Iterator[tuple[Choice, ...]]:
        """All `size` choices, the last slot changing fastest."""
        for indices in itertools.product(range(len(self.operators)), repeat=len(slots)):
            yield self.choose(slots, indices)

    def mutate(self, choices: Sequence[Choice], rng: Generator) -> tuple[Choice, ...]:
        """The same choices but for one slot, uniformly drawn, that holds another operator."""
        if not choices or len(self.operators) < 2:
            raise UserError(f"space {self.name!r} leaves nothing to mutate")
        place = int(rng.integers(len(choices)))
        old = choices[place]
        others = [k for k, one in enumerate(self.operators) if one not in old.operators]
        if not others:  # a pair out of two operators
            others = list(range(len(self.operators)))
        (new,) = self.choose([old.slot], [others[int(rng.integers(len(others)))]])
        return (*choices[:place], new, *choices[place + 1 :])
