"""What `compare` puts side by side: every combination of the values that flags list, and the points of a sweep."""

from __future__ import annotations

import difflib
import itertools
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hasten.cli.options import values
from hasten.cli.options.deployment import read_settings, setting_names
from hasten.cli.options.policies import DEFAULTS

SIZES = ("tp", "pp", "dp", "ep", "replicas")
POINTS, MOST_POINTS = 5, 100


@dataclass(frozen=True)
class Sweep:
    """A quantity and the values it takes in turn, as text."""

    key: str
    points: tuple[str, ...]


@dataclass(frozen=True)
class Side:
    """One column of a comparison: what replaces the flags of the deployment, and the policies by role."""

    label: str
    deployment: Mapping[str, Any]
    policies: Mapping[str, str]
    settings: Mapping[str, Any] = field(default_factory=dict)


def add_lists(parser: ArgumentParser, *, device: str) -> None:
    """Flags of the deployment that take comma lists here."""
    group = parser.add_argument_group("deployment (comma lists make sides)")
    group.add_argument(
        "--device",
        type=values.items,
        default=[device],
        metavar="NAME,...",
        help=f"devices (default {device})",
    )
    for name in SIZES:
        what = "equal replicas" if name == "replicas" else "parallel sizes"
        group.add_argument(
            f"--{name}", type=values.counts, default=[1], metavar="N,...", help=f"{what} (default 1)"
        )


def sweep(text: str) -> Sweep:
    """`rate=2..20:7` (seven points from 2 to 20; five unless said) or `rate=2,5,10`."""
    key, _, listed = text.partition("=")
    key = key.strip().replace("-", "_")
    if not listed or not key:
        raise ArgumentTypeError(
            f"{text!r} is no sweep: write KEY=LOW..HIGH[:POINTS] or KEY=A,B,C, such as rate=2..20"
        )
    known = ("rate", *SIZES, *setting_names(), *(f"{role}.PARAMETER" for role in DEFAULTS))
    if key not in known and key.partition(".")[0] not in DEFAULTS:
        close = difflib.get_close_matches(key, known, 1)
        hint = f"did you mean {close[0]}?" if close else f"use one of {', '.join(known)}"
        raise ArgumentTypeError(f"{text!r}: {key} can't be swept: {hint}")
    if ".." in listed:
        ends, _, number = listed.partition(":")
        low, _, high = ends.partition("..")
        points = _between(text, low.strip(), high.strip(), number.strip())
    else:
        points = tuple(values.items(listed))
    for point in points:
        if key == "rate" or key in SIZES:
            (values.rate if key == "rate" else values.count)(point)
    return Sweep(key, points)


def _between(text: str, low: str, high: str, number: str) -> tuple[str, ...]:
    """Equally spaced points; whole ends give whole points, except for a rate."""
    try:
        first, last, points = float(low), float(high), int(number or POINTS)
    except ValueError:
        raise ArgumentTypeError(
            f"{text!r} is no sweep: write KEY=LOW..HIGH[:POINTS], such as rate=2..20:7"
        ) from None
    if not (0.0 <= first < last < float("inf")) or not 2 <= points <= MOST_POINTS:
        raise ArgumentTypeError(f"{text!r}: give 0 <= LOW < HIGH and 2 to {MOST_POINTS} points")
    spaced = [first + (last - first) * i / (points - 1) for i in range(points)]
    is_whole = low.isdigit() and high.isdigit() and not text.startswith("rate")
    shown = [str(round(value)) if is_whole else f"{value:.6g}" for value in spaced]
    return tuple(dict.fromkeys(shown))


def sides_of(args: Namespace, roles: Mapping[str, list[str] | None]) -> list[Side]:
    """Every combination of the listed values, labelled by what differs between them."""
    axes: dict[str, list[Any]] = {"device": args.device, "engine": args.engine}
    axes |= {name: getattr(args, name) for name in SIZES}
    axes |= {role: listed for role, listed in roles.items() if listed is not None}
    varying = [name for name, listed in axes.items() if len(listed) > 1]
    sides = []
    for combination in itertools.product(*axes.values()):
        chosen = dict(zip(axes, combination, strict=True))
        words = [f"{name}{chosen[name]}" if name in SIZES else str(chosen[name]) for name in varying]
        sides.append(
            Side(
                " ".join(words) or chosen["schedule"],
                {name: value for name, value in chosen.items() if name not in DEFAULTS},
                {name: value for name, value in chosen.items() if name in DEFAULTS},
            )
        )
    return sides


def at(side: Side, key: str, point: str) -> Side:
    """The side at one point of a sweep of anything but the rate."""
    if key in SIZES:
        return Side(side.label, {**side.deployment, key: values.count(point)}, side.policies)
    role, dot, parameter = key.partition(".")
    if dot:
        spec = side.policies.get(role, "")
        joined = f"{spec}{',' if ':' in spec else ':'}{parameter}={point}"
        return Side(side.label, side.deployment, {**side.policies, role: joined})
    return Side(side.label, side.deployment, side.policies, read_settings([(key, point)]))
