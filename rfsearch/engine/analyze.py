"""`rfsearch analyze`: a network by name, by run folder or as a module, read and told."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rfsearch import backbones, data
from rfsearch.analysis.gain import gains
from rfsearch.analysis.inputs import (
    Sides,
    as_image,
    channels_of,
    num_channels,
    settle,
    taking_images,
)
from rfsearch.analysis.layers import COLUMNS
from rfsearch.analysis.reader import SEES, read, with_effective, with_verdict
from rfsearch.analysis.reading import Reading
from rfsearch.analysis.scores import COLUMNS as GAIN_COLUMNS
from rfsearch.backbones.models import ALIASES, SOURCES, Model, resolve
from rfsearch.engine.optimized import OptimizedFolder
from rfsearch.engine.run import load, load_architecture
from rfsearch.engine.settings import parse
from rfsearch.engine.sizes import parse_sides, parse_size
from rfsearch.errors import UserError, unknown
from rfsearch.reporting.gain_table import render_gains
from rfsearch.reporting.layer_table import render
from rfsearch.seeds import stream
from rfsearch.training import checkpoint
from rfsearch.training.randomness import seeded
from rfsearch.trials import RunFolder, replacing

if TYPE_CHECKING:
    from rfsearch.reporting.field_page import Picture

FORMATS = ("table", "csv", "json", "html")
IMAGE_SIZE = 224
STEM = "backbone.stem"
IMAGES = 16
"""Images behind an effective field."""
LOADED = 256
"""Images to learn from that are loaded, so that there is a selection split to take them from."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of `rfsearch analyze` but for models and output."""

    image_size: str | int | Sides | None = None
    effective: bool = False
    data: str | None = None
    pretrained: bool = False
    seed: int = 0
    verify: bool = False
    ignore_unknown: bool = False
    gain: bool = False
    stages: tuple[str, ...] = ()
    assignments: tuple[str, ...] = ()

    @property
    def stem(self) -> str:
        """The stem of a backbone of ours; published unless told."""
        given = parse(self.assignments)
        if wrong := sorted(set(given) - {STEM}):
            raise UserError(f"analyze takes --set {STEM} alone, not {', '.join(wrong)}")
        stem = str(given.get(STEM, "auto"))
        return "published" if stem == "auto" else stem


@dataclass(frozen=True)
class Subject:
    """A network to be read.

    Attributes:
        sides: of what it takes: (height, width), or of a signal or a volume.
        channels: of the image that this is read as.
        weights: where they came from, in words.
        mean, std: per channel, what the weights expect of pixels 0..1; None where unknown.
    """

    name: str
    module: nn.Module
    sides: Sides
    channels: int
    weights: str
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the image that its input is read as."""
        return as_image(self.sides)


def analyze(
    model: nn.Module | str | Path,
    image_size: str | int | Sides | None = None,
    *,
    effective: bool = False,
    data: str | None = None,
    pretrained: bool = False,
    seed: int = 0,
    verify: bool = False,
    ignore_unknown: bool = False,
    gain: bool = False,
    stages: tuple[str, ...] = (),
) -> Reading:
    """What every layer of a network sees and costs, and what that means.

    Args:
        model: a module that takes a batch of images, or what the command line takes: an alias,
            torchvision:NAME, timm:NAME, package.module:factory, a run folder.
        image_size: pixels a side, (height, width) or "HEIGHTxWIDTH"; by default 224, of a run
            folder its own. For a network of signals (N, C, L) their length: they are read as
            images of height 1. For one of volumes (depth, height, width): fields are told along
            height and width.
        effective: measure the effective field of every layer that reads neighbours or mixes
            channels.
        data: data set whose images it is measured on, as the command line takes it; else noise.
        pretrained: published weights, where they lie on this machine.
        seed: of random weights and of noise.
        verify: compare with the probe, which runs the network once per row and column, or at
            least 32 times if it is large; and on long strips, where fields larger than the image
            are whole.
        ignore_unknown: go on behind operators without a rule; all fields after one are "at least".
        gain: the 3DRF-style metric too (a reconstruction, see ``rfsearch.analysis.gain``).
        stages: layers at which stages begin, for the metric; by default where resolution changes.

    Raises:
        UserError: what cannot be read, and why.
    """
    options = Options(image_size=image_size, effective=effective, data=data,
                      pretrained=pretrained, seed=seed, verify=verify,
                      ignore_unknown=ignore_unknown, gain=gain, stages=stages)  # fmt: skip
    return _read(_subject(model, options), options)


def analyze_and_tell(
    models: Sequence[str],
    options: Options,
    form: str | None = None,
    out: Path | None = None,
    width: int = 100,
    note: Callable[[str], None] = lambda _: None,
) -> tuple[str, bool]:
    """The command: text for the terminal, and whether walk and probe agree where compared.

    ``note`` is told, in a sentence, of what takes time.
    """
    form = _checked_format(form, out)
    if len(models) > 2:
        raise UserError(f"analyze takes one model, or two to compare, not {len(models)}")
    subjects = [_subject(model, options) for model in models]
    if form == "html" and len(models) == 1 and _is_run(models[0]):
        subjects += _beside(Path(models[0]), subjects[0], options)
    readings = [_read(subject, options, note) for subject in subjects]
    agree = not any(reading.disagreements for reading in readings)
    if form == "html":
        from rfsearch.reporting.field_page import write_page  # plotly: half a second, for pages

        path = out or Path(f"fields-{'-'.join(_file_name(model) for model in models)}.html")
        write_page(readings, _pictures(subjects, options), path)
        return str(path), agree
    text = {"table": lambda: _as_table(readings, width), "csv": lambda: as_csv(readings),
            "json": lambda: as_json(readings)}[form]()  # fmt: skip
    if out is None:
        return text.rstrip("\n"), agree
    with replacing(_writable(out)) as partial:
        partial.write_text(text, encoding="utf-8")
    return str(out), agree


def _as_table(readings: Sequence[Reading], width: int) -> str:
    """Layers and findings; then what the metric says, where it was asked for."""
    parts = [render(readings, width)]
    return "\n".join(parts + [render_gains(one, width) for one in readings if one.gains])


def as_csv(readings: Sequence[Reading]) -> str:
    """layers.csv; of two networks with a first column that names them."""
    several = len(readings) > 1
    text = io.StringIO()
    gains = GAIN_COLUMNS if any(reading.gains for reading in readings) else ()
    columns = (["model"] if several else []) + [*COLUMNS, *gains]
    writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for reading in readings:
        writer.writerows({"model": reading.model, **row} for row in reading.rows())
    return text.getvalue()


def as_json(readings: Sequence[Reading]) -> str:
    """The record of one network; of two a record with both."""
    if len(readings) == 1:
        return readings[0].dumps() + "\n"
    both = {"format": 1, "networks": [reading.to_json() for reading in readings]}
    return json.dumps(both, indent=1, allow_nan=False) + "\n"


def _checked_format(form: str | None, out: Path | None) -> str:
    """As asked for, else by the ending of the file to write, else a table."""
    if form is None:
        ending = out.suffix.removeprefix(".") if out else ""
        form = ending if ending in FORMATS else "table"
    if form not in FORMATS:
        raise unknown("format", form, FORMATS)
    return form


def _writable(out: Path) -> Path:
    if out.is_dir():
        raise UserError(f"--out {out} is a folder; name a file in it")
    return out


def _file_name(model: str) -> str:
    return re.sub(r"[^\w.]+", "-", model).strip("-.") or "model"


def _is_run(model: nn.Module | str | Path) -> bool:
    if isinstance(model, nn.Module):
        return False
    named = str(model) in {*backbones.BACKBONES, *ALIASES}
    source = str(model).partition(":")[0]
    return not named and source not in SOURCES and Path(model).is_dir()


def _subject(model: nn.Module | str | Path, options: Options) -> Subject:
    """The network that is meant, with all that reading it needs."""
    if isinstance(model, nn.Module):
        sides = _sides(model, options)
        channels = num_channels(channels_of(model, len(sides)), sides)
        return Subject(type(model).__name__, model, sides, channels, "as given")
    if _is_run(model):
        if optimized := OptimizedFolder.at(str(model)):
            return _proposed(optimized, options)
        return _found(RunFolder.existing(str(model)), options)
    if isinstance(model, Path) or "/" in model:
        raise UserError(f"there is no run folder {model}")
    parse_sides(options.image_size or IMAGE_SIZE)  # a mistake is told before a network is built
    with seeded(stream(options.seed, "analyze", "weights")):
        made = resolve(model, options.pretrained, options.stem)
    sides = _sides(made.module, options)
    channels = made.channels or channels_of(made.module, len(sides))
    return Subject(made.name, made.module.eval(), sides, num_channels(channels, sides),
                   _weights(made, options), made.mean, made.std)  # fmt: skip


def _sides(module: nn.Module, options: Options) -> Sides:
    """Of what the network takes; data sets have images alone."""
    sides = settle(module, parse_sides(options.image_size or IMAGE_SIZE))
    if options.data and len(sides) != 2:
        raise UserError(
            f"{options.data} has images, and {type(module).__name__} takes "
            f"{'signals' if len(sides) == 1 else 'volumes'}; without --data it is given noise"
        )
    return sides


def _weights(made: Model, options: Options) -> str:
    if made.pretrained:
        return "published"
    return "as its factory made them" if made.channels is None else f"random, seed {options.seed}"


def _found(folder: RunFolder, options: Options) -> Subject:
    """The found network of a run, with the weights it was trained to."""
    taken = load_architecture(folder).input
    height, width = taken.image_size
    size = parse_size(options.image_size or (height, width))
    name = f"{folder.path.resolve().name}: found"
    return Subject(name, load(folder.path), size, taken.channels, "trained in the run",
                   tuple(taken.mean), tuple(taken.std))  # fmt: skip


def _proposed(folder: OptimizedFolder, options: Options) -> Subject:
    """The network that `rfsearch optimize` proposed."""
    taken = folder.stored.taken
    size = parse_size(options.image_size or taken.image_size)
    weights = "trained alike" if folder.is_trained else f"random, seed {options.seed}"
    return Subject(f"{folder.files.path.resolve().name}: proposed", folder.proposed(options.seed),
                   size, taken.channels, weights, taken.mean, taken.std)  # fmt: skip


def _beside(path: Path, subject: Subject, options: Options) -> list[Subject]:
    """What a folder's network is compared with: plain, or the original."""
    optimized = OptimizedFolder.at(path)
    if optimized is None:
        return [_plain(RunFolder.existing(path), subject)]
    network = optimized.original(options.seed)
    name = subject.name.removesuffix("proposed") + "original"
    return [] if network is None else [replace(subject, name=name, module=network)]


def _plain(folder: RunFolder, found: Subject) -> Subject:
    """The plain network of the same run."""
    network = backbones.build(load_architecture(folder).backbone)
    checkpoint.load_weights(folder.plain_weights, network)
    name = found.name.removesuffix("found") + "plain"
    return replace(found, name=name, module=network.eval())


def _read(
    subject: Subject, options: Options, note: Callable[[str], None] = lambda _: None
) -> Reading:
    with taking_images(subject.module, subject.sides):
        return _read_image(subject, options, note)


def _read_image(subject: Subject, options: Options, note: Callable[[str], None]) -> Reading:
    size, channels = subject.image_size, subject.channels
    reading, program = read(
        subject.module, size, channels, subject.name, subject.weights, options.ignore_unknown
    )
    if not reading.layers:
        raise UserError(f"{subject.name} does nothing with its image: no operator depends on it")
    if options.gain or options.stages:
        note(f"{subject.name}: channels that reach every layer")
        added = gains(subject.module, program, reading.analysis, channels, options.stages,
                      options.ignore_unknown)  # fmt: skip
        reading = replace(reading, gains=added)
    if options.effective:
        images, source = _images(subject, options)
        layers = sum(row.kind in SEES for row in reading.layers)
        note(f"{subject.name}: effective fields of {layers} layers on {len(images)} images")
        reading = with_effective(reading, program, images, source)
    if options.verify:
        note(f"{subject.name}: comparing with the probe")
        reading = with_verdict(reading, subject.module, channels)
    return reading


def _images(subject: Subject, options: Options) -> tuple[Tensor, str]:
    """Normalised images (N, C, H, W) for effective fields, and what they are."""
    if options.data is None:
        generator = torch.Generator().manual_seed(stream(options.seed, "analyze", "noise"))
        shape = (IMAGES, subject.channels, *subject.image_size)
        return torch.randn(shape, generator=generator), f"noise, seed {options.seed}"
    made = _dataset(subject, options.data)
    pixels = _of_channels(made.search.selection.pixels[:IMAGES], subject.channels, options.data)
    mean, std = subject.mean or made.mean, subject.std or made.std
    own = (
        (mean * subject.channels)[: subject.channels],
        (std * subject.channels)[: subject.channels],
    )
    return data.normalise(pixels, *own), options.data


def _dataset(subject: Subject, spec: str) -> data.Dataset:
    """Little more of a data set than the images wanted; all of it where its classes are many."""
    try:
        return data.load(spec, image_size=subject.image_size, images=LOADED, test_images=1)
    except UserError:
        return data.load(spec, image_size=subject.image_size, test_images=1)


def _of_channels(pixels: Tensor, channels: int, spec: str) -> Tensor:
    """Grey images for a network that takes colours; the other way there is none."""
    if pixels.shape[1] == 1:
        return pixels.expand(-1, channels, -1, -1)
    if pixels.shape[1] != channels:
        raise UserError(
            f"the images of {spec} have {pixels.shape[1]} channels; the network takes {channels}"
        )
    return pixels


def _pictures(subjects: Sequence[Subject], options: Options) -> list[Picture]:
    """Images to draw fields on: the user's, else two photographs; at the first network's size."""
    from rfsearch.reporting.field_page import Picture
    from rfsearch.reporting.photographs import NAMES, photographs

    if options.data is None:
        return list(map(Picture, NAMES, photographs(subjects[0].image_size)))
    pixels = _dataset(subjects[0], options.data).search.selection.pixels[:4]
    return [Picture(f"{options.data}, image {i + 1}", one.permute(1, 2, 0).numpy())
            for i, one in enumerate(pixels)]  # fmt: skip
