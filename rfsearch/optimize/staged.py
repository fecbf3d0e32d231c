"""A network of stages as frozen data, and what it comes to in closed form.

The families are residual (basic and bottleneck blocks), inverted residual and plain (VGG). All
numbers are those of the network that `rfsearch.optimize.networks` builds, which tests hold them
to; scores are `rfsearch.analysis.gain`'s along the heaviest path, in which projections earn
nothing and pooling counts for what it adds to the field.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from math import log
from typing import Any

from rfsearch.errors import UserError, unknown

FAMILIES = ("basic", "bottleneck", "inverted", "plain")
BOTTLENECK = 4


@dataclass(frozen=True)
class Stem:
    """The first convolution; without filters there is none."""

    width: int
    kernel: int = 7
    stride: int = 2
    pool: bool = True


@dataclass(frozen=True)
class Stage:
    """Blocks of one width; ``stride`` is that of the first block, of VGG its pooling's."""

    width: int
    blocks: int
    stride: int
    expansion: int = 1


@dataclass(frozen=True)
class Staged:
    """A network.

    Attributes:
        last: filters of a 1×1 convolution behind the stages; 0: none.
        hidden: hidden units of the classifier's layers.
        grid: pixels a side that the classifier reads.
        bias: whether convolutions have one, and no norm.
    """

    family: str
    stem: Stem
    stages: tuple[Stage, ...]
    last: int = 0
    hidden: tuple[int, ...] = ()
    grid: int = 1
    bias: bool = False
    channels: int = 3
    classes: int = 1000

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise unknown("family", self.family, FAMILIES)
        if not self.stages or any(min(s.width, s.blocks, s.stride) < 1 for s in self.stages):
            raise UserError("every stage has a width, blocks and a stride from 1 on")

    @property
    def label(self) -> str:
        """Such as ``stem 7/2 pool, 2-2-2-2, strides 1-2-2-2``."""
        stem = ""
        if self.stem.width:
            pool = " pool" if self.stem.pool else ""
            stem = f"stem {self.stem.kernel}/{self.stem.stride}{pool}, "
        blocks, strides = (
            "-".join(str(getattr(s, name)) for s in self.stages) for name in ("blocks", "stride")
        )
        return f"{stem}blocks {blocks}, strides {strides}"

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Staged:
        """The inverse of `to_json`."""
        try:
            stages = tuple(Stage(**stage) for stage in record["stages"])
            rest = {**record, "stem": Stem(**record["stem"]), "stages": stages,
                    "hidden": tuple(record["hidden"])}  # fmt: skip
            return cls(**rest)
        except (KeyError, TypeError) as error:
            raise UserError(f"no network of stages: {error}") from error


@dataclass(frozen=True)
class Layer:
    """A convolution, or pooling where it has no filters.

    Attributes:
        name: full module name.
        stage: number of its stage from 1 on; 0 the stem.
        inside: channels it reads; filters: that it makes.
        side: beside the main path, as a projection.
    """

    name: str
    stage: int
    kernel: int
    stride: int
    inside: int
    filters: int
    groups: int = 1
    side: bool = False


def layers(net: Staged) -> Iterator[Layer]:
    """All of them in the order of the network, the classifier left out."""
    inside = net.channels
    if net.stem.width:
        yield Layer("stem.0", 0, net.stem.kernel, net.stem.stride, inside, net.stem.width)
        inside = net.stem.width
        if net.stem.pool:
            yield Layer("stem.3", 0, 3, 2, inside, 0)
    for number, stage in enumerate(net.stages, 1):
        for block in range(stage.blocks):
            stride = stage.stride if block == 0 and net.family != "plain" else 1
            name = f"stages.{number - 1}.{block}"
            yield from _BLOCKS[net.family](name, number, stage, inside, stride)
            inside = stage.width * (BOTTLENECK if net.family == "bottleneck" else 1)
        if net.family == "plain" and stage.stride > 1:
            yield Layer(f"stages.{number - 1}.{stage.blocks}", number, 2, stage.stride, inside, 0)
    if net.last:
        yield Layer("last.0", len(net.stages), 1, 1, inside, net.last)


def _basic(name: str, number: int, stage: Stage, inside: int, stride: int) -> Iterator[Layer]:
    yield Layer(f"{name}.conv1", number, 3, stride, inside, stage.width)
    yield Layer(f"{name}.conv2", number, 3, 1, stage.width, stage.width)
    if stride > 1 or inside != stage.width:
        yield Layer(f"{name}.downsample.0", number, 1, stride, inside, stage.width, side=True)


def _bottleneck(name: str, number: int, stage: Stage, inside: int, stride: int) -> Iterator[Layer]:
    outside = stage.width * BOTTLENECK
    yield Layer(f"{name}.conv1", number, 1, 1, inside, stage.width)
    yield Layer(f"{name}.conv2", number, 3, stride, stage.width, stage.width)
    yield Layer(f"{name}.conv3", number, 1, 1, stage.width, outside)
    if stride > 1 or inside != outside:
        yield Layer(f"{name}.downsample.0", number, 1, stride, inside, outside, side=True)


def _inverted(name: str, number: int, stage: Stage, inside: int, stride: int) -> Iterator[Layer]:
    wide, first = inside * stage.expansion, 0
    if stage.expansion > 1:
        yield Layer(f"{name}.conv.0.0", number, 1, 1, inside, wide)
        first = 1
    yield Layer(f"{name}.conv.{first}.0", number, 3, stride, wide, wide, wide)
    yield Layer(f"{name}.conv.{first + 1}", number, 1, 1, wide, stage.width)


def _plain(name: str, number: int, stage: Stage, inside: int, stride: int) -> Iterator[Layer]:
    yield Layer(f"{name}.0", number, 3, stride, inside, stage.width)


_BLOCKS = {"basic": _basic, "bottleneck": _bottleneck, "inverted": _inverted, "plain": _plain}


@dataclass(frozen=True)
class Seen:
    """A layer at an image size.

    Attributes:
        before, after: unclipped field of its input and output, pixels.
        size: of its output, (height, width).
        spatial, mixed: Δ log of the clipped field, and log(C_in/g) where it has weights.
        productive: whether its input does not see the whole image yet.
    """

    layer: Layer
    before: int
    after: int
    size: tuple[int, int]
    spatial: float
    mixed: float
    productive: bool

    @property
    def params(self) -> int:
        """Weights, without norm and bias."""
        one = self.layer
        return one.kernel**2 * (one.inside // one.groups) * one.filters

    @property
    def macs(self) -> int:
        """Multiply-adds."""
        return self.params * self.size[0] * self.size[1]

    @property
    def earned(self) -> float:
        """What it adds to the productive score."""
        return self.spatial + self.mixed if self.productive and not self.layer.side else 0.0


@dataclass(frozen=True)
class Figures:
    """What a network comes to at an image size; scores along the heaviest path."""

    params: int
    macs: int
    score: float
    productive: float
    fits: bool


def seen(net: Staged, image_size: tuple[int, int]) -> list[Seen]:
    """Every layer with what it sees; projections see what the block's input sees."""
    found, field, jump, size = [], 1, 1, image_size
    start = (field, jump, size)
    for layer in layers(net):
        opens = layer.name.endswith((".conv1", ".conv.0.0"))
        if opens:
            start = (field, jump, size)
        before, step, extent = start if layer.side else (field, jump, size)
        after = before + (layer.kernel - 1) * step
        pool_even = layer.kernel == 2
        out = tuple(n // layer.stride if pool_even else -(-n // layer.stride) for n in extent)
        height, width = image_size
        logs = [log(min(f, height)) + log(min(f, width)) for f in (before, after)]
        mixed = log(layer.inside // layer.groups) if layer.filters else 0.0
        productive = before < height or before < width
        found.append(Seen(layer, before, after, (out[0], out[1]), logs[1] - logs[0], mixed,
                          productive))  # fmt: skip
        if not layer.side:
            field, jump, size = after, step * layer.stride, (out[0], out[1])
    return found


def figures(net: Staged, image_size: tuple[int, int]) -> Figures:
    """Parameters and multiply-adds of the whole network, classifier included, and the scores."""
    rows = seen(net, image_size)
    convs = [row for row in rows if row.layer.filters]
    main = [row for row in rows if not row.layer.side]
    per_filter = 1 if net.bias else 2
    units = [convs[-1].layer.filters if not convs[-1].layer.side else convs[-2].layer.filters]
    units = [units[0] * net.grid**2, *net.hidden, net.classes]
    linear = [a * b for a, b in pairwise(units)]
    params = sum(row.params + per_filter * row.layer.filters for row in convs)
    return Figures(
        params + sum(linear) + sum(units[1:]), sum(row.macs for row in convs) + sum(linear),
        sum(row.spatial + row.mixed for row in main), sum(row.earned for row in main),
        all(min(row.size) >= 1 for row in rows),
    )  # fmt: skip


ORIGINALS: dict[str, Staged] = {
    "resnet18": Staged("basic", Stem(64), tuple(
        Stage(w, 2, s) for w, s in ((64, 1), (128, 2), (256, 2), (512, 2)))),
    "resnet34": Staged("basic", Stem(64), tuple(
        Stage(w, b, s) for w, b, s in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)))),
    "resnet50": Staged("bottleneck", Stem(64), tuple(
        Stage(w, b, s) for w, b, s in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)))),
    **{f"resnet{depth}": Staged("bottleneck", Stem(64), tuple(
        Stage(w, b, s) for w, b, s in zip((64, 128, 256, 512), blocks, (1, 2, 2, 2), strict=True)))
       for depth, blocks in ((101, (3, 4, 23, 3)), (152, (3, 8, 36, 3)))},
    "mobilenetv2": Staged("inverted", Stem(32, 3, 2, False), tuple(
        Stage(w, b, s, t) for t, w, b, s in (
            (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
            (6, 160, 3, 2), (6, 320, 1, 1))), last=1280),
    **{f"vgg{depth}": Staged("plain", Stem(0, 3, 1, False), tuple(
        Stage(w, b, 2) for w, b in zip((64, 128, 256, 512, 512), blocks, strict=True)),
        hidden=(4096, 4096), grid=7, bias=True)
       for depth, blocks in ((11, (1, 1, 2, 2, 2)), (13, (2, 2, 2, 2, 2)),
                             (16, (2, 2, 3, 3, 3)), (19, (2, 2, 4, 4, 4)))},
}  # fmt: skip
"""Networks whose stages can be moved."""


def original(name: str) -> Staged:
    """The published network, or why its stages cannot be moved."""
    bare = name.removeprefix("torchvision:").replace("mobilenet_v2", "mobilenetv2")
    if bare not in ORIGINALS:
        raise UserError(
            f"the stages of {name} cannot be moved: they are known of {', '.join(ORIGINALS)} "
            f"alone. `rfsearch analyze {name} --gain` tells what its layers earn"
        )
    return ORIGINALS[bare]
