"""Numbers in words for people: points, counts, seconds, bytes; nothing is rounded elsewhere."""

from __future__ import annotations

import math

WORDS = (
    "no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve",
)  # fmt: skip
MISSING = "–"
MINUS = "\N{MINUS SIGN}"


def percent(share: float | None, digits: int = 1) -> str:
    """A share as per cent.

    >>> percent(0.9034)
    '90.3 %'
    """
    return MISSING if share is None else f"{100 * share:.{digits}f} %"


def points(share: float, digits: int = 1) -> str:
    """A signed difference of shares in percentage points.

    >>> points(0.0291), points(-0.012), points(0.0)
    ('+2.9', '−1.2', '0.0')
    """
    text = f"{abs(100 * share):.{digits}f}"
    if float(text) == 0:
        return text
    return f"{'+' if share > 0 else MINUS}{text}"


def count(number: float | None) -> str:
    """A count with a unit prefix, three significant digits from ten thousand on.

    >>> count(812), count(9999), count(3504872), count(93_000_000)
    ('812', '9,999', '3.50 M', '93.0 M')
    """
    if number is None or (isinstance(number, float) and math.isnan(number)):
        return MISSING
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= max(limit, 1e4):
            return f"{_three_digits(number / limit)} {unit}"
    return f"{number:,.0f}"


def _three_digits(value: float) -> str:
    digits = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:.{digits}f}"


def exact(number: float | None) -> str:
    """A count with all its digits, grouped by thousands."""
    return MISSING if number is None else f"{number:,.0f}"


def seconds(value: float | None) -> str:
    """A duration, from microseconds to hours.

    >>> seconds(0.0123), seconds(3.21), seconds(83), seconds(4020)
    ('12.3 ms', '3.2 s', '1 min 23 s', '1 h 7 min')
    """
    if value is None:
        return MISSING
    if value < 1e-3:
        return f"{value * 1e6:.0f} µs"
    if value < 1:
        return f"{value * 1e3:.1f} ms"
    if value < 59.95:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def clock(value: float) -> str:
    """A duration in whole seconds, for what is still going on.

    >>> clock(53.2), clock(83), clock(0)
    ('53 s', '1 min 23 s', '0 s')
    """
    return f"{value:.0f} s" if value < 59.5 else seconds(value)


def size(height: float | None, width: float | None) -> str:
    """(height, width) as text; ``all`` where an extent has no end, one number where both agree.

    >>> size(15, 15), size(3, 63), size(float("inf"), 7), size(None, None)
    ('15', '3 × 63', 'all × 7', '–')
    """
    parts = [_extent(value) for value in (height, width)]
    return parts[0] if parts[0] == parts[1] else " × ".join(parts)


def _extent(value: float | None) -> str:
    if value is None or math.isnan(value):
        return MISSING
    return "all" if math.isinf(value) else f"{value:.0f}"


def bytes_(number: float | None) -> str:
    """Memory in binary units.

    >>> bytes_(1_572_864)
    '1.50 MiB'
    """
    if number is None:
        return MISSING
    for limit, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if number >= limit:
            return f"{_three_digits(number / limit)} {unit}"
    return f"{number:.0f} bytes"


def signed(number: float, digits: int = 2) -> str:
    """A plain number with a true minus.

    >>> signed(-0.125), signed(0.5)
    ('−0.12', '0.50')
    """
    return f"{number:.{digits}f}".replace("-", "−")


def plural(number: int, noun: str, nouns: str | None = None) -> str:
    """A number and its noun: one, two to twelve in words.

    >>> plural(1, "seed"), plural(3, "seed"), plural(20, "search", "searches")
    ('one seed', 'three seeds', '20 searches')
    """
    return f"{spelled(number)} {noun if number == 1 else nouns or noun + 's'}"


def spelled(number: int) -> str:
    """Zero to twelve as words, larger numbers as digits."""
    return WORDS[number] if 0 <= number < len(WORDS) else f"{number:,}"
