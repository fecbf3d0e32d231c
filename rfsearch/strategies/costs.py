"""What every operator costs in every slot, and whether a cap can be met.

Costs of the residual and the paper's form add up: a network costs what the backbone with empty
slots costs, and what each slot holds. So the smallest and the largest network of a space are
found slot by slot, and a cap is judged before anything runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rfsearch.errors import UserError
from rfsearch.strategies.proposal import Indices

MEASURES = ("params", "macs", "window_ops", "latency")
UNITS = {"params": "", "macs": "", "window_ops": "", "latency": " ms"}


@dataclass(frozen=True)
class CostTable:
    """Costs that add up over slots.

    Attributes:
        base: measure → the backbone with empty slots (multiply-adds, compares and adds,
            parameters, milliseconds).
        slots: measure → per slot the extra of every operator, in the order of the space.
    """

    base: Mapping[str, float]
    slots: Mapping[str, tuple[tuple[float, ...], ...]]

    def total(self, measure: str, indices: Indices) -> float:
        """What a network costs."""
        extras = self.slots[measure]
        return self.base[measure] + sum(e[k] for e, k in zip(extras, indices, strict=True))

    def extreme(self, measure: str, *, largest: bool) -> Indices:
        """The cheapest or the dearest network; of equals the operator that comes first."""
        pick = max if largest else min
        return tuple(row.index(pick(row)) for row in self.slots[measure])

    def range(self, measure: str) -> tuple[float, float]:
        """The smallest and the largest cost in the space."""
        low, high = (
            self.total(measure, self.extreme(measure, largest=end)) for end in (False, True)
        )
        return low, high

    def expected(self, measure: str, probabilities: Sequence[Sequence[float]]) -> float:
        """The mean cost when every slot draws from these probabilities."""
        rows = zip(self.slots[measure], probabilities, strict=True)
        return self.base[measure] + sum(
            sum(p * extra for p, extra in zip(ps, extras, strict=True)) for extras, ps in rows
        )


@dataclass(frozen=True)
class Caps:
    """The largest cost a network may have by measure (latency in milliseconds)."""

    limits: tuple[tuple[str, float], ...] = ()

    def met(self, costs: CostTable, indices: Indices) -> bool:
        """Whether a network keeps within all of them."""
        return all(costs.total(name, indices) <= limit for name, limit in self.limits)

    def check(self, costs: CostTable) -> None:
        """An error where a cap lies below every network, with the nearest that does not."""
        for name, limit in self.limits:
            low, _ = costs.range(name)
            if low > limit:
                nearest = low * 1.005 if name == "latency" else low
                raise UserError(
                    f"--max-{name} {limit:g}{UNITS[name]} cannot be met: the smallest network of "
                    f"this space has {low:,.6g}{UNITS[name]}; the nearest that can is "
                    f"--max-{name} {_spelled(nearest, name)}"
                )
        if self.limits and not self.met(costs, self.repair(costs, self._first(costs))):
            raise UserError("no network was found that meets all caps together; raise one of them")

    def _first(self, costs: CostTable) -> Indices:
        """The first operator in every slot."""
        return (0,) * len(costs.slots[self.limits[0][0]])

    def loose(self, costs: CostTable) -> tuple[str, ...]:
        """The measures whose cap binds nothing: every network of the space meets it."""
        return tuple(name for name, limit in self.limits if costs.range(name)[1] <= limit)

    def repair(self, costs: CostTable, indices: Indices) -> Indices:
        """A network within the caps, as near as exchanges lead; the same where none is broken.
        Where none is reached, those from the first operators, which `check` has tried."""
        found = self._exchanged(costs, indices)
        return found if self.met(costs, found) else self._exchanged(costs, self._first(costs))

    def _exchanged(self, costs: CostTable, indices: Indices) -> Indices:
        """One slot at a time, the operator that saves most of the cap that is broken most, until
        none is broken or a network comes back."""
        seen: set[Indices] = set()
        while (broken := self._broken(costs, indices)) and indices not in seen:
            seen.add(indices)
            name = broken[0]
            rows = costs.slots[name]
            saved = [
                (row[k] - min(row), -slot)
                for slot, (row, k) in enumerate(zip(rows, indices, strict=True))
            ]
            most, slot = max(saved)
            if most <= 0:
                return indices
            slot = -slot
            best = rows[slot].index(min(rows[slot]))
            indices = (*indices[:slot], best, *indices[slot + 1 :])
        return indices

    def _broken(self, costs: CostTable, indices: Indices) -> list[str]:
        """Measures over their cap, the one that is over by the largest factor first."""
        over = [(costs.total(name, indices) / limit, name) for name, limit in self.limits]
        return [name for factor, name in sorted(over, reverse=True) if factor > 1]


NO_CAPS = Caps()


def _spelled(value: float, name: str) -> str:
    return f"{value:.3g}ms" if name == "latency" else f"{int(-(-value // 1))}"
