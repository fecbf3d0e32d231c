"""What was read of a network: the rows of the walk, what they mean, and where its units look."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rfsearch.analysis.findings import Finding, findings
from rfsearch.analysis.layers import MARKS, Analysis, Box, Layer, Smallest
from rfsearch.analysis.scores import Gains
from rfsearch.analysis.squares import SHARES, Mass
from rfsearch.analysis.stages import Stage, stages

if TYPE_CHECKING:
    from rfsearch.analysis.verify import Strip

FORMAT = 1


@dataclass(frozen=True)
class Effective:
    """Effective fields, a row each; None for layers that were not measured.

    Attributes:
        images: what the images were, such as "noise" or a data set.
        num_images: how many.
        masses: mean non-negative gradient (H, W) of each layer's centre unit.
        sizes: for every share of the mass (height, width) of the smallest centred square.
    """

    images: str
    num_images: int
    masses: tuple[Mass | None, ...]
    sizes: tuple[Mapping[float, tuple[int, int]] | None, ...]

    def to_json(self) -> dict[str, Any]:
        """How it was measured."""
        return {
            "protocol": "RepLKNet: gradient of the centre unit, its non-negative part, mean over "
            "images; smallest centred square",
            "log": False,
            "images": self.images,
            "num_images": self.num_images,
            "shares": list(SHARES),
        }


@dataclass(frozen=True)
class Reading:
    """All there is to tell about a network at one image size.

    Attributes:
        model: what it is called.
        analysis: the rows.
        weights: where its weights came from, such as "random, seed 0".
        smallest: shortest image sides without an unproductive layer.
        boxes: for each row what its centre unit sees, by kind of field; empty without a centre.
        effective: None where it was not asked for.
        disagreements: between the walk and the probe; None where they were not compared.
        looked_at: share of all borders of fields that this comparison looked at.
        strips: the same on long images, where fields beyond the border are whole.
        gains: the 3DRF-style metric; None where it was not asked for.
    """

    model: str
    analysis: Analysis
    weights: str
    smallest: tuple[Smallest, Smallest] | None
    boxes: tuple[Mapping[str, Box], ...]
    effective: Effective | None = None
    disagreements: tuple[str, ...] | None = None
    looked_at: float | None = None
    strips: tuple[Strip, ...] = ()
    gains: Gains | None = None

    @property
    def layers(self) -> tuple[Layer, ...]:
        """One row per call of a layer, in the order of the graph."""
        return self.analysis.layers

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the rows mean."""
        return findings(self.analysis, self.smallest)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The network by resolution."""
        return stages(self.analysis)

    def rows(self) -> list[dict[str, Any]]:
        """Rows as plain data: the columns of layers.csv; all effective sizes where known; and
        whether fields are "at least" or "at most" these, where that is so of any."""
        found: list[dict[str, Any]] = self.analysis.rows()
        for row, sizes in zip(found, self.effective.sizes if self.effective else (), strict=False):
            for share, (height, width) in (sizes or {}).items():
                row[f"effective_{share * 100:.0f}_h"] = height
                row[f"effective_{share * 100:.0f}_w"] = width
        for row, gain in zip(found, self.gains.rows if self.gains else (), strict=False):
            row |= gain.columns()
        for mark in MARKS:
            if any(getattr(layer, mark) for layer in self.layers):
                for row, layer in zip(found, self.layers, strict=True):
                    row[mark] = getattr(layer, mark)
        return found

    def to_json(self) -> dict[str, Any]:
        """The schema of ``rfsearch analyze --format json``."""
        record: dict[str, Any] = {
            "format": FORMAT,
            "model": self.model,
            "image_size": list(self.analysis.image_size),
            "weights": self.weights,
            "totals": asdict(self.analysis.totals),
            "layers": self.rows(),
            "stages": [asdict(stage) for stage in self.stages],
            "findings": [
                {"name": one.name, "sentence": one.sentence, "layers": list(one.layers)}
                for one in self.findings
            ],
        }
        if self.effective:
            record["effective"] = self.effective.to_json()
        if self.gains:
            record |= self.gains.to_json()
        if self.disagreements is not None:
            record["verify"] = {
                "agree": not self.disagreements,
                "looked_at": self.looked_at,
                "disagreements": list(self.disagreements),
                "strips": [
                    {"image_size": list(strip.image_size), "looked_at": strip.comparison.looked_at}
                    for strip in self.strips
                ],
            }
        return record

    def dumps(self) -> str:
        """`to_json` as text."""
        return json.dumps(self.to_json(), indent=1, allow_nan=False)
