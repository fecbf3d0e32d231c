"""The palette: complete, exchangeable by value, and readable."""

from __future__ import annotations

import pytest

from rfsearch.reporting.colours import (
    DARK,
    LIGHT,
    OPERATOR_TOKENS,
    contrast,
    exchange,
    style_sheet,
    text_on,
)


def test_charts_can_be_exchanged_by_value():
    assert list(LIGHT) == list(DARK)
    assert len(exchange()) == len(LIGHT)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_text_can_be_read(palette):
    assert contrast(palette["ink"], palette["paper"]) > 12
    assert contrast(palette["muted"], palette["paper"]) > 4.5
    for token in OPERATOR_TOKENS:
        assert contrast(palette[token], text_on(palette[token])) > 4.5, token


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_shades_of_a_family_are_ordered(palette):
    for family in ("max", "avg", "other"):
        shades = [contrast(palette[f"{family}-{size}"], palette["paper"]) for size in (3, 5, 7)]
        assert shades == sorted(shades)
        assert shades[0] > 1.9


def test_both_themes_are_in_the_style_sheet():
    sheet = style_sheet()
    assert sheet.count("--on-max-3:") == 3
    assert "prefers-color-scheme: dark" in sheet
