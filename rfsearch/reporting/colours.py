"""The palette of the page: one name per meaning, one value each on light and on dark ground.

Blue, orange and green-blue stay apart for the common kinds of colour blindness; within a family
a larger kernel stands out more. Colour never carries a meaning alone: every cell has its label.
Charts are drawn with the light values and exchanged by value on dark ground, so all light values
must differ (a test holds that).
"""

from __future__ import annotations

LIGHT = {
    "paper": "#fbfaf8",
    "panel": "#ffffff",
    "ink": "#1c1f24",
    "muted": "#5f646d",
    "rule": "#dcd9d2",
    "grid": "#ebe8e2",
    "found": "#8a2b6b",
    "plain": "#6d727b",
    "threshold": "#1d2025",
    "band": "rgba(110, 114, 122, 0.20)",
    "shade": "rgba(120, 110, 80, 0.09)",
    "identity": "#9a9ea6",
    "max-3": "#6fa8dc",
    "max-5": "#2f74b8",
    "max-7": "#123f73",
    "avg-3": "#eaa24a",
    "avg-5": "#c46a12",
    "avg-7": "#7d3c06",
    "ssp": "#1a7d65",
    "other-3": "#b58bd0",
    "other-5": "#8a55b0",
    "other-7": "#5a2c80",
}
DARK = {
    "paper": "#14161a",
    "panel": "#1b1e23",
    "ink": "#e8e6e1",
    "muted": "#a3a7ae",
    "rule": "#363a41",
    "grid": "#2a2d33",
    "found": "#e58cc7",
    "plain": "#a6abb4",
    "threshold": "#e9e7e2",
    "band": "rgba(170, 175, 185, 0.22)",
    "shade": "rgba(235, 220, 170, 0.07)",
    "identity": "#7c818a",
    "max-3": "#3f77ad",
    "max-5": "#6ba6e0",
    "max-7": "#b4d7fb",
    "avg-3": "#a8651c",
    "avg-5": "#e2922f",
    "avg-7": "#fbcd8c",
    "ssp": "#46c2a2",
    "other-3": "#8358a3",
    "other-5": "#b184d4",
    "other-7": "#dcc0f2",
}
OPERATOR_TOKENS = tuple(
    token for token in LIGHT if token.split("-")[0] in ("identity", "max", "avg", "ssp", "other")
)


def style_sheet() -> str:
    """Both palettes as CSS variables: ``--ink``, ``--max-3``, ``--on-max-3`` (text on it), ..."""
    light, dark = _declarations(LIGHT), _declarations(DARK)
    return (
        f":root {{ color-scheme: light; {light} }}\n"
        "@media (prefers-color-scheme: dark) {\n"
        f":root:not([data-theme='light']) {{ color-scheme: dark; {dark} }}\n}}\n"
        f":root[data-theme='dark'] {{ color-scheme: dark; {dark} }}\n"
        + "\n".join(
            f".op-{token} {{ background: var(--{token}); color: var(--on-{token}); }}"
            for token in OPERATOR_TOKENS
        )
    )


def _declarations(palette: dict[str, str]) -> str:
    values = {**palette, **{f"on-{name}": text_on(palette[name]) for name in OPERATOR_TOKENS}}
    return " ".join(f"--{name}: {value};" for name, value in values.items())


def exchange() -> dict[str, str]:
    """Light value to dark value, for charts."""
    return {LIGHT[name]: DARK[name] for name in LIGHT}


def text_on(ground: str) -> str:
    """Black or white, whichever contrasts more (relative luminance of WCAG 2).

    >>> text_on("#123f73"), text_on("#eaa24a")
    ('#ffffff', '#101216')
    """
    light = luminance(ground) + 0.05
    return "#ffffff" if 1.05 / light >= light / (luminance("#101216") + 0.05) else "#101216"


def luminance(colour: str) -> float:
    """Relative luminance of ``#rrggbb``, 0 black to 1 white (WCAG 2)."""
    channels = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours, 1 to 21 (WCAG 2)."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)
