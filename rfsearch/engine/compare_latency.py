"""The latency that the table of operators predicts, against whole networks measured by one hand.

Measured after all cells, when this comparison computes nothing else, on the random networks, each
by turns with the plain network: the table may stem from another hour, in which the machine was
slower or faster, and plain then and now tells by how much.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from rfsearch import backbones, spaces
from rfsearch.backbones.realise import realise
from rfsearch.engine.costs import by_turns, latency_table, slot_spots
from rfsearch.engine.run import Run
from rfsearch.spaces import Architecture

NETWORKS = 20
"""Whole networks that are measured, where the comparison has so many random ones."""


def latency_check(run: Run, networks: Sequence[Architecture]) -> dict[str, Any]:
    """The content of latency.json: predicted and measured milliseconds of one image."""
    spots = slot_spots(run, backbones.build(run.backbone))
    base, rows = latency_table(run, spots)
    plain = run.place(backbones.build(run.backbone)).eval()
    labels = spaces.load_space(run.config.space).labels
    pixels = (run.dataset.channels, *run.dataset.image_size)
    found = []
    for network in networks[:NETWORKS]:
        held = [labels.index(label) for label in network.labels.values()]
        predicted = base + sum(row[k] for row, k in zip(rows, held, strict=True))
        whole = run.place(realise(network)).eval()
        taken = by_turns(run, {"plain": plain, "whole": whole}, pixels)
        found.append(
            {
                "choices": list(network.labels.values()),
                "predicted_ms": predicted,
                "measured_ms": taken["whole"],
                "plain_ms": taken["plain"],
            }
        )
    return {
        "format": 1,
        "batch": 1,
        "threads": torch.get_num_threads(),
        "device": str(run.fabric.device),
        "backbone_ms": base,
        "networks": found,
    }
