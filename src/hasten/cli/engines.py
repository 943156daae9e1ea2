"""Engine profiles: what a serving engine does by default, by version, and how its limits follow on a device."""

from __future__ import annotations

import dataclasses
from argparse import ArgumentParser, Namespace
from typing import Any

from hasten.cli.options import catalogue
from hasten.cli.output import table, text
from hasten.profiles import DefaultRule, EngineProfile, GraphRange, load_profile, profile_names

HELP = "engine profiles: defaults of vLLM, SGLang, TensorRT-LLM by version"
EXAMPLE = "hasten engines show vllm-0.19"


def configure(parser: ArgumentParser) -> None:
    """Declare the options."""
    catalogue.add_show(parser, "profile", "vllm-0.19, vllm or ./my-engine.toml")


def run(args: Namespace) -> int:
    """Print the list or one profile."""
    name = catalogue.shown(args)
    profiles = [load_profile(each) for each in (profile_names() if name is None else [name])]
    if args.json:
        found = [dataclasses.asdict(profile) for profile in profiles]
        text.show_json(found if name is None else found[0])
    else:
        text.show(listed(profiles) if name is None else _described(profiles[0]))
    return 0


def listed(profiles: list[EngineProfile]) -> str:
    """One line per profile; the reference version of an engine is what its bare name means."""
    header = ("profile", "engine", "version", "loop depth", "admission", "memory rule", "")
    rows = [
        (
            profile.name,
            profile.engine,
            profile.version,
            str(profile.loop_depth),
            profile.admission.replace("_", " "),
            f"{profile.memory_rule.replace('_', ' ')} {profile.memory_fraction or ''}".strip(),
            f"is {profile.engine}" if profile.is_reference else "",
        )
        for profile in profiles
    ]
    return table.table(header, rows, right=(3,))


def _described(profile: EngineProfile) -> str:
    pairs = [
        (field.name, _text(getattr(profile, field.name)))
        for field in dataclasses.fields(profile)
        if not isinstance(getattr(profile, field.name), tuple)
    ]
    pairs += [
        ("defaults", "\n".join(map(_rule, profile.defaults))),
        ("graph sizes", _ranges(profile.graph_ranges)),
        ("prefill graphs", _ranges(profile.prefill_graph_ranges)),
    ]
    return table.facts(pairs)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _rule(rule: DefaultRule) -> str:
    """One row of the table of defaults: the setting, its values, and where it holds."""
    where = [] if rule.kind == "any" else [rule.kind]
    if rule.min_memory_gib:
        where.append(f"from {rule.min_memory_gib:g} GiB")
    if rule.not_named:
        where.append(f"not named {' or '.join(rule.not_named)}")
    if rule.capability:
        where.append(f"compute capability {rule.capability}")
    if rule.min_tp > 1:
        where.append(f"tp {rule.min_tp} or more")
    offline = f" ({rule.offline:,} offline)" if rule.offline != rule.server else ""
    times = " x devices" if rule.times_devices else ""
    return f"{rule.setting} = {rule.server:,}{offline}{times}" + (f" on {', '.join(where)}" if where else "")


def _ranges(ranges: tuple[GraphRange, ...]) -> str:
    return ", ".join(
        str(each.first)
        if each.last in (None, each.first) and each.step == 1 and each.last is not None
        else f"{each.first} to {each.last or 'the largest'} by {each.step}"
        for each in ranges
    )
