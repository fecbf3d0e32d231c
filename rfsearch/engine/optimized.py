"""The folder that `rfsearch optimize` leaves, read again: networks and what they take."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from rfsearch.errors import UserError
from rfsearch.optimize.networks import build
from rfsearch.optimize.proposal import Stored, is_proposal, load
from rfsearch.optimize.staged import original
from rfsearch.seeds import stream
from rfsearch.training import checkpoint
from rfsearch.training.randomness import seeded
from rfsearch.trials import RunFolder, read_json


@dataclass(frozen=True)
class OptimizedFolder:
    """Its files; architecture.json is enough."""

    files: RunFolder

    @classmethod
    def at(cls, path: Path | str) -> OptimizedFolder | None:
        """The folder, if that is what stands there."""
        files = RunFolder(Path(path))
        return cls(files) if is_proposal(files.architecture) else None

    @property
    def original_weights(self) -> Path:
        """Of the original, trained alike."""
        return self.files.path / "original.safetensors"

    @property
    def stored(self) -> Stored:
        """The proposed network as data."""
        return load(self.files.architecture)

    @property
    def is_trained(self) -> bool:
        """Whether there are weights.

        Raises:
            UserError: a retraining was begun and is not done.
        """
        if self.files.weights.exists():
            return True
        if self.files.config.exists() and read_json(self.files.config).get("training"):
            raise UserError(
                f"the networks of {self.files.path} are not trained yet; go on with the command "
                "it was begun with and --resume"
            )
        return False

    def proposed(self, seed: int = 0) -> nn.Module:
        """The proposed network in evaluation mode; ``seed`` is of random weights, where it was
        not retrained."""
        with seeded(stream(seed, "optimized", "weights")):
            network = self.stored.module()
        if self.is_trained:
            checkpoint.load_weights(self.files.weights, network)
        return network.eval()

    def original(self, seed: int = 0) -> nn.Module | None:
        """The network it was made from, likewise; None where nothing says which that was."""
        if not self.files.config.exists():
            return None
        net, stored = original(read_json(self.files.config)["model"]), self.stored.net
        with seeded(stream(seed, "optimized", "weights")):
            network = build(replace(net, classes=stored.classes, channels=stored.channels))
        if self.is_trained:
            checkpoint.load_weights(self.original_weights, network)
        return network.eval()
