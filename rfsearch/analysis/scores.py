"""The 3DRF-style metric of a network as data; `analysis.gain` has its formulas, all of them a
reconstruction (ours)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rfsearch.analysis.parts import Part

COLUMNS = ("local_field", "cumulative_field", "gain", "gain_per_mac", "gain_per_param",
           "trainable", "live")  # fmt: skip
RULE = ("3DRF-style (ours): each live, trainable layer counts once, against its own input; "
        "along the heaviest path, of layers side by side one")  # fmt: skip


@dataclass(frozen=True)
class Gain:
    """One row: a call of a layer.

    Attributes:
        local_field: V; None for kinds that read single numbers or choose by content.
        cumulative_field: R_h · R_w · C_r against the stage's input; None where it sees none of it
            or the channels cannot be followed.
        gain: natural logarithm; None where either side is not known.
        gain_per_mac, gain_per_param: gain over multiply-adds and parameters; None where there are
            none.
        trainable: has parameters.
        live: on a path from the image to the output.
        stage: number of its stage.
        spatial, channels: the two parts it adds to the score.
        productive: whether its input does not see the whole image yet.
        averaging: −log k² of an average over k² inputs, else 0.
        is_map: its output runs over the image; others count for no score.
    """

    local_field: int | None
    cumulative_field: int | None
    gain: float | None
    gain_per_mac: float | None
    gain_per_param: float | None
    trainable: bool
    live: bool
    stage: int
    spatial: float
    channels: float
    productive: bool
    averaging: float
    is_map: bool

    @property
    def counts(self) -> bool:
        """Whether it earns a score."""
        return self.live and self.trainable and self.is_map

    def columns(self) -> dict[str, object]:
        """The columns of layers.csv."""
        return {name: getattr(self, name) for name in COLUMNS}


@dataclass(frozen=True)
class Score:
    """A network's sum, and its parts.

    Attributes:
        spatial, channels: of live trainable layers, each against its own input.
        free: Δ log field of live layers without parameters.
        averaging: what live averages cost.
        path: the heaviest path, with what free layers on it add.
    """

    spatial: float
    channels: float
    free: float
    averaging: float
    path: float

    @property
    def total(self) -> float:
        """The score."""
        return self.spatial + self.channels

    def to_json(self) -> dict[str, float]:
        """Parts and their sum."""
        return {"total": self.total, **asdict(self)}


@dataclass(frozen=True)
class Gains:
    """The metric of a network.

    Attributes:
        rows: one per layer of the analysis.
        parts: the stages.
        score, productive: see the head of `analysis.gain`.
    """

    rows: tuple[Gain, ...]
    parts: tuple[Part, ...]
    score: Score
    productive: Score

    def to_json(self) -> dict[str, Any]:
        """What stands beside the rows."""
        return {
            "score": self.score.total,
            "productive_score": self.productive.total,
            "gain": {
                "rule": RULE,
                "score": self.score.to_json(),
                "productive_score": self.productive.to_json(),
                "stages": [
                    {"begins": part.name, "reads": [part.reference.channels,
                                                    *part.reference.extent],
                     "layers": len(part.rows)} for part in self.parts
                ],
            },
        }  # fmt: skip
