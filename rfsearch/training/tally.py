"""What an epoch has come to: sums over its steps, from which it can be gone on with in the middle.

An epoch's order and augmentation are drawn at its start from its own stream. So to go on, the
batches that are done are passed over, and torch's other random numbers (dropout) put back.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

STATE = ("step", "left_out", "alpha", "seconds", "loss", "right", "numbers")
"""What a stopped epoch needs."""


class Tally:
    """Sums over the steps of an epoch.

    Attributes:
        step: steps that are done.
        left_out: of them, those whose loss was no number.
        alpha: steps on α that are done.
        seconds: that went by before the epoch was stopped.
    """

    def __init__(self) -> None:
        self.step = 0
        self.left_out = 0
        self.alpha = 0
        self.seconds = 0.0
        self.began = time.perf_counter()
        self.loss, self.right = torch.zeros(()), torch.zeros(())
        self.numbers: list[Tensor] = []

    def resumed(self, batches: Iterable[Any]) -> Iterator[Any]:
        """The batches that are left; before the first, random numbers are as they were."""
        done = self.step
        for number, batch in enumerate(batches):
            if number >= done:
                self.restore()
                yield batch

    def begin(self) -> None:
        """The clock goes on."""
        self.began = time.perf_counter() - self.seconds

    def restore(self) -> None:
        """Put torch's random numbers back, once."""
        if self.numbers:
            _set_numbers(self.numbers)
            self.numbers = []

    def add(self, loss: Tensor, right: Tensor) -> None:
        """A step; a loss that is no number is one that was left out."""
        self.step += 1
        loss = loss.cpu()
        if not torch.isfinite(loss):
            self.left_out += 1
            return
        self.loss += loss
        self.right += right.cpu()

    def told(self, size: int) -> dict[str, Any]:
        """Means over the steps that count, of batches of ``size``; None of no step."""
        counted = self.step - self.left_out
        return {
            "loss": float(self.loss) / counted if counted else None,
            "accuracy": float(self.right) / (counted * size) if counted else None,
            **({"left_out": self.left_out} if self.left_out else {}),
        }

    def state_dict(self) -> dict[str, Any] | None:
        """What a stopped epoch needs; None between epochs."""
        if not self.step:
            return None
        return {
            "step": self.step,
            "left_out": self.left_out,
            "alpha": self.alpha,
            "seconds": time.perf_counter() - self.began,
            "loss": self.loss.clone(),
            "right": self.right.clone(),
            "numbers": _numbers(),
        }

    @classmethod
    def of(cls, state: dict[str, Any] | None) -> Tally:
        """The tally of a state, or an empty one."""
        tally = cls()
        if state is not None:
            for name in STATE:
                setattr(tally, name, state[name])
        return tally


def _numbers() -> list[Tensor]:
    """The state of torch's global generators, the CPU's first; of several GPUs that of the one
    this process is on, so that another number of them can go on."""
    devices = [torch.cuda.get_rng_state()] if torch.cuda.is_initialized() else []
    return [torch.get_rng_state(), *devices]


def _set_numbers(states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    if states[1:]:
        torch.cuda.set_rng_state(states[1])
