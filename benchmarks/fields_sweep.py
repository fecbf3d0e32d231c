"""The walk against the probe on every network that torchvision has and one of every timm family.

    python benchmarks/fields_sweep.py [--only NAME ...] [--again] [--strips]
                                      [--minutes 30] [--gigabytes 20]

Writes reports/fields/table.csv row by row and goes on where it stopped; --again takes those rows
anew that do not say yes, --strips those without a strip. One process, one thread. A network that
takes longer or more memory than it may is told in its row. When all rows are there, writes
README.md.
"""

from __future__ import annotations

import argparse
import gc
import resource
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn
from torch.export import ExportedProgram
from torchvision import models

import tables
from rfsearch.analysis.capture import capture
from rfsearch.analysis.layers import Analysis, Layer
from rfsearch.analysis.probe import runs
from rfsearch.analysis.verify import compare, strips
from rfsearch.analysis.walk import walk
from rfsearch.errors import UserError

FOLDER = Path(__file__).parents[1] / "reports" / "fields"
TABLE = FOLDER / "table.csv"
MAX_PARAMS = 120_000_000  # for more than the smallest network of a family, in float64 on 24 GB
SIZES = (64, 96, 128)  # pixels; the network's own size where it takes none of these
OWN = {"segmentation": 224, "detection": 320}


@dataclass(frozen=True)
class Row:
    """A line of the table; fields are those of the last map, without gates, in pixels."""

    family: str
    model: str
    image_size: str = ""
    layers: int | str = ""
    field_h: int | str = ""
    field_w: int | str = ""
    walk_seconds: float | str = ""
    export_seconds: float | str = ""
    verify_seconds: float | str = ""
    agrees: str = ""
    looked_at: float | str = ""
    strip: str = ""


@dataclass(frozen=True)
class Network:
    """One to be looked at."""

    family: str
    name: str
    build: Callable[[], nn.Module]
    own_size: int = 224
    capped: bool = True


def networks(known: Mapping[str, str]) -> Iterator[Network]:
    """All of them, timm's families first; of the ``known`` ones the model is not sought again."""
    for module in sorted(timm.list_modules()):
        name = known.get(f"timm {module}") or smallest(module)
        size = timm.get_pretrained_cfg(name).input_size[1]
        yield Network(f"timm {module}", name, partial(timm.create_model, name, pretrained=False),
                      size, capped=False)  # fmt: skip
    for kind in ("segmentation", "detection"):
        for name in models.list_models(module=getattr(models, kind)):
            yield Network(f"torchvision {kind}", name, partial(part_of, kind, name), OWN[kind])
    for name in models.list_models(module=models):
        yield Network("torchvision classification", name, partial(models.get_model, name))


def smallest(module: str) -> str:
    """The model of a timm module with the fewest parameters; its shapes are enough to tell."""

    def num_params(name: str) -> int:
        try:
            with torch.device("meta"):
                net = timm.create_model(name, pretrained=False)
        except (RuntimeError, NotImplementedError):  # builds something from numbers
            net = timm.create_model(name, pretrained=False)
        return sum(parameter.numel() for parameter in net.parameters())

    return min(timm.list_models(module=module), key=num_params)


def part_of(kind: str, name: str) -> nn.Module:
    """A segmentation network, or the backbone of a detection network."""
    net = models.get_model(name, weights=None, weights_backbone=None)
    part: nn.Module = net if kind == "segmentation" else net.backbone
    return part


def look(network: Network) -> Row:
    """Everything about one network."""
    start = Row(network.family, network.name)
    torch.manual_seed(0)
    net = network.build().eval()
    params = sum(parameter.numel() for parameter in net.parameters())
    if network.capped and params > MAX_PARAMS:
        return with_(start, agrees=f"left out: {params / 1e6:.0f} M parameters")
    net = net.double()
    failed = ""
    for size in (*SIZES, network.own_size):
        try:
            began = time.perf_counter()
            program = capture(net, (size, size))
            exported = time.perf_counter()
            if not runs(program):  # insists on single precision somewhere
                program = capture(net.float(), (size, size))
        except UserError as error:
            failed = str(error)
            continue
        return with_(start, **compared(net, size, program, exported - began))
    return with_(start, agrees=f"failed: {failed}")


def strip(net: nn.Module, found: Analysis) -> str:
    """The comparison along the long side of strips, where fields larger than the square are
    whole: sizes and verdicts."""
    told = []
    for one in strips(net, found):
        wrong = one.comparison.disagreements
        verdict = "yes" if not wrong else f"no: {wrong[0]}"
        size = "×".join(map(str, one.image_size))
        told.append(f"{size}: {verdict} ({100 * one.comparison.looked_at:.0f} %)")
    return "; ".join(told) or "none"


def compared(
    net: nn.Module, size: int, program: ExportedProgram, seconds: float
) -> dict[str, Any]:
    """The columns of a network that could be captured."""
    began = time.perf_counter()
    found = walk(net, (size, size), program=program)
    walked = time.perf_counter()
    both = compare(net, (size, size), program=program)
    wrong = both.disagreements
    last = trunk(found)
    return {
        "image_size": f"{size}×{size}", "layers": len(found.layers),
        "field_h": last.field_no_gates_h, "field_w": last.field_no_gates_w,
        "walk_seconds": round(walked - began, 3), "export_seconds": round(seconds, 2),
        "verify_seconds": round(time.perf_counter() - walked, 1),
        "agrees": "yes" if not wrong else f"no, {len(wrong)} tensors: {wrong[0]}",
        "looked_at": round(both.looked_at, 3), "strip": strip(net, found),
    }  # fmt: skip


@contextmanager
def at_most(minutes: int) -> Iterator[None]:
    """Raises a ``TimeoutError`` when they are over."""

    def over(_signal: int, _frame: object) -> None:
        raise TimeoutError(f"more than {minutes} minutes")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(60 * minutes)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def trunk(found: Analysis) -> Layer:
    """The last row that is a map, as far as there is one."""
    maps = [row for row in found.layers if (row.height or 0) > 1]
    return (maps or found.layers)[-1]


def with_(row: Row, **changes: object) -> Row:
    """The row with more filled in."""
    return Row(**{**asdict(row), **changes})


def read() -> dict[tuple[str, str], dict[str, str]]:
    """The table so far, by family and model."""
    return {(row["family"], row["model"]): row for row in tables.read(TABLE)}


def tell(rows: dict[tuple[str, str], dict[str, str]], missing: list[str]) -> None:
    """README.md: how many agree, and everything that does not, was left out or is missing."""
    verdicts = [row["agrees"] for row in rows.values()]
    agree = sum(verdict == "yes" for verdict in verdicts)
    out = [row for row in rows.values() if row["agrees"].startswith("left out")]
    broken = [row for row in rows.values() if row["agrees"].startswith("failed")]
    rest = [row for row in rows.values() if row["agrees"] != "yes" and row not in out + broken]
    families = {row["family"] for row in rows.values() if row["family"].startswith("timm")}
    slow = max(rows.values(), key=lambda row: float(row["export_seconds"] or 0)
               + float(row["walk_seconds"] or 0))  # fmt: skip
    lines = [
        "# Fields: the walk against the probe", "",
        f"`python benchmarks/fields_sweep.py` (torch {torch.__version__}, timm {timm.__version__})"
        f" takes all networks that torchvision has for classification, segmentation and "
        "detection (of the last the backbones) and the smallest of each timm family, with random "
        f"weights: {len(rows)} so far, of {len(families)} timm families.", "",
        f"- **{agree} agree** with the probe wherever it looked; {len(rest)} do not; "
        f"{len(broken)} did not come to an end; {len(out)} were left out.",
        f"- Slowest to export and walk: {slow['model']}, {slow['export_seconds']} s and "
        f"{slow['walk_seconds']} s, while the machine had other work too; "
        "`benchmarks/fields_speed.py --timm` measures the slowest alone.", "",
        "`table.csv` has a row per network: the size of the image, the number of layers, the "
        "field of the last map without gates in pixels (beyond the border), seconds, and whether "
        "all tensors agree. Small networks are compared at every index of every tensor with one "
        "run per row and column, larger ones with 16 runs or more of half-planes along each axis; "
        "`looked_at` is the share of all borders of fields that these look at, and `strip` the "
        "same along the long side of strips, where fields beyond the square are whole: none where "
        "no field is larger, or the network takes one image size alone "
        "(`rfsearch.analysis.compare` and `strips`; rows made before these two columns leave "
        "them empty).", "",
    ]  # fmt: skip
    told = {"Not in agreement": rest, "Without an end": broken, "Left out": out}
    for title, some in told.items():
        if some:
            lines += [f"## {title}", ""]
            lines += [f"- {row['family']}, {row['model']}: {row['agrees']}" for row in some]
            lines += [""]
    if missing:
        lines += ["## Not looked at yet", "", ", ".join(missing), ""]
    (FOLDER / "README.md").write_text("\n".join(lines), encoding="utf-8")


def main() -> None:
    """Goes on where the table ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", help="models or timm modules, by name")
    parser.add_argument("--again", action="store_true", help="rows that do not say yes")
    parser.add_argument("--strips", action="store_true", help="rows that say yes without a strip")
    parser.add_argument("--minutes", type=int, default=30, help="for one network")
    parser.add_argument("--gigabytes", type=int, default=20, help="for this process")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (options.gigabytes << 30, resource.RLIM_INFINITY))
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    FOLDER.mkdir(parents=True, exist_ok=True)
    rows = read()
    missing: list[str] = []
    for network in networks(dict(rows)):
        key = network.family, network.name
        wanted = not options.only or {network.name, network.family.split()[-1]} & {*options.only}
        done = key in rows and (rows[key]["agrees"] == "yes" or not options.again)
        if options.strips and done:
            done = rows[key]["agrees"] != "yes" or bool(rows[key].get("strip"))
        if not wanted or (done and not options.only):
            missing += [] if key in rows else [network.name]
            continue
        try:
            with at_most(options.minutes):
                row = look(network)
        except Exception as error:  # told in the table, and the next one is tried
            row = Row(network.family, network.name, agrees=f"failed: {error!r}"[:500])
        rows[key] = {name: str(value) for name, value in asdict(row).items()}
        print(*rows[key].values(), sep="  ", flush=True)
        tables.write(TABLE, [f.name for f in fields(Row)], rows.values())
        gc.collect()
    tell(rows, missing)


if __name__ == "__main__":
    main()
