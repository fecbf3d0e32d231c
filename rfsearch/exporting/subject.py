"""What is exported: a network and all that must travel with it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property

from torch import nn
from torch.export import ExportedProgram

from rfsearch.analysis.capture import exported
from rfsearch.spaces import Input

FORMAT = 1


@dataclass(frozen=True)
class Subject:
    """A network and what belongs to it, in evaluation mode on the CPU.

    Attributes:
        name: of the run it stems from.
        trained: what was trained, whose outputs every file must give.
        network: what is written: that, or the same with folded norms.
        taken: the images it takes: size, channels, normalisation.
        classes: names, in the order of its logits.
    """

    name: str
    trained: nn.Module
    network: nn.Module
    taken: Input
    classes: tuple[str, ...]

    @cached_property
    def program(self) -> ExportedProgram:
        """The network as tensor operators, from images (N, C, H, W) to logits, any N."""
        size, channels = self.taken.image_size, self.taken.channels
        return exported(self.network, size, channels, batch=2, any_batch=True, as_function=False)

    def record(self) -> dict[str, object]:
        """Input size, normalisation and class names as plain data."""
        return {
            "format": FORMAT,
            "network": self.name,
            "input": self.taken.to_json(),
            "classes": list(self.classes),
        }

    def record_text(self) -> str:
        """The same as JSON."""
        return json.dumps(self.record(), indent=2, allow_nan=False) + "\n"
