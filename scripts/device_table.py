"""Write the tables of docs/accuracy-devices.md: operators at shapes left out, and devices taken to be unknown.

scripts/device_table.py            write the tables that take seconds
scripts/device_table.py --all      errors by number of samples too (minutes)
scripts/device_table.py --train    HELP too (trains it; half an hour)
scripts/device_table.py --check    exit 1 when the tables that take seconds are not up to date
"""

from __future__ import annotations

import argparse
import functools
import operator
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from architectures import Score, Space, evaluate, train_help
from help_steps import learned_to_learn
from pages import agree, filled, table

from hasten.accuracy.leave_device_out import PREDICTORS, SAMPLED, Outcome, leave_out
from hasten.accuracy.operators import LeftOut, one_token_more, operators_left_out, widths_left_out
from hasten.accuracy.profiled import PROFILED, compare
from hasten.fewshot.help import Schedule
from hasten.latency.tables import OperatorTables, operator_paths

PAGE = Path(__file__).resolve().parent.parent / "docs" / "accuracy-devices.md"

COUNTS = (2, 5, 10, 20, 50)
SPACES = ("nasbench201", "fbnet")
HELP_SCHEDULE = Schedule(episodes=500, query=50, devices=4, rate=1e-3, every=25)


def operators() -> str:
    """Errors at operator shapes that were left out, by device and kind, and of all kinds of a device."""
    rows = []
    for path in operator_paths():
        tables = OperatorTables(path)
        parts = operators_left_out(tables)
        parts["all"] = functools.reduce(operator.add, parts.values())
        parts["products of untimed widths"] = widths_left_out(tables)
        rows += [[tables.about["device"], kind, *cells(found)] for kind, found in parts.items()]
    head = ["device", "what", "left out", "median error", "95th percentile", "raised", "outliers"]
    return table([*head, "median without them", "95th percentile without them"], rows)


def scatter() -> str:
    """How products with one token more compare with those without it, by device."""
    rows = []
    for path in operator_paths():
        tables = OperatorTables(path)
        more = one_token_more(tables)
        shares = [np.mean(more < -0.1), np.mean(more < -0.25)]
        rows.append([tables.about["device"], str(len(more)), *(f"{share:.1%}" for share in shares)])
    return table(["device", "pairs", "more than 10% faster", "more than 25% faster"], rows)


def cells(found: LeftOut) -> list[str]:
    """Sizes of errors over all shapes, shares of times not believed, and sizes over the shapes believed."""
    cells = [str(len(found.errors))]
    cells += [f"{share:.1%}" for share in np.percentile(np.abs(found.errors), [50, 95])]
    cells += [f"{found.raised / found.timed:.1%}", f"{found.outliers.mean():.1%}"]
    return cells + [f"{share:.1%}" for share in np.percentile(np.abs(found.believed), [50, 95])]


def mean(outcomes: Iterable[Outcome], name: str) -> float:
    """Mean of one figure over devices."""
    return float(np.mean([getattr(each, name) for each in outcomes]))


def steps() -> str:
    """Step times of each device left out, from ten chosen samples."""
    rows = []
    found = {name: leave_out(predict, 10, "chosen") for name, predict in PREDICTORS.items()}
    found["device pool, sibling unknown too"] = leave_out(
        PREDICTORS["device pool"], 10, "chosen", siblings=False
    )
    for name, outcomes in found.items():
        own = [f"{each.own:.1%}" for each in outcomes.values()]
        rows.append(
            [name, *own, f"{mean(outcomes.values(), 'own'):.1%}", f"{mean(outcomes.values(), 'others'):.1%}"]
        )
    pool = found["device pool"].values()
    head = ["ten samples", *next(iter(found.values())), "mean", "mean, other models"]
    covered, width = mean(pool, "covered"), mean(pool, "width")
    intervals = f"90 % intervals of the device pool cover {covered:.1%} and are {width:.1%} wide either way."
    return f"{table(head, rows)}\n\n{intervals}"


def steps_by_count() -> str:
    """Mean errors over devices by number of samples."""
    rows = []
    for how in ("chosen", "random"):
        for name, predict in PREDICTORS.items():
            row = [how, name]
            for count in COUNTS:
                outcomes = leave_out(predict, count, how).values()
                row.append(f"{mean(outcomes, 'own'):.1%} / {mean(outcomes, 'others'):.1%}")
            rows.append(row)
            print(row, file=sys.stderr)
    return table(["samples", "predictor", *(f"{count}" for count in COUNTS)], rows)


def profiled() -> str:
    """Whole steps of devices whose layers were profiled, from ten samples: pool against coefficients."""
    rows = []
    for device, model in PROFILED:
        for how in ("chosen", "random"):
            found = compare(device, model, how)
            rows.append([f"{model} on {device}", how, f"{found.pool:.1%}", f"{found.coefficients:.1%}"])
    return table(["steps of", "ten samples", "device pool", "coefficients of `hasten calibrate`"], rows)


def score_cells(scores: dict[str, Score]) -> list[str]:
    """Rank correlation and error on every device, and their means."""
    each = [f"{s.spearman:.3f}, {s.mape:.1%}" for s in scores.values()]
    means = [np.mean([getattr(s, name) for s in scores.values()]) for name in ("spearman", "mape")]
    return [*each, f"{means[0]:.3f}", f"{means[1]:.1%}"]


def architectures(name: str) -> str:
    """Rank correlation and error on the unseen devices of a search space, ten samples."""
    space = Space(name)
    rows = [[*key, *score_cells(scores)] for key, scores in evaluate(space, 10).items()]
    published = space.split["paper_spearman"]
    rows.append(
        ["HELP as published", "references", *(f"{published[d]:.3f}" for d in space.split["meta_test"])]
    )
    rows[-1] += [f"{published['mean']:.3f}", ""]
    return table(["predictor", "samples", *space.split["meta_test"], "mean Spearman", "mean error"], rows)


def architectures_by_count() -> str:
    """Mean rank correlation and error by number of samples, device pool and rivals."""
    rows = []
    for name in SPACES:
        space, found = Space(name), {}
        for count in COUNTS:
            for key, scores in evaluate(space, count).items():
                if key[1] != "references":
                    found.setdefault(key, []).append(", ".join(score_cells(scores)[-2:]))
        rows += [[name, *key, *values] for key, values in found.items()]
    return table(["space", "predictor", "samples", *(f"{count}" for count in COUNTS)], rows)


def trained() -> str:
    """HELP as trained here, ten references: mean errors of steps, rank correlations and errors of architectures."""
    model = SAMPLED[0]
    rows = []
    for name, predict in {"HELP": learned_to_learn, **PREDICTORS}.items():
        outcomes = leave_out(predict, 10, "chosen", sampled=[model])
        each = "; ".join(f"{device} {found.own:.1%}" for device, found in outcomes.items())
        rows.append([f"steps of {model[0]}, {name}", each, "", f"{mean(outcomes.values(), 'own'):.1%}"])
    for name in SPACES:
        scores = train_help(Space(name), HELP_SCHEDULE, 0, progress=lambda line: print(line, file=sys.stderr))
        each = "; ".join(f"{d} {s.spearman:.3f}, {s.mape:.1%}" for d, s in scores.items())
        rows.append([f"{name}, HELP", each, *score_cells(scores)[-2:]])
    return table(["what", "devices", "mean Spearman", "mean error"], rows)


def main() -> int:
    """Write the tables, or compare them with the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--all", action="store_true", help="errors by number of samples too")
    parser.add_argument("--train", action="store_true", help="train and score HELP too")
    parser.add_argument("--check", action="store_true", help="exit 1 when the page is not up to date")
    args = parser.parse_args()
    old = page = PAGE.read_text(encoding="utf-8")
    page = filled(page, "operator table", operators())
    page = filled(page, "scatter table", scatter())
    page = filled(page, "step table", steps())
    for name in SPACES:
        page = filled(page, f"{name} table", architectures(name))
    if args.all:
        page = filled(page, "profiled table", profiled())
        page = filled(page, "count table", steps_by_count())
        page = filled(page, "architecture count table", architectures_by_count())
    if args.train:
        page = filled(page, "trained table", trained())
    if args.check:
        is_same = agree(page, old)
        print("up to date" if is_same else f"{PAGE.name} is out of date: run scripts/device_table.py")
        return int(not is_same)
    PAGE.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
