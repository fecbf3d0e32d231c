"""A trained network as files that work without this package.

To add a format: one function ``(subject, folder) -> (files, agreement)`` that leaves its files
only if their outputs are those of the network, and one line in `FORMATS`.

Wherever it goes, a network takes a normalised float32 batch (N, C, H, W), any N, of the image
size it was trained on, and is told its input size, normalisation and class names: by
``network.json`` (torch), constants (code), an extra file (pt2), metadata (onnx).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rfsearch.errors import UserError, unknown
from rfsearch.exporting import onnx_model, program, source, state
from rfsearch.exporting.agreement import Agreement, Disagreement
from rfsearch.exporting.folding import ExportSettings, folded
from rfsearch.exporting.merging import merged
from rfsearch.exporting.subject import Subject
from rfsearch.exporting.windows import warning

__all__ = ["FORMATS", "Disagreement", "ExportSettings", "Exported", "Subject", "write"]

Write = Callable[[Subject, Path], tuple[tuple[Path, ...], Agreement]]

FORMATS: dict[str, Write] = {
    "torch": state.write,
    "code": source.write,
    "pt2": program.write,
    "onnx": onnx_model.write,
}


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        agreement: how far its outputs are from the network's, on random images.
        warning: of what may be slow where it is run.
    """

    files: tuple[Path, ...]
    agreement: Agreement
    warning: str | None


def check_format(name: str, settings: ExportSettings) -> None:
    """Refuse what cannot be written, before anything is read.

    Raises:
        UserError: an unknown format, libraries that are missing, or folding where none can be.
    """
    if name not in FORMATS:
        raise unknown("format", name, FORMATS)
    if name == "onnx":
        onnx_model.check_libraries()
    if name == "torch" and settings != ExportSettings():
        raise UserError(
            "a state dict with folded norms or merged convolutions fits no network of rfsearch; "
            "use --format code, pt2 or onnx with export.fold_bn=true and export.merge=true"
        )


def write(subject: Subject, name: str, folder: Path, settings: ExportSettings) -> Exported:
    """Write the network in one format into a folder.

    Raises:
        UserError: what cannot be written, and why.
        Disagreement: the outputs would differ by more than rounding.
    """
    check_format(name, settings)
    wanted = merged(subject) if settings.merge else subject
    wanted = folded(wanted) if settings.fold_bn else wanted
    files, agreement = FORMATS[name](wanted, folder)
    return Exported(files, agreement, None if name == "torch" else warning(wanted))
