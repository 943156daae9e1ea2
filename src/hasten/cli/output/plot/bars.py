"""Stacked bars by percentile: what usual and slow requests spend their time on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hasten.cli.output.plot.frame import wrapped
from hasten.cli.output.plot.look import Look
from hasten.cli.output.plot.words import duration

FILLS: Mapping[str, tuple[str, str, str]] = {
    "wait": ("█", "#", "red"),
    "moving": ("▚", "~", "magenta"),
    "again": ("▞", "%", "magenta"),
    "others": ("▓", "*", "yellow"),
    "prefill": ("▒", "=", "blue"),
    "weights": ("░", "-", "cyan"),
    "kv": ("≡", "/", "green"),
    "rest": ("·", ".", "white"),
    "away": ("▁", "_", "dim"),
}
"""Family of labels -> its character, the same in ASCII, its colour. The darker, the less it is own work."""


def composition(
    bands: Sequence[Mapping[str, Any]],
    families: Sequence[Mapping[str, str]],
    family_of: Mapping[str, str],
    look: Look,
    *,
    title: str,
) -> list[str]:
    """One bar per band of percentiles, as `hasten.page.causes.composition` gives them: shares of the band's mean."""
    order = [each["family"] for each in families]
    heads = [
        (f"p{band['from_percentile']:g} to p{band['to_percentile']:g}", duration(band["mean_ms"]))
        for band in bands
    ]
    name, mean = (max((len(head[at]) for head in heads), default=0) for at in (0, 1))
    room = look.width - name - mean - 4
    lines = [look.paint(title, "strong")]
    for (words, took), band in zip(heads, bands, strict=True):
        totals = dict.fromkeys(order, 0.0)
        for label, ms in band["labels_ms"].items():
            totals[family_of[label]] += ms
        lines.append(f"{words:>{name}}  {took:>{mean}}  {_bar(totals, room, look)}")
    return lines


def legend(used: Sequence[Mapping[str, str]], look: Look) -> list[str]:
    """What the characters mean, in lines no wider than the terminal."""
    entries = [
        f"{look.paint(_fill(each['family'], look) * 2, FILLS[each['family']][2])} {each['text']}"
        for each in used
    ]
    return wrapped(entries, look.width)


def _bar(totals: Mapping[str, float], room: int, look: Look) -> str:
    """Parts of a bar of `room` columns, each rounded so that they end where they should."""
    whole = sum(totals.values()) or 1.0
    text, done, so_far = "", 0, 0.0
    for family, part in totals.items():
        so_far += part
        until = round(so_far / whole * room)
        text += look.paint(_fill(family, look) * (until - done), FILLS[family][2])
        done = until
    return text


def _fill(family: str, look: Look) -> str:
    unicode, plain, _ = FILLS[family]
    return unicode if look.is_unicode else plain
