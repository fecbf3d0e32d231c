"""RF-Bench: rows are packed as they were kept, and what strategies found is told by numbers that
are written out here."""

from __future__ import annotations

import gzip
import itertools

import numpy as np
import pytest
from scipy.stats import kendalltau

import rfbench
import rfbench_again
import rfbench_page
import rfbench_replay
import rfbench_search
import rfbench_shortlist
import rfbench_static
import tables
from rfsearch.strategies.tabular import COLUMNS, Row, Table, read_table
from rfsearch.trials import write_json

NETWORKS = list(itertools.product(range(2), repeat=2))
SPENT = np.array([[4.0, 8.0, 12.0]])
REPLAYS = {"random": (np.array([[9.0, 3.0, 1.0]]), SPENT),
           "tpe": (np.array([[8.0, 4.0, 2.0]]), SPENT)}  # fmt: skip


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Where rows are kept and packed, both empty."""
    monkeypatch.setattr(rfbench, "WORK", tmp_path / "work")
    monkeypatch.setattr(rfbench, "REPORT", tmp_path / "report")
    about = {"slots": ["a", "b"], "operators": ["x", "y"], "seeds": [0], "hash": "this"}
    monkeypatch.setattr(rfbench, "about", lambda: about)
    return tmp_path


def row(network, accuracy):
    told = (rfbench.name(network), 0, f"{accuracy:.6f}", f"{accuracy - 0.1:.6f}", 5, 60, 7,
            "0.001", "2.50")  # fmt: skip
    return dict(zip(COLUMNS, told, strict=True))


def test_rows_are_packed_as_they_were_kept(places):
    for network in NETWORKS[:3]:
        rfbench.keep(row(network, 0.5), [0.3, 0.5])
    rfbench.pack()
    rfbench.keep(row(NETWORKS[3], 0.75), [0.25])  # stopped: its row is lost, its epoch is not
    lines = (places / "work" / "digits.csv").read_text().splitlines()
    (places / "work" / "digits.csv").write_text("\n".join(lines[:-1]) + "\n1-1,0,0.7")
    rfbench.rows()  # as every training begins
    rfbench.keep(row(NETWORKS[3], 0.75), [0.5, 0.75])
    rfbench.pack()
    table = read_table(places / "report")
    assert not table.missing
    assert table.rows[(1, 1)] == (Row(0.75, 0.65, 2.5, 5, 60, 7, 0.001, (0.5, 0.75)),)
    assert table.rows[(0, 1)][0].epochs == (0.3, 0.5)


def test_rows_of_another_benchmark_are_refused(places):
    write_json(places / "report" / "digits.json", {"hash": "another"})
    with pytest.raises(SystemExit, match="of another benchmark; move it away"):
        rfbench.pack()


def made(values):
    rows = {one: (Row(v, v, 4.0, 5, 60, 7, 0.001, ()),) for one, v in values.items()}
    return Table({"slots": ["a", "b"], "operators": ["x", "y"], "seeds": [0]}, rows)


def test_p_ranks_networks_by_the_product_over_slots():
    table = made(dict(zip(NETWORKS, (0.1, 0.3, 0.2, 0.4), strict=True)))
    assert rfbench_page.tau_of_p(table, "0.4 0.6|0.1 0.9") == pytest.approx(1)
    assert rfbench_page.tau_of_p(table, "0.6 0.4|0.9 0.1") == pytest.approx(-1)
    assert rfbench_page.tau_of_p(table, "") is None


def test_equal_cost_counts_trials_that_had_begun():
    regret = np.array([[3.0, 2.0, 1.0], [6.0, 5.0, 4.0]])
    spent = np.array([[4.0, 8.0, 12.0], [4.0, 6.0, 8.0]])
    assert rfbench_replay.at_cost(regret, spent, 8.5) == f"{(2.0 + 4.0) / 2:.2f}"
    assert rfbench_replay.at_cost(regret, spent, 1.0) == f"{(3.0 + 6.0) / 2:.2f}"


def test_worth_of_an_operator_is_against_the_mean():
    table = made(dict(zip(NETWORKS, (0.1, 0.3, 0.2, 0.4), strict=True)))
    lines = rfbench_page.worths(table)
    assert lines[2:] == ["| x | -5.00 | -10.00 |", "| y | +5.00 | +10.00 |"]
    assert rfbench_page.controls(table)[2:] == [
        "| x everywhere | 10.00 | 30.00 |", "| y everywhere | 40.00 | 0.00 |",
        "| drawn at random | 25.00 | 15.00 |", "| best of all | 40.00 | 0.00 |",
    ]  # fmt: skip


def test_sums_over_slots_fit_what_slots_do_alone():
    """Odds of 1 to 4, 1, 1 and 4: each slot's other operator makes them four times as large."""
    alone = made(dict(zip(NETWORKS, (0.2, 0.5, 0.5, 0.8), strict=True)))
    assert list(rfbench_page.smoothed(alone, 1).values()) == pytest.approx([20, 50, 50, 80])
    pair = made(dict(zip(NETWORKS, (0.5, 0.5, 0.5, 0.8), strict=True)))
    odds = [4**share for share in (-0.25, 0.25, 0.25, 0.75)]
    sums = [100 * odd / (1 + odd) for odd in odds]
    assert list(rfbench_page.smoothed(pair, 1).values()) == pytest.approx(sums)
    assert list(rfbench_page.smoothed(pair, 2).values()) == pytest.approx([50, 50, 50, 80])


@pytest.mark.parametrize(("most", "columns"), [(1, 1 + 3 * 2), (2, 7 + 3 * 4), (3, 19 + 8)])
def test_sums_have_a_term_for_all_operators_but_the_first_of_slots_together(most, columns):
    networks = list(itertools.product(range(3), repeat=3))
    told = rfbench_page.design(networks, 3, most)
    assert told.shape == (27, columns)
    assert np.linalg.matrix_rank(told) == columns
    assert told[0].tolist() == [1] + [0] * (columns - 1)


def test_a_network_that_is_left_out_is_told_by_the_others():
    """By fitting again without it, one by one."""
    networks = list(itertools.product(range(2), repeat=3))
    values = np.array([0.2, 0.3, 0.35, 0.5, 0.4, 0.55, 0.7, 0.75])
    odds, columns = np.log(values / (1 - values)), rfbench_page.design(networks, 2, 1)
    off = []
    for out in range(8):
        rest = np.arange(8) != out
        worth = np.linalg.lstsq(columns[rest], odds[rest], rcond=None)[0]
        off.append(100 / (1 + np.exp(-columns[out] @ worth)) - 100 * values[out])
    table = made(dict(zip(networks, values.tolist(), strict=True)))
    assert rfbench_page.left_out(table, 1) == pytest.approx(np.sqrt(np.mean(np.square(off))))


def test_a_supernet_stands_beside_strategies_at_its_cost():
    """Found the best and the third of four, in 8.1 seconds: two trials of random search."""
    table = made(dict(zip(NETWORKS, (0.2, 0.5, 0.6, 0.8), strict=True)))
    rows = [{"architecture": one, "seconds": "8.1", "p": ""} for one in ("1-1", "0-1")]
    pairs = dict(zip(NETWORKS, (20.0, 55.0, 60.0, 75.0), strict=True))
    assert rfbench_page.of_supernet(rows, table, pairs, [40.0], REPLAYS) == [
        2, "8", "65.00 ± 21.21", "15.00 ± 21.21", "-25.0", "10.00 ± 14.14", "2", "", "3.00",
        "4.00",
    ]  # fmt: skip


def test_a_search_that_was_best_is_told_by_other_seeds(tmp_path, monkeypatch):
    """Seeds from 10 on: the default is 0.3 and 0.2 below the best, the other at it and 0.2."""
    table = made(dict(zip(NETWORKS, (0.2, 0.5, 0.6, 0.8), strict=True)))
    arms = {"pmpl": ("1-1", "0-1", "1-0"), "pmpl-all": ("0-0", "1-1", "1-0")}
    place, columns = tmp_path / "searched.csv", rfbench_search.COLUMNS
    for arm, (first, *later) in arms.items():
        for seed, found in ((0, first), *enumerate(later, 10)):
            told = dict(zip(columns, (arm, "a", seed, found, "8.1", ""), strict=True))
            tables.append(place, columns, told)
    monkeypatch.setattr(rfbench_search, "PLACE", place)
    for name in ("CONFIRMED", "SUPERNETS"):
        monkeypatch.setattr(rfbench_search, name, dict.fromkeys(arms, ("a",)))
    assert [len(rows) for rows in rfbench_search.by_arm().values()] == [1, 1]
    found = [row["architecture"] for row in rfbench_search.by_default()]
    assert found == ["1-1", "0-1", "1-0"]
    first, second = rfbench_page.searched_again(table, REPLAYS)[2:]
    assert first == "| pmpl | a | 2 | 8 ± 0 | 25.00 ± 7.07 |  | 3.00 | 4.00 | 16.67 ± 15.28 |"
    assert second.startswith("| pmpl-all | a | 2 | 8 ± 0 | 10.00 ± 14.14 | -15.0 (")
    assert second.endswith(" | 3.00 | 4.00 | 26.67 ± 30.55 |")


def test_the_spread_of_networks_is_told_without_the_noise_of_trainings():
    values = {(0, 0): (0.1, 0.3), (0, 1): (0.5, 0.7), (1, 0): (0.3, 0.5), (1, 1): (0.7, 0.9)}
    rows = {one: tuple(Row(v, v, 4.0, 5, 60, 7, 0.001, ()) for v in both)
            for one, both in values.items()}  # fmt: skip
    about = {"slots": ["a", "b"], "operators": ["x", "y"], "seeds": [0, 1]}
    told = rfbench_page.shares(Table(about, rows))  # means 20, 60, 40, 80; noise 200 each
    assert f"by {(2000 / 3 - 100) ** 0.5:.2f} points" in told
    assert f"of one by {200**0.5:.2f}." in told


def test_what_was_found_is_told_by_other_trainings(monkeypatch):
    """One strategy found the best and the worst; a network of the other was not trained again."""
    table = made(dict(zip(NETWORKS, (0.2, 0.5, 0.6, 0.8), strict=True)))
    again = {(1, 1): [70.0, 80.0], (0, 0): [20.0, 30.0], (0, 1): [50.0]}
    found = {("pmpl", "a"): ("1-1", "0-0"), ("darts", "a"): ("1-1", "1-0")}
    rows = {arm: [{"architecture": one} for one in both] for arm, both in found.items()}
    monkeypatch.setattr(rfbench_again, "read", lambda: again)
    monkeypatch.setattr(rfbench_again, "ARMS", tuple(found))
    monkeypatch.setattr(rfbench_search, "by_arm", lambda: rows)
    monkeypatch.setattr(rfbench_again, "BEST", 2)
    monkeypatch.setattr(rfbench_search, "by_default", lambda: rows["pmpl", "a"])
    monkeypatch.setattr(rfbench_shortlist, "found", lambda _: [(1, 1), (1, 1)])
    assert rfbench_page.trained_again(table)[2:] == [
        "| best of the table |  | 1 | 1 | 2 | 80.00 | 75.00 |",
        "| x everywhere |  | 1 | 1 | 2 | 20.00 | 25.00 |",
        "| pmpl | a | 2 | 2 | 2 | 50.00 ± 42.43 | 50.00 ± 35.36 |",
        "| the default's | 16+8+4 | 2 | 2 | 2 | 50.00 ± 42.43 | 50.00 ± 35.36 |",
        "| the default's, then 20 trials | 16+8+4 | 2 | 1 | 2 | 80.00 ± 0.00 | 75.00 ± 0.00 |",
    ]
    again[1, 0] = [65.0]
    told = "| the 2 best of the table |  | 2 | 2 | 1 | 70.00 ± 14.14 | 70.00 ± 7.07 |"
    assert told in rfbench_page.trained_again(table)


def test_the_networks_found_most_often_are_trained_again_first(monkeypatch):
    table = made(dict(zip(NETWORKS, (0.2, 0.5, 0.6, 0.8), strict=True)))
    rows = {("pmpl", "a"): [{"architecture": one} for one in ("0-1", "1-0", "1-0", "0-0")]}
    monkeypatch.setattr(rfbench_again, "ARMS", tuple(rows))
    monkeypatch.setattr(rfbench_search, "by_arm", lambda: rows)
    monkeypatch.setattr(rfbench_again, "read_table", lambda *_: table)
    monkeypatch.setattr(rfbench_again, "BEST", 2)
    monkeypatch.setattr(rfbench_shortlist, "found", lambda _: [(1, 0)])
    assert rfbench_again.networks() == [(0, 0), (1, 0), (0, 1), (1, 1)]


def test_replays_are_read_as_they_were_packed(places, monkeypatch):
    """With one operator best in both slots, a search that has tried it has no regret left."""
    values = dict(zip(NETWORKS, (0.1, 0.3, 0.2, 0.4), strict=True))
    monkeypatch.setattr(rfbench_replay, "whole", lambda: made(values))
    rows = [row for seed in range(2) for row in rfbench_replay.replayed("random", seed)]
    text = rfbench_replay.tables.text(rfbench_replay.COLUMNS, rows)
    place = places / "replays.csv.gz"
    place.write_bytes(gzip.compress(text.encode()))
    monkeypatch.setattr(rfbench_replay, "PLACE", place)
    regret, spent = rfbench_replay.read()["random"]
    assert regret.shape == spent.shape == (2, rfbench_replay.TRIALS)
    assert regret[:, -1].tolist() == [0, 0]
    assert (np.diff(regret) <= 0).all()
    assert spent[1].tolist() == [4.0 * trial for trial in range(1, rfbench_replay.TRIALS + 1)]


def test_no_replays_are_read_where_there_are_none(places, monkeypatch):
    monkeypatch.setattr(rfbench_replay, "PLACE", places / "none.csv.gz")
    assert rfbench_replay.read() == {}


def test_static_scores_rank_networks(places, monkeypatch):
    """A score in the order of accuracies, one against it, and one that MACs make up."""
    networks = list(itertools.product(range(2), repeat=3))
    table = made({one: (1 + place) / 10 for place, one in enumerate(networks)})
    told = [(2.0 * place, -place, place % 4) for place in range(8)]
    scores = [
        {"architecture": rfbench.name(one), "score": score, "field": field, "macs": macs}
        for one, (score, field, macs) in zip(networks, told, strict=True)
    ]
    place = places / "static.csv.gz"
    text = rfbench_static.tables.text(list(scores[0]), scores)
    place.write_bytes(gzip.compress(text.encode()))
    monkeypatch.setattr(rfbench_static, "PLACE", place)
    assert rfbench_static.measures(table)["window_ops"].tolist() == [7.0] * 8
    monkeypatch.setattr(rfbench_static, "COSTS", ("params",))
    by_macs = kendalltau(np.arange(8) % 4, np.arange(8)).statistic
    assert rfbench_static.ranks(table)[2:] == [
        "| score | +1.00 | +1.00 | +1.00 |", "| field | -1.00 | -1.00 | -1.00 |",
        f"| macs | {by_macs:+.2f} | – | +1.00 |", "| params | – | – | – |",
    ]  # fmt: skip


def test_fields_and_scores_are_of_the_networks_of_the_table():
    """59 pixels with all convolutions; with a maximum of 5 in place of each 3×3, two steps more in
    each slot, of 2, 2, 4, 4, 8 and 8 pixels."""
    plain, largest = (rfbench_static.scored((k,) * 6) for k in (0, 2))
    assert (float(plain["field"]), float(largest["field"])) == (59, 115)
    assert float(plain["score"]) == pytest.approx(49.21345)


def test_trials_behind_a_search_cost_it_and_them_and_go_by_its_order():
    """Two operators and two slots: what was found, one operator everywhere, and then by p."""
    values = dict(zip(NETWORKS, (0.5, 0.2, 0.9, 0.4), strict=True))
    table = Table({"slots": ["a", "b"], "operators": ["depthwise 3", "y"], "seeds": [0]},
                  made(values).rows)  # fmt: skip
    search = {"architecture": "0-1", "seconds": "30.0", "p": "0.4 0.6|0.3 0.7"}
    order = rfbench_shortlist.order(table, search)
    assert [order.ask().indices for _ in range(4)] == [(0, 1), (0, 0), (1, 1), (1, 0)]
    assert rfbench_shortlist.of_one_operator(table) == [(0, 0), (1, 1)]
    regret, spent = rfbench_shortlist.replayed(table, [search])
    assert regret[0, :5] == pytest.approx([70, 40, 40, 0, 0])
    assert spent[0, :3] == pytest.approx([34, 38, 42])
    regret, spent = rfbench_shortlist.controls_first(table)
    assert regret[:, 0] == pytest.approx([40] * 100)
    assert regret[:, 1] == pytest.approx([40] * 100)
    assert len({tuple(line) for line in regret.tolist()}) > 3
    assert spent[0, 1] == 8
