"""From figures to a verdict, by rule."""

from __future__ import annotations

from typing import Final

from hasten.claims.harness.claim import Figure, Findings

HOLDS: Final = "holds"
IN_PART: Final = "holds in part"
FAILS: Final = "does not hold"
VERDICTS: Final = (HOLDS, IN_PART, FAILS)


def judge(findings: Findings) -> str:
    """The verdict on a claim.

    It does not hold when a falsifier is violated or no figure shows what the paper says; it holds when every figure
    does; everything between holds in part.
    """
    if not all(each.holds for each in findings.falsifiers):
        return FAILS
    found = {judge_figure(each) for each in findings.figures}
    return found.pop() if len(found) == 1 else IN_PART


def judge_figure(figure: Figure) -> str:
    """The verdict on one figure.

    With a neutral value: in part when the whole interval is better than neutral; it holds when the value moreover
    reaches the paper's figure (short of `tolerance`), where the paper gives one. A wide interval helps nobody.
    Without a neutral value: it holds when ours is within `tolerance` of the paper's.
    """
    ours, paper = figure.ours, figure.paper
    if figure.neutral is None:
        # Figure makes sure that there is one of both.
        reach = figure.tolerance * abs(paper or 0.0)
        return HOLDS if abs(ours.value - (paper or 0.0)) <= reach else FAILS
    is_gain = ours.is_above(figure.neutral) if figure.is_higher_better else ours.is_below(figure.neutral)
    if not is_gain:
        return FAILS
    if paper is None:
        return HOLDS
    if figure.is_higher_better:
        return HOLDS if ours.value >= paper * (1 - figure.tolerance) else IN_PART
    return HOLDS if ours.value <= paper * (1 + figure.tolerance) else IN_PART
