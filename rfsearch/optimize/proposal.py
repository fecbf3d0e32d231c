"""A proposed network: before and after, layer by layer, with the reason; and as a file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import Any

from torch import nn

from rfsearch.errors import UserError
from rfsearch.optimize.kernel_level import Choice, Proposal
from rfsearch.optimize.networks import build
from rfsearch.optimize.operators import DENSE, Kernel
from rfsearch.optimize.staged import Figures, Seen, Staged, figures, seen
from rfsearch.spaces import Input
from rfsearch.trials import read_json

FORMAT = 1
BACKBONE = "staged"


@dataclass(frozen=True)
class Row:
    """A layer before and after; None where it is not there.

    Attributes:
        lost: of what it would earn with a dense kernel.
    """

    name: str
    before: Seen | None
    after: Seen | None
    kernel: Kernel
    reason: str
    lost: float = 0.0

    @property
    def earned(self) -> tuple[float | None, float | None]:
        """Of the productive score, before and after."""
        before = None if self.before is None else self.before.earned
        return before, None if self.after is None else self.after.earned - self.lost


@dataclass(frozen=True)
class Optimized:
    """What the optimizer proposes.

    Attributes:
        kernels: operators in place of convolutions, None where that level was left out.
    """

    model: str
    image_size: tuple[int, int]
    original: Staged
    proposed: Staged
    kernels: Proposal | None = None

    @property
    def before(self) -> Figures:
        """The original."""
        return figures(self.original, self.image_size)

    @property
    def after(self) -> tuple[int, int, float]:
        """Parameters, multiply-adds and productive score of the proposal."""
        found = figures(self.proposed, self.image_size)
        if self.kernels is None:
            return found.params, found.macs, found.productive
        params = found.params - self.kernels.params_saved
        return params, found.macs - self.kernels.macs_saved, self._productive()

    def _productive(self) -> float:
        """Along the heaviest path: beside a block with cheaper kernels that may be its
        projection."""
        lost = self._lost_by_layer()
        main: dict[str, float] = {}
        side: dict[str, float] = {}
        for row in seen(self.proposed, self.image_size):
            name = row.layer.name
            block = ".".join(name.split(".")[:3])
            if row.layer.side:
                side[block] = row.mixed * row.productive
            else:
                main[block] = main.get(block, 0.0) + row.earned - lost.get(name, 0.0)
        return sum(max(earned, side.get(block, 0.0)) for block, earned in main.items())

    def _lost_by_layer(self) -> dict[str, float]:
        choices = self.kernels.choices if self.kernels else ()
        return {choice.name: self._lost(choice) for choice in choices}

    def _lost(self, choice: Choice) -> float:
        """Of what a layer earns: all of what a pointwise convolution
        would earn behind a spatial one after which the whole image is seen."""
        row, kernel = choice.row, choice.kernel
        if not row.productive or kernel == DENSE:
            return 0.0
        whole = row.layer.kernel > 1 and row.after >= max(self.image_size)
        return row.mixed if whole else log(kernel.groups)

    def rows(self) -> list[Row]:
        """All layers of either network, in order."""
        return list(_rows(self))

    def module(self) -> nn.Module:
        """The proposed network, freshly initialised."""
        return build(self.proposed, self.kernels.kernels if self.kernels else None)

    def original_module(self) -> nn.Module:
        """The original, freshly initialised."""
        return build(self.original)

    def to_json(
        self, taken: Input | None = None, classes: tuple[str, ...] | None = None
    ) -> dict[str, Any]:
        """architecture.json: this alone rebuilds the network. ``taken`` and ``classes`` are those
        of the data it is trained on."""
        channels = self.proposed.channels
        taken = taken or Input(self.image_size, channels, (0.0,) * channels, (1.0,) * channels)
        choices = [
            {"slot": one.name, "form": "replace",
             "operators": [{"name": one.kernel.name, "arguments": {
                 "groups": one.kernel.groups, "overlap": one.kernel.overlap}}]}
            for one in (self.kernels.choices if self.kernels else ()) if one.kernel != DENSE
        ]  # fmt: skip
        return {
            "format": FORMAT,
            "backbone": {"name": BACKBONE, "arguments": self.proposed.to_json()},
            "space": "kernels",
            "choices": choices,
            "input": taken.to_json(),
            "classes": list(classes or map(str, range(self.proposed.classes))),
        }


def is_proposal(path: Path) -> bool:
    """Whether a file is an architecture.json of `rfsearch optimize`."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return bool(record["backbone"]["name"] == BACKBONE)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


@dataclass(frozen=True)
class Stored:
    """A proposed network as its architecture.json has it."""

    net: Staged
    kernels: dict[str, Kernel]
    taken: Input

    def module(self) -> nn.Module:
        """Freshly initialised."""
        return build(self.net, self.kernels)


def load(path: Path) -> Stored:
    """The network of an architecture.json that `rfsearch optimize` wrote.

    Raises:
        UserError: another file, or one that was changed to what cannot be built.
    """
    record = read_json(path)
    try:
        net = Staged.from_json(record["backbone"]["arguments"])
        kernels = {c["slot"]: _kernel(c["operators"][0]) for c in record["choices"]}
        stored = Stored(net, kernels, Input.from_json(record["input"]))
        known = {row.layer.name: row.layer for row in seen(net, stored.taken.image_size)}
    except (KeyError, TypeError, IndexError, AttributeError, UserError) as error:
        raise UserError(f"{path} holds no proposed network: {error}") from error
    if wrong := sorted(set(kernels) - set(known)):
        raise UserError(f"{path}: the network has no layer {', '.join(wrong)}")
    if wrong := sorted(name for name, kernel in kernels.items() if not kernel.fits(known[name])):
        raise UserError(f"{path}: the operator of {', '.join(wrong)} does not fit its channels")
    return stored


def _kernel(operator: dict[str, Any]) -> Kernel:
    return Kernel(operator["name"], **operator["arguments"])


def _rows(proposal: Optimized) -> Iterator[Row]:
    size = proposal.image_size
    old = {row.layer.name: row for row in seen(proposal.original, size)}
    new = {row.layer.name: row for row in seen(proposal.proposed, size)}
    choices = {c.name: c for c in proposal.kernels.choices} if proposal.kernels else {}
    lost = proposal._lost_by_layer()
    names = sorted(old.keys() | new.keys(), key=lambda name: _order(name, old, new))
    for name in names:
        before, after, choice = old.get(name), new.get(name), choices.get(name)
        kernel = choice.kernel if choice else DENSE
        reason = _reason(before, after, choice)
        yield Row(name, before, after, kernel, reason, lost.get(name, 0.0))


def _order(name: str, old: dict[str, Seen], new: dict[str, Seen]) -> tuple[int, int, int]:
    row = old.get(name) or new[name]
    parts = [int(part) for part in name.split(".") if part.isdigit()]
    place = list(old if name in old else new).index(name)
    last = name.startswith("last")
    return row.layer.stage + last, parts[1] if name.startswith("stages") else place, place


def _reason(before: Seen | None, after: Seen | None, choice: Choice | None) -> str:
    if after is None:
        assert before is not None
        if before.productive and not before.layer.side:
            return "dropped: others earn more under the caps"
        return "dropped: its input sees the whole image already, so it earns nothing"
    if choice is not None and choice.kernel != DENSE:
        return _kernel_reason(choice)
    if before is None:
        return f"added: earns {after.earned:.1f}"
    if (before.layer.kernel, before.layer.stride) != (after.layer.kernel, after.layer.stride):
        return "moved: what comes after sees something new for longer"
    if after.productive and not before.productive and not after.layer.side:
        return f"kept: sees something new again, earns {after.earned:.1f}"
    return "kept"


def _kernel_reason(choice: Choice) -> str:
    share = choice.kernel.params(choice.row.layer) / DENSE.params(choice.row.layer)
    weights = f"{share:.0%} of the weights"
    if choice.kernel.name == "pool":
        if choice.row.spatial == 0:
            return f"{weights}; the field is whole already, so no weights are spent on space"
        return f"{weights}; its spatial gain may come from pooling, half of the stage's does not"
    if choice.kernel.name == "pointwise":
        return f"{weights} for the same gain"
    lost = choice.before - choice.earned
    how = "windows overlap" if choice.kernel.name == "rolling" else "groups are dealt out"
    return f"{weights}; {lost:.2f} of ε spent, {how}, so all channels still reach the end"
