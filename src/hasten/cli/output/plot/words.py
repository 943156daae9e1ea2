"""Numbers as short as a chart has room for."""

from __future__ import annotations

import math


def duration(ms: float) -> str:
    """Milliseconds in the unit that keeps them short: 0.8 ms, 45 ms, 1.2 s, 3.5 min."""
    if math.isnan(ms):
        return "-"
    if math.isinf(ms):
        return "no end"
    for size, unit in ((6e4, "min"), (1e3, "s")):
        if ms >= size * 0.9995:
            return f"{short(ms / size)} {unit}"
    return f"{short(ms)} ms"


def short(value: float) -> str:
    """At most three significant digits, no zeros after the point, thousands separated."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = max(0, 2 - math.floor(math.log10(abs(value)) + 1e-12))
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def percent(share: float, digits: int = 1) -> str:
    """A share in percent: 99.2 %, and 100 % for all of it only."""
    if math.isnan(share):
        return "-"
    text = f"{100 * share:.{digits}f}"
    if text == f"{100:.{digits}f}":
        return "100 %" if share >= 1.0 else f"{100 - 10.0**-digits:.{digits}f} %"
    return f"{text} %"
