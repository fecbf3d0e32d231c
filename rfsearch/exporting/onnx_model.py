"""``onnx``: an ONNX model with any N, its record in the model's metadata."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rfsearch.analysis.capture import silence
from rfsearch.errors import UserError
from rfsearch.exporting.agreement import Agreement, checked
from rfsearch.exporting.subject import Subject
from rfsearch.trials import replacing

OPSET = 18
"""Of the operators of ONNX; the one that torch writes without converting."""
NEEDED = ("onnx", "onnxscript", "onnxruntime")
INPUT, OUTPUT = "images", "logits"


def write(subject: Subject, folder: Path) -> tuple[tuple[Path, ...], Agreement]:
    """network.onnx, run by onnxruntime before it is left there.

    Raises:
        UserError: a library is missing, or an operator has no form in ONNX.
    """
    check_libraries()
    path = folder / "network.onnx"
    made = _converted(subject)
    made.model.metadata_props.update(_metadata(subject))
    with replacing(path) as partial:
        with silence():
            made.save(str(partial), external_data=False)
        agreement = checked(subject, path.name, _session(partial))
    return (path,), agreement


def check_libraries() -> None:
    """Refuse what cannot be written and checked here."""
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise UserError(f"--format onnx needs {', '.join(missing)}: pip install 'rfsearch[onnx]'")


def _converted(subject: Subject) -> Any:
    program = subject.program
    try:
        with silence():
            return torch.onnx.export(
                program,
                dynamo=True,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=[OUTPUT],
            )
    except Exception as error:  # whatever the converter does
        raise UserError(_told(error)) from error


def _told(error: Exception) -> str:
    """Which operator stands in the way, where that is known."""
    texts = [str(one) for one in _causes(error)]
    for told in texts:
        if found := re.search(r"No ONNX function found for <OpOverload\(op='([\w.:]+)'", told):
            return (
                f"ONNX (opset {OPSET}) has no form of {found[1]}, which this network needs; "
                "use --format pt2 or code"
            )
    first = next(filter(str.strip, texts[-1].splitlines()), type(error).__name__)
    return f"this network cannot be written as ONNX: {first.strip()[:200]}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _metadata(subject: Subject) -> dict[str, str]:
    """Texts by name: of what is no text, JSON."""
    taken: dict[str, object] = dict(subject.taken.to_json())
    taken |= {"classes": list(subject.classes), "network": subject.name}
    return {key: one if isinstance(one, str) else json.dumps(one) for key, one in taken.items()}


def _session(path: Path) -> Callable[[Tensor], Tensor]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(
        path.read_bytes(), options, providers=["CPUExecutionProvider"]
    )

    def run(images: Tensor) -> Tensor:
        (logits,) = session.run([OUTPUT], {INPUT: images.numpy()})
        return torch.from_numpy(np.asarray(logits))

    return run
