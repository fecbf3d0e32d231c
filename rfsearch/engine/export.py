"""`rfsearch export`: the network of a finished folder as files that work without this package."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from torch import nn

from rfsearch.engine.optimized import OptimizedFolder
from rfsearch.engine.run import final_weights, load, load_architecture
from rfsearch.engine.settings import OF_EXPORT, Scalar, keys_of, parse
from rfsearch.engine.start import KINDS, check_place
from rfsearch.errors import UserError
from rfsearch.exporting import Exported, ExportSettings, Subject, check_format, write
from rfsearch.spaces import Input
from rfsearch.trials import RunFolder, read_json


def export(
    run: Path | str,
    format: str = "code",
    out: Path | str | None = None,
    *,
    fold_bn: bool = False,
    merge: bool = False,
) -> Exported:
    """`rfsearch export` as a function.

    Args:
        run: the folder of a finished run, of a cell of a comparison, or of `rfsearch optimize`.
        format: torch, code, pt2 or onnx.
        out: folder to write into; by default RUN/export.
        fold_bn: fold BatchNorm into the convolution before it.
        merge: one convolution with a larger kernel where a slot adds two.

    Raises:
        UserError: a folder, a format or a network that cannot be exported, and why.
    """
    settings = ExportSettings(fold_bn=fold_bn, merge=merge)
    check_format(format, settings)
    subject = subject_of(Path(run))
    folder = Path(out) if out is not None else RunFolder(Path(run)).export
    check_place(RunFolder(folder))
    return write(subject, format, folder, settings)


def export_and_tell(
    run: Path, form: str, out: Path | None = None, assignments: Iterable[str] = ()
) -> str:
    """The command: files, how far their outputs are from the network's, and what to know."""
    wanted = {key.partition(".")[2]: bool(one) for key, one in _settings(assignments).items()}
    made = export(run, form, out, **wanted)
    agreement = made.agreement
    lines = [
        *map(str, made.files),
        f"Same outputs as the network on {agreement.images} random images: they differ by "
        f"{agreement.difference:.2g} at most, where the largest is {agreement.largest:.3g}.",
    ]
    optimized = OptimizedFolder.at(run)
    if optimized is not None and not optimized.is_trained:
        lines.append("Its weights are random: the proposal was not retrained (--retrain).")
    return "\n".join([*lines, *([f"Note: {made.warning}."] if made.warning else [])])


def _settings(assignments: Iterable[str]) -> dict[str, Scalar]:
    """Defaults and what ``--set`` changes."""
    keys = list(keys_of(OF_EXPORT))
    known = {key.name: key.default for key in keys}
    given = list(assignments)
    wrong = [one for one in given if one.partition("=")[0] not in known]
    if wrong:
        raise UserError(f"export takes --set {', '.join(known)} alone, not {', '.join(wrong)}")
    return known | parse(given, keys)


def subject_of(path: Path) -> Subject:
    """What a folder holds, with the weights it was trained to.

    Raises:
        UserError: there is none, or it is not finished.
    """
    if optimized := OptimizedFolder.at(path):
        stored = optimized.stored
        names = tuple(map(str, read_json(optimized.files.architecture)["classes"]))
        return _subject(path, optimized.proposed(), stored.taken, names)
    files = RunFolder.existing(path)
    record = read_json(files.config)
    kind = KINDS.get(str(record.get("kind") or record.get("verb")), "run")
    if kind == "comparison":
        raise UserError(f"{path} holds a comparison; name one of its runs, in {path / 'cells'}")
    if not final_weights(files).exists():
        raise UserError(
            f"{path} holds a {kind} that is not finished: there is no {files.weights.name}; "
            "go on with the command it was begun with and --resume"
        )
    architecture = load_architecture(files)
    return _subject(path, load(path), architecture.input, architecture.classes)


def _subject(path: Path, network: nn.Module, taken: Input, classes: tuple[str, ...]) -> Subject:
    return Subject(path.resolve().name, network, network, taken, classes)
