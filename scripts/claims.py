"""Write docs/claims.md and its plots from the recorded results of `hasten reproduce --all --record`.

scripts/claims.py            write
scripts/claims.py --check    exit 1 when a page is stale, or a claim says something else than its recorded result
scripts/claims.py --again [NAME ...]    measure claims again; exit 1 when a figure differs from its recorded interval

The check measures nothing: it compares what claims say about themselves.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from hasten.claims.harness.catalogue import claim_names, load_claim
from hasten.claims.harness.claim import EVIDENCE
from hasten.claims.harness.record import RESULTS, curves_of, recorded, static_part
from hasten.claims.harness.run import measure
from hasten.claims.harness.svg import plot
from hasten.claims.harness.verdict import VERDICTS
from hasten.cli.reproduce import bounds, interval, markdown

DOCS = Path(__file__).resolve().parent.parent / "docs"
NOTICE = "<!-- written by scripts/claims.py: record a claim (hasten reproduce NAME --record), then run it again -->"
INTRODUCTION = """# Claims of papers, re-run

Every published method here comes with its headline as a function that anyone can run: `hasten reproduce NAME`, or all
of them with `hasten reproduce --all`. Baselines are given chunked prefill, prefix caching and equal kernels, so that a
factor is what the method itself brings; many published factors shrink then. Seeds are fixed and intervals are 95 %
over them.

Verdicts follow a rule. A figure **holds** when our interval leaves out "no gain" and our value reaches the published
one, short of the tolerance; it **holds in part** when the method is clearly better than its baseline but by less than
published; else it **does not hold**. A claim holds when all its figures do, and does not hold when none does or when a
falsifier (a setting where the gain must vanish) is violated. Nothing was tuned to reach a published figure. Where
ours is **far beyond** the published one (more than 1.5 times as good), our setting is much kinder to the method than
the paper's: such a figure confirms the direction, not the size.
[How to add a claim](how-to/add-a-claim.md)."""


def results() -> list[dict[str, Any]]:
    """The recorded results of all claims that have one."""
    return [result for name in claim_names() if (result := recorded(name)) is not None]


def disagreements() -> list[str]:
    """One line per claim that isn't recorded, or says something else than its record; and per record without claim."""
    found = []
    for name in claim_names():
        result, said = recorded(name), static_part(name, load_claim(name))
        if result is None:
            found.append(f"{name} is not recorded: run `hasten reproduce {name} --record`")
            continue
        changed = [key for key in said if result.get(key) != said[key]]
        if changed:
            found.append(f"{name}: {', '.join(changed)} changed since it was recorded: record it again")
    stray = sorted(path.stem for path in RESULTS.glob("*.json") if path.stem not in claim_names())
    return [*found, *(f"{name}: a result without a claim: delete {RESULTS / name}.json" for name in stray)]


def page(found: list[dict[str, Any]]) -> str:
    """The table of all claims, then each with its falsifiers, regions and plots."""
    counts = ", ".join(
        f"{sum(each['verdict'] == verdict for each in found)} {verdict}" for verdict in VERDICTS
    )
    parts = [NOTICE, INTRODUCTION, f"Claims: {len(found)} ({counts}).", markdown(found, link="#")]
    return "\n\n".join([*parts, *(section(each) for each in found)]) + "\n"


def section(result: dict[str, Any]) -> str:
    """One claim in full."""
    name = result["claim"]
    facts = [
        f"{result['paper']} (evidence: {EVIDENCE[result['evidence']]}).",
        f"- Says: {result['headline']}.",
        f"- Setting: {result['setting']}.",
        f"- Baseline: {result['baseline']}.",
        *(
            f"- {'Holds' if each['holds'] else '**Violated**'}: {each['setting']}: {interval(each)} {each['unit']} "
            f"(must be {bounds(each)})."
            for each in result["falsifiers"]
        ),
        *(
            f"- {'Loses' if each['is_loss'] else 'No clear loss'}: {each['where']}: {interval(each)} x."
            for each in result["regions"]
        ),
        f"- Origin: {result['origin']}.",
        *(f"- Note: {note}." for note in result["notes"]),
    ]
    facts[0] += "\n"
    plots = [
        f"![{curve.title}](claims/{name}-{number}.svg)" for number, curve in enumerate(curves_of(result), 1)
    ]
    return "\n\n".join([f"## {name}", "\n".join(facts), *plots])


def pages() -> dict[Path, str]:
    """Every file that this script writes."""
    found = results()
    made = {DOCS / "claims.md": page(found)}
    for result in found:
        for number, curve in enumerate(curves_of(result), 1):
            made[DOCS / "claims" / f"{result['claim']}-{number}.svg"] = plot(curve)
    return made


def changes(name: str) -> list[str]:
    """Measure a claim again: one line per figure that lies outside its recorded interval (or 1 % of its value)."""
    old, new = recorded(name), measure(name)
    if old is None:
        return [f"{name} is not recorded"]
    found = [f"{name}: {old['verdict']} became {new['verdict']}"] if old["verdict"] != new["verdict"] else []
    for kind, key in (("figures", "name"), ("falsifiers", "setting"), ("regions", "where")):
        for was, now in zip(old[kind], new[kind], strict=True):
            reach = max(0.01 * abs(was["ours"]), ((was["ours_high"] or 0) - (was["ours_low"] or 0)) / 2)
            if abs(now["ours"] - was["ours"]) > reach:
                found.append(f"{name}: {was[key]}: {was['ours']} became {now['ours']}")
    return found


def main(arguments: list[str] | None = None) -> int:
    """Write the pages, or with --check compare them; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail when something is stale")
    parser.add_argument("--again", nargs="*", metavar="NAME", help="measure claims again (none named: all)")
    args = parser.parse_args(arguments)
    is_check = args.check
    if args.again is not None:
        lines = [line for name in args.again or claim_names() for line in changes(name)]
        print("\n".join(lines) or "every figure came out again")
        return int(bool(lines))
    problems = disagreements()
    made = pages()
    for path, text in made.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            if is_check:
                problems.append(f"{path.relative_to(DOCS.parent)} is stale: run scripts/claims.py")
            else:
                path.parent.mkdir(exist_ok=True)
                path.write_text(text, encoding="utf-8")
    for path in sorted((DOCS / "claims").glob("*.svg")):
        if path not in made:
            if is_check:
                problems.append(f"{path.relative_to(DOCS.parent)} belongs to no claim: run scripts/claims.py")
            else:
                path.unlink()
    print("\n".join(problems) if problems else "the claims say what was recorded")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
