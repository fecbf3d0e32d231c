"""``code``: a network as one readable file that needs torch alone, and its weights.

Requirements and choice. Any network, whoever wrote it, must come out as code that a person can
read, change and train further. So it is not one template per backbone: the exported graph is cut
along the calls of modules (`scopes`), modules of torch.nn are written as such, others as classes
with the names, the order and the calls that they had (`classes`, `statements`), and alike modules
share a class. The state dict keeps its names, so the file of weights is that of the network.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor

from rfsearch.errors import UserError
from rfsearch.exporting.agreement import Agreement, checked
from rfsearch.exporting.classes import Modules, classes
from rfsearch.exporting.expressions import literal
from rfsearch.exporting.scopes import cut
from rfsearch.exporting.subject import Subject
from rfsearch.trials import replacing

HEAD = '''"""{title}

    network = load("network.pt")  # on the CPU, in evaluation mode
    logits = network(normalise(images))

Images are (N, {channels}, {height}, {width}), float32 from 0 to 1; logits are
(N, {num_classes}), in the order of CLASSES. Written by rfsearch {version}; it needs torch alone.
"""

{imports}

IMAGE_SIZE = {image_size}  # height, width
CHANNELS = {channels}
# Per channel, of pixels from 0 to 1.
MEAN = {mean}
STD = {std}
CLASSES = {classes}


def normalise(images):
    """Images (N, C, H, W) from 0 to 1 as the network takes them."""
    mean, std = (torch.tensor(one, device=images.device).view(-1, 1, 1) for one in (MEAN, STD))
    return (images - mean) / std
'''
LOAD = '''
def load(path="network.pt"):
    """The network with the weights in ``path``, in evaluation mode."""
    network = {name}()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network.eval()
'''
LINE = 88


def write(subject: Subject, folder: Path) -> tuple[tuple[Path, ...], Agreement]:
    """network.py and network.pt, both or neither.

    Raises:
        UserError: a network that cannot be written so.
        Disagreement: it would give other outputs.
    """
    from rfsearch.exporting.state import serialised, state_of

    code, kept = source(subject)
    with replacing(folder / "network.py") as file, replacing(folder / "network.pt") as weights:
        file.write_text(code, encoding="utf-8")
        weights.write_bytes(serialised({**state_of(subject.network), **kept}))
        agreement = checked(subject, "network.py", _loaded(file, weights))
    return (folder / "network.py", folder / "network.pt"), agreement


def source(subject: Subject) -> tuple[str, dict[str, Tensor]]:
    """The file's text, and constants that the file of weights needs beside the state dict."""
    program = subject.program
    signature = program.graph_signature
    loose = [*signature.inputs_to_lifted_tensor_constants.values(),
             *signature.non_persistent_buffers]  # fmt: skip
    constants = {name: program.constants[name] for name in loose}
    found = cut(program)
    if len(found.root.outputs) != 1 or len(found.root.inputs) != 1:
        raise UserError(
            f"{subject.name} gives {len(found.root.outputs)} results, not logits alone"
        )
    modules = Modules(subject.network, found, constants=constants)
    written = classes(modules)
    name = written[-1].split("(")[0].removeprefix("class ")
    body = "\n\n\n".join(written)
    head = _head(subject, name, body)
    return f"{head}\n\n{body}\n\n{LOAD.format(name=name)}", modules.kept


def _head(subject: Subject, name: str, body: str) -> str:
    import rfsearch

    taken = subject.taken
    height, width = taken.image_size
    imports = ["import torch", "from torch import nn"]
    if "F." in body:
        imports.insert(1, "import torch.nn.functional as F")
    if "OrderedDict(" in body:
        imports = ["from collections import OrderedDict", "", *imports]
    return HEAD.format(
        title=f"{name}, found in {subject.name}.",
        version=rfsearch.__version__,
        imports="\n".join(imports),
        channels=taken.channels,
        height=height,
        width=width,
        num_classes=len(subject.classes),
        image_size=literal(taken.image_size),
        mean=literal(tuple(taken.mean)),
        std=literal(tuple(taken.std)),
        classes=_several(subject.classes),
    )


def _several(classes: tuple[str, ...]) -> str:
    """Names as a tuple, on as many lines as they take."""
    flat = literal(tuple(classes))
    if len(f"CLASSES = {flat}") <= LINE:
        return flat
    lines = [""]
    for name in classes:
        word = f"{literal(name)},"
        if len(lines[-1]) + len(word) > LINE - 6 and lines[-1]:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return "(\n" + "".join(f"    {line}\n" for line in lines) + ")"


def _loaded(file: Path, weights: Path) -> Callable[[Tensor], Tensor]:
    """The network as a stranger to this package has it."""
    found: Any = _module(file)
    network: Callable[[Tensor], Tensor] = found.load(weights)
    return network


def _module(file: Path) -> ModuleType:
    module = ModuleType("network")
    exec(compile(file.read_text(encoding="utf-8"), str(file), "exec"), module.__dict__)
    return module
