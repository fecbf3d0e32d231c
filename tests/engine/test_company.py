"""Neighbours are at work while the block runs, and gone after it."""

from __future__ import annotations

import multiprocessing

from rfsearch.engine.company import company


def test_neighbours_are_there_while_the_block_runs_and_end_with_it():
    before = set(multiprocessing.active_children())
    with company(1):
        (neighbour,) = set(multiprocessing.active_children()) - before
        assert neighbour.is_alive()
    assert set(multiprocessing.active_children()) == before


def test_no_neighbour_is_no_process():
    with company(0):
        assert not multiprocessing.active_children()
