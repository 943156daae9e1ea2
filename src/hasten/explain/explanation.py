"""Why a run is as slow as it is: the tail's composition, the bottleneck, what one change buys, and which resource."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hasten.explain import changes, pool_changes
from hasten.explain.attribution import Attribution, Labelled
from hasten.explain.changes import CAUSE, CLIENTS, LONG_PROMPTS, TOOLS, Change
from hasten.explain.composition import Composition, compose
from hasten.explain.fresh import DRAWS, FreshTraffic
from hasten.explain.labels import LABELS, ORDER
from hasten.explain.objective import Objective
from hasten.explain.programs import PROGRAM, programs_of
from hasten.explain.setup import PooledSetup, Setup
from hasten.explain.whatif import SPEED_UPS, Effect, Profile, effects, profiles
from hasten.report.report import Report

SMALL = 0.02
"""Relative effects up to this are not called a bottleneck."""

BEST, WORST = 11, 3
"""Changes that are shown first, and get an interval: the most helpful and the most harmful."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Explanation:
    """One run explained. Seconds inside, milliseconds in `to_dict`; `print` shows the essence."""

    report: Report
    attribution: Attribution
    labelled: Labelled  # the same, or that of programs: what the objective is about
    objective: Objective
    composition: Composition
    programs: Composition | None = None  # where programs go, if there are such
    effects: tuple[Effect, ...] = ()  # the most helpful first
    profiles: tuple[Profile, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def value(self) -> float:
        """The objective of the run, in its unit."""
        return self.objective.value(self.objective.column(self.report.records))

    @property
    def causes(self) -> tuple[Effect, ...]:
        """Effects of taking one cause away, the largest first."""
        return tuple(each for each in self.effects if each.change.kind == CAUSE)

    @property
    def cause(self) -> Effect | None:
        """The cause whose removal helps most; None when none helps by more than 2 %.

        Twice as much of a resource always helps: where the interval of the best one reaches down to a condition that
        need not be there, the condition is to blame.
        """
        return cause_of(self.causes)

    @property
    def leading(self) -> tuple[Effect, ...]:
        """The most helpful and the most harmful changes."""
        return leading(self.effects)

    @property
    def sentence(self) -> str:
        """The bottleneck in one sentence."""
        excess = next(iter(self.composition.excess.items()), ("", 0.0))
        rise = self.composition.rise
        where = f"{LABELS[excess[0]]} makes up {excess[1] / rise:.0%} of it" if excess[1] > 0 < rise else ""
        cause = self.cause
        if cause is None:
            first = f"nothing that was tried lowers {self.objective.text} by more than {SMALL:.0%}"
            return f"{first}; of what sets its tail apart, {where}" if where else first
        gain = f"{cause.change.text}, {self.objective.text} would be {-cause.relative:.0%} lower"
        if cause.has_interval:
            ends = (f"{-end:.0%}" for end in (cause.interval.high, cause.interval.low))
            gain += f" ({' to '.join(ends)} on {cause.interval.confidence:.0%} of new traffic)"
        first = f"{cause.change.cause}: with {gain}"
        return f"{first}; of what sets its tail apart, {where}" if where else first

    def __repr__(self) -> str:
        return f"<Explanation of {self.objective.text}: {self.sentence}>"

    def __str__(self) -> str:
        scale, unit = (1e3, " ms") if self.objective.unit == "s" else (1e2, " %")
        lines = [f"{self.objective.text} {self.value * scale:.4g}{unit}", f"Bottleneck: {self.sentence}."]
        composition = self.composition
        lines += [
            "",
            f"{'where ' + composition.metric.upper() + ' goes, ms':<60}{'usual':>10}{'slowest':>10}",
        ]
        for name in composition.excess:
            usual, tail = (each.labels.get(name, 0.0) * 1e3 for each in (composition.usual, composition.tail))
            if max(usual, tail) >= 0.005:
                lines.append(f"{LABELS[name]:<60}{usual:>10.2f}{tail:>10.2f}")
        lines += ["", f"{'what if':<60}{'effect':>10}"]
        lines += [
            f"{each.change.text:<60}{each.relative:>+10.0%}"
            for each in self.leading
            if not math.isnan(each.relative) and each.makes_a_difference
        ]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Every figure under a key with its unit."""
        scale, unit = (1e3, "ms") if self.objective.unit == "s" else (1.0, "share")
        return {
            "objective": self.objective.text,
            "metric": self.objective.metric,
            "origin": self.report.origin,
            "error": self.report.error,
            f"value_{unit}": self.value * scale,
            f"limit_{unit}": None if self.objective.limit is None else self.objective.limit * scale,
            "bottleneck": self.cause.change.name if self.cause else None,
            "sentence": self.sentence,
            "composition": _composed(self.composition),
            "programs": None if self.programs is None else _composed(self.programs),
            "what_ifs": [
                {
                    "name": each.change.name,
                    "text": each.change.text,
                    "kind": each.change.kind,
                    f"baseline_{unit}": each.baseline * scale,
                    f"value_{unit}": each.value * scale,
                    "relative": each.relative,
                    "interval_confidence": each.interval.confidence,
                    "relative_low": each.interval.low,
                    "relative_high": each.interval.high,
                    "clear": each.is_clear,
                }
                for each in self.effects
            ],
            "causal_profile": [
                {
                    "resource": each.resource,
                    "text": each.text,
                    "points": [
                        {"faster_share": share, f"value_{unit}": v * scale} for share, v in each.values
                    ],
                }
                for each in self.profiles
            ],
            "notes": list(self.notes),
        }


def _composed(composition: Composition) -> dict[str, Any]:
    return {
        "metric": composition.metric,
        "tail_from_percentile": composition.percentile,
        "tail_requests": composition.tail.requests,
        "usual_ms": composition.usual.seconds * 1e3,
        "tail_ms": composition.tail.seconds * 1e3,
        "labels": [
            {
                "label": name,
                "text": LABELS[name],
                "usual_ms": composition.usual.labels.get(name, 0.0) * 1e3,
                "tail_ms": composition.tail.labels.get(name, 0.0) * 1e3,
            }
            for name in composition.excess
        ],
    }


def leading(effects: tuple[Effect, ...]) -> tuple[Effect, ...]:
    """The BEST most helpful and the WORST most harmful of effects that are in order."""
    return effects if len(effects) <= BEST + WORST else (*effects[:BEST], *effects[-WORST:])


def cause_of(causes: Sequence[Effect]) -> Effect | None:
    """The one of `causes`, the most helpful first, that is to blame; see `Explanation.cause`."""
    found = [each for each in causes if not math.isnan(each.relative) and each.relative < -SMALL]
    if not found:
        return None
    reach = max(found[0].relative, found[0].interval.high)
    near = [each for each in found if each.change.is_condition and each.relative <= reach]
    return near[0] if near else found[0]


def explain(
    setup: Setup | PooledSetup,
    objective: Objective,
    *,
    only_causes: bool = False,
    whole: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Explanation:
    """Play `setup`, label every second, and play it again with one thing changed at a time.

    `only_causes` leaves out knobs, policies and the causal profile, and gives an interval to the cause alone; `whole`
    gives one to every change, not to the leading ones only. `progress(runs done, runs)` is called after every run, with
    an upper bound of the runs. Raises InputError when nobody was served or the deployment can't be.
    """
    report, attribution, _ = setup.attributed()
    tried = changes_of(setup, objective, only_causes=only_causes)
    if attribution.to_first[:, ORDER["queue_admission"]].any():
        tried.insert(0, changes.from_door(setup))
    resources = sum(change.at is not None for change in tried)
    drawn = 2 if only_causes else len(tried) if whole else min(len(tried), BEST + WORST + 1)
    total = 1 + len(tried) + (0 if only_causes else resources * (len(SPEED_UPS) - 1)) + (drawn + 1) * DRAWS
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    step()
    programs = programs_of(attribution, setup.work)
    labelled = programs if programs is not None and objective.metric == PROGRAM else attribution
    baseline = objective.column(report.records)
    ranked, notes = effects(tried, objective, setup, baseline, after_each=step)
    fresh = FreshTraffic(setup, objective, after_each=step)
    found = tuple(ranked)
    if not only_causes:
        found = _drawn(found, fresh, found if whole else leading(found))
    found = _with_cause(found, fresh)
    return Explanation(
        report=report,
        attribution=attribution,
        labelled=labelled,
        objective=objective,
        composition=compose(labelled, objective.metric, objective.percentile),
        programs=None if programs is None else compose(programs, PROGRAM, objective.percentile),
        effects=found,
        profiles=() if only_causes else tuple(profiles(tried, objective, found, after_each=step)),
        notes=tuple(notes),
    )


def changes_of(
    setup: Setup | PooledSetup, objective: Objective, *, only_causes: bool = False
) -> list[Change]:
    """What is tried, causes first. Tools and clients are to blame for programs alone, long prompts never for those."""
    if isinstance(setup, PooledSetup):
        found = list(pool_changes.causes(setup)) if only_causes else pool_changes.every_change(setup)
    else:
        found = list(changes.causes(setup)) if only_causes else changes.every_change(setup)
    aside = {LONG_PROMPTS} if objective.metric == PROGRAM else {TOOLS, CLIENTS}
    return [each for each in found if each.name not in aside]


def _drawn(found: tuple[Effect, ...], fresh: FreshTraffic, chosen: Sequence[Effect]) -> tuple[Effect, ...]:
    """The effects, those that are `chosen` and lack an interval with one."""
    wanted = {each.change.name for each in chosen}
    return tuple(
        fresh.of(each) if each.change.name in wanted and not each.has_interval else each for each in found
    )


def _with_cause(found: tuple[Effect, ...], fresh: FreshTraffic) -> tuple[Effect, ...]:
    """The effects with an interval for the most helpful cause, and for the one that it makes the one to blame."""
    for _ in range(2):
        of_causes = [each for each in found if each.change.kind == CAUSE]
        named = cause_of(of_causes)
        found = _drawn(found, fresh, [*of_causes[:1], *([named] if named else [])])
    return found
