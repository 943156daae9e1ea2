"""Re-run the claims of papers: their figure beside ours, what would refute them, and a verdict by rule.

Seeds are fixed: a claim gives the same figures every time. With --out every finished claim is written at once, so
that an interrupted run keeps them. Exit status 1: a falsifier is violated, so that the figures can't be trusted.
"""

from __future__ import annotations

import contextlib
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hasten.cli.options import values
from hasten.cli.output import table, text
from hasten.cli.output.progress import Bar
from hasten.errors import InputError

HELP = "re-run published claims: the paper's figure, ours, falsifiers, verdict"
EXAMPLE = "hasten reproduce token_limit"
FAR = 1.5
"""Ours over the paper's figure from which on the setting here is taken to be much kinder than the paper's."""


def configure(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="claims, by the method's name")
    parser.add_argument("--all", action="store_true", help="every claim")
    parser.add_argument(
        "--jobs", type=values.jobs, default=1, metavar="N", help="claims measured at once (default 1)"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write results (JSON), a table and plots (SVG) to DIR"
    )
    parser.add_argument(
        "--record",
        action="store_true",
        help="keep the results as those that `hasten methods` shows (in the package's own folder)",
    )


def run(args: Namespace) -> int:
    """Measure the claims and print what was found."""
    from hasten.claims.harness import record
    from hasten.report.files import write_text

    names = _names(args)
    if args.out is not None and args.out.exists() and not args.out.is_dir():
        raise InputError(f"--out {args.out}: is a file: give a folder")
    found: dict[str, dict[str, Any]] = {}
    is_stopped = False
    try:
        for result in _results(names, args.jobs):
            found[result["claim"]] = result
            if args.record:
                record.save(result, record.RESULTS)
            if args.out is not None:
                _write(result, args.out)
    except KeyboardInterrupt:
        is_stopped = True
    results = [found[name] for name in names if name in found]
    if args.out is not None and results:
        write_text(args.out / "claims.md", markdown(results))
    if args.json:
        text.show_json(results)
    elif results:
        text.show(render(results))
    if is_stopped:
        raise KeyboardInterrupt
    return int(any(not each["holds"] for result in results for each in result["falsifiers"]))


def _names(args: Namespace) -> list[str]:
    from hasten.claims.harness.catalogue import claim_names, load_claim

    if args.all and args.names:
        raise InputError("--all and names exclude each other: drop one")
    if not args.all and not args.names:
        raise InputError(f"name a claim or give --all: {', '.join(claim_names())}")
    names = claim_names() if args.all else list(dict.fromkeys(args.names))
    for name in names:
        load_claim(name)  # a wrong name shows before the first run, not after it
    return names


def _results(names: list[str], jobs: int) -> Iterator[dict[str, Any]]:
    from hasten.claims.harness.run import measure, measure_all

    if jobs > 1 and len(names) > 1:
        with Bar("claims") as bar, contextlib.closing(measure_all(names, jobs)) as results:
            for number, result in enumerate(results, 1):
                bar(number, len(names))
                yield result
        return
    for number, name in enumerate(names, 1):
        with Bar(f"{name} ({number} of {len(names)})") as bar:
            result = measure(name, bar)
        yield result


def _write(result: dict[str, Any], folder: Path) -> None:
    from hasten.claims.harness import record, svg
    from hasten.report.files import write_text

    record.save(result, folder)
    for number, curve in enumerate(record.curves_of(result), 1):
        write_text(folder / f"{result['claim']}-{number}.svg", svg.plot(curve))


# ---- text -----------------------------------------------------------------------------------------------------


def render(results: list[dict[str, Any]]) -> str:
    """One block per claim, then the verdicts in a table where there are several."""
    parts = [_block(result) for result in results]
    if len(results) > 1:
        rows = [(result["claim"], str(result["year"]), result["verdict"]) for result in results]
        parts.append(table.table(("claim", "year", "verdict"), rows))
    return "\n\n".join(parts)


def _block(result: dict[str, Any]) -> str:
    from hasten.claims.harness.claim import EVIDENCE

    facts = table.facts(
        [
            ("claim", f"{result['claim']}: {result['verdict']}"),
            ("paper", f"{result['paper']} ({EVIDENCE[result['evidence']]})"),
            ("says", result["headline"]),
            ("setting", result["setting"]),
            ("baseline", result["baseline"]),
        ]
    )
    figures = table.table(
        ("figure", "unit", "paper", "ours", "verdict"),
        [
            (each["name"], each["unit"], value(each["paper"]), interval(each), judged(each))
            for each in result["figures"]
        ],
    )
    falsifiers = table.table(
        ("must vanish or hold", "unit", "bounds", "ours", ""),
        [
            (
                each["setting"],
                each["unit"],
                bounds(each),
                interval(each),
                "ok" if each["holds"] else "VIOLATED",
            )
            for each in result["falsifiers"]
        ],
    )
    regions = table.table(
        ("looked at for a loss", "ours, x", ""),
        [
            (each["where"], interval(each), "loses" if each["is_loss"] else "no clear loss")
            for each in result["regions"]
        ],
    )
    last = [f"Origin: {result['origin']}", *(f"Note: {note}" for note in result["notes"])]
    return "\n".join([facts, "", figures, "", falsifiers, "", regions, *last])


def value(number: float | None) -> str:
    """A figure to three or four digits; a dash where there is none."""
    if number is not None and 0 < abs(number) < 1e-5:
        return f"{number:.0e}"
    return table.significant(number, 4 if number is not None and abs(number) >= 1000 else 3)


def interval(figure: dict[str, Any]) -> str:
    """Our value, and its interval where it has a width."""
    low, high = figure["ours_low"], figure["ours_high"]
    if low is None or low == high:
        return value(figure["ours"])
    return f"{value(figure['ours'])} [{value(low)}, {value(high)}]"


def judged(figure: dict[str, Any]) -> str:
    """The verdict on a figure, and whether ours is far beyond the paper's: then it says which way, not how far."""
    from hasten.claims.harness.verdict import HOLDS

    paper, neutral = figure["paper"], figure["neutral"]
    if figure["verdict"] != HOLDS or not paper or not figure["ours"] or neutral is None:
        return str(figure["verdict"])
    excess = figure["ours"] / paper if paper >= neutral else paper / figure["ours"]
    return f"{HOLDS}, far beyond" if excess > FAR else HOLDS


def bounds(falsifier: dict[str, Any]) -> str:
    """What a falsifier demands."""
    low, high = falsifier["at_least"], falsifier["at_most"]
    if low is None:
        return f"at most {value(high)}"
    return f"at least {value(low)}" if high is None else f"{value(low)} to {value(high)}"


# ---- Markdown -------------------------------------------------------------------------------------------------


def markdown(results: list[dict[str, Any]], *, link: str = "") -> str:
    """The table of all claims: their figures beside ours, verdicts, and where they lose. `link` leads to pages."""
    header = ("claim", "verdict", "figure", "published", "ours (95 % interval)", "this figure", "loses")
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    for result in results:
        name = f"[{result['claim']}]({link}{result['claim']})" if link else result["claim"]
        losses = "; ".join(
            f"{each['where']}: {interval(each)} x" for each in result["regions"] if each["is_loss"]
        )
        leading, last = (name, f"**{result['verdict']}**"), losses or "no clear loss"
        for each in result["figures"]:
            figure = (
                f"{each['name']}, {each['unit']}",
                value(each["paper"]),
                interval(each),
                judged(each),
            )
            cells = (*leading, *figure, last)
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
            leading, last = ("", ""), ""
    return "\n".join(lines) + "\n"
