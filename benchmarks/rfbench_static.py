"""What is known of RF-Bench's networks before they are trained, and how that ranks them.

    python benchmarks/rfbench_static.py --processes 2   # reports/rfbench/static.csv.gz

Scores are those of `rfsearch analyze --gain` on the networks themselves, at the table's image
size; `rfbench_page.py` compares them with test accuracies. They were written down for other
networks, and nothing was chosen here.
"""

from __future__ import annotations

import argparse
import gzip
from typing import Any

import numpy as np

import rfbench
import tables
from ranks import Numbers, partial, tau
from rfsearch.strategies.tabular import Table, name, of_name

PLACE = rfbench.REPORT / "static.csv.gz"
LAST = "features.head.0"
"""The layer whose field is the network's: behind it there is only the mean over the map."""
COSTS = ("macs", "params", "window_ops")
TOP = 0.25
"""Share of networks among which the best are ranked."""


def scored(network: tuple[int, ...]) -> dict[str, Any]:
    """A row: 3DRF-style sums, rounded so that equal sums in another order are ties, and the
    largest field in pixels, not clipped."""
    import torch

    import rfsearch
    from rfsearch.backbones.realise import realise

    torch.set_num_threads(1)
    module = realise(rfbench.architecture(network)).eval()
    reading = rfsearch.analyze(module, image_size=rfbench.PIXELS, gain=True)
    gains = reading.gains
    assert gains is not None
    score = gains.score
    (field,) = (layer.field_h for layer in reading.layers if layer.name == LAST)
    told = {
        "score": score.total,
        "productive": gains.productive.total,
        "score_with_pooling": score.total + score.free,
        "score_averaging_charged": score.total + score.averaging,
        "heaviest_path": score.path,
        "field": field,
    }
    return {"architecture": name(network), **{key: f"{value:.6f}" for key, value in told.items()}}


def score_all(num_processes: int) -> None:
    """A row for every network, in the order of the space."""
    todo = [(network,) for network in rfbench.networks()]
    rows = sorted(tables.made(scored, todo, num_processes),
                  key=lambda row: of_name(row["architecture"]))  # fmt: skip
    packed = gzip.compress(tables.text(list(rows[0]), rows).encode(), mtime=0)
    PLACE.write_bytes(packed)


def measures(table: Table) -> dict[str, Numbers]:
    """Scores and costs of the networks of the table, in its order."""
    static = {of_name(row.pop("architecture")): row for row in tables.read(PLACE)}
    names = next(iter(static.values()))
    known = {one: np.array([float(static[network][one]) for network in table.rows])
             for one in names}  # fmt: skip
    costs = {one: np.array([getattr(rows[0], one) for rows in table.rows.values()], float)
             for one in COSTS}  # fmt: skip
    return known | costs


def ranks(table: Table) -> list[str]:
    """Kendall's τ-b of each with test accuracy: of all networks, given MACs, of the best."""
    accuracy = np.array([table.accuracy(network) for network in table.rows])
    best = accuracy >= np.quantile(accuracy, 1 - TOP)
    known = measures(table)
    rows = [
        (one.replace("_", " "), signed(tau(values, accuracy)),
         "–" if one == "macs" else signed(partial(values, accuracy, known["macs"])),
         signed(tau(values[best], accuracy[best])))
        for one, values in known.items()
    ]  # fmt: skip
    return tables.markdown(("measure", "τ", "given MACs", "best quarter"), rows)


def signed(value: float) -> str:
    """None of a measure that is the same of all networks."""
    return "–" if np.isnan(value) else f"{value:+.2f}"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=1, help="networks at a time")
    score_all(parser.parse_args().processes)


if __name__ == "__main__":
    main()
