"""Write docs/reference/ from the code: commands, methods, models, devices, engines. `--check` fails on stale pages."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import importlib
import os
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

from hasten.claims.harness.claim import EVIDENCE
from hasten.claims.harness.methods import Method, all_roles, list_methods
from hasten.claims.harness.record import recorded
from hasten.cli import command_names, help_of, parser_of
from hasten.cli.models import billions
from hasten.cli.output.table import number, significant
from hasten.cli.reproduce import interval, value
from hasten.hardware import Device, device_names, load_device
from hasten.models import load_model, model_names
from hasten.policies import PolicyCard, roles
from hasten.profiles import load_profile, profile_names

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "reference"
NOTICE = "<!-- written by scripts/reference.py: change the code, then run it again -->"
CLAIMS = os.path.relpath(FOLDER.parent / "claims.md", FOLDER / "methods")
GIB = 2**30


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def prose(text: str) -> str:
    """A paragraph in lines of the pages' usual length."""
    return textwrap.fill(" ".join(text.split()), 120, break_long_words=False, break_on_hyphens=False)


# ---- commands -------------------------------------------------------------------------------------------------


def cli_page() -> str:
    """Every command with its options and its example, which the documentation run executes."""
    parts = [
        "# Commands",
        prose(
            """
            Results go to standard output, progress and mistakes to standard error. Exit status: 0 done; 1
            done, and the answer is no (no deployment holds, a service level is missed, a law is broken); 2
            input that can't be used, explained in one line; 130 interrupted. Times carry their unit
            (`500ms`, `1.5s`, `2min`): a bare number is refused.
            """
        ),
        table(["command", "what it tells"], [[f"`{name}`", help_of(name)] for name in command_names()]),
    ]
    return "\n\n".join([*parts, *(_command(name) for name in command_names())])


def _command(name: str) -> str:
    module = importlib.import_module(f"hasten.cli.{name}")
    parser = parser_of(name, module)
    rows = [
        [f"`{_syntax(action)}`", (action.help or "").replace("%%", "%")]
        for action in parser._actions
        if action.dest != "help"
    ]
    reason = getattr(
        module, "EXAMPLE_NOT_RUN", None
    )  # of a command that needs what a test machine has not, or never ends
    skip = [f"<!-- not run: {reason} -->"] if reason else []
    example = "\n".join([*skip, "```console", f"$ {module.EXAMPLE}", "```"])
    return "\n\n".join(
        [f"## hasten {name}", (module.__doc__ or "").strip(), table(["option", "meaning"], rows), example]
    )


def _syntax(action: argparse.Action) -> str:
    value = str(action.metavar or (action.dest.upper() if action.nargs != 0 else ""))
    if not action.option_strings:
        return f"[{value}]" if action.nargs in ("?", "*") else value
    return f"{action.option_strings[-1]} {value}" if action.nargs != 0 else action.option_strings[-1]


# ---- policies and other methods -------------------------------------------------------------------------------


def policies_page() -> str:
    """Every method by role, with a link to its own page."""
    parts = [
        "# Policies and other methods",
        prose(
            """
            A policy is chosen by name (`--schedule sjf`), with parameters (`--schedule
            static:batch_size=8`), as a file (`--schedule ./mine.py`) or, in Python, as an instance. Methods of
            the roles behind `length` are functions. Verdicts are those of the
            [claims of their papers](../claims.md), re-run here.
            """
        ),
    ]
    for role in all_roles():
        found = list_methods(role)
        if found:
            rows = [
                [f"[`{each.card.name}`](methods/{each.card.name}.md)", each.card.summary, each.verdict]
                for each in found
            ]
            parts += [f"## {role}", table(["method", "what it does", "claim"], rows)]
    return "\n\n".join(parts)


def method_pages() -> dict[str, str]:
    """One page per method: what it does in each of its roles, when to use it, parameters, claim, verdict."""
    by_name: dict[str, list[Method]] = {}
    for method in list_methods():
        by_name.setdefault(method.card.name, []).append(method)
    return {f"methods/{name}.md": _method_page(name, by_name[name]) for name in sorted(by_name)}


def _method_page(name: str, found: Sequence[Method]) -> str:
    parts = [f"# {name}"]
    for method in found:
        parts += [f"## As {method.card.role}", *_card(method.card)]
    claims = {method.claim: method for method in found if method.claim}
    for claim, method in claims.items():
        result = recorded(claim)
        parts += [f"## Claim: {method.verdict}", prose(f"The paper says: {method.headline}.")]
        if result is not None:
            rows = [
                [each["name"], each["unit"], value(each["paper"]), interval(each)]
                for each in result["figures"]
            ]
            parts += [
                table(["figure", "unit", "published", "ours (95 % interval)"], rows),
                f"Evidence: {EVIDENCE[method.evidence]}. Origin: {result['origin']}. Baseline: {result['baseline']}. "
                f"[Falsifiers, regions of loss, plots]({CLAIMS}#{claim}); again: `hasten reproduce {claim}`.",
            ]
    return "\n\n".join(parts)


def _card(card: PolicyCard) -> list[str]:
    labels = {
        "Use when": card.use_when,
        "Avoid when": card.avoid_when,
        "Paper": card.paper,
        "Differs": card.differs,
        "Needs": card.needs,
    }
    parts = [card.summary, "\n".join(f"- {label}: {text}" for label, text in labels.items() if text)]
    if card.role in roles():
        parts.append(f"Choose it: `--{card.role} {card.name}`.")
    if card.parameters:
        rows = [[f"`{each.name}`", each.type, str(each.default), each.comment] for each in card.parameters]
        parts.append(table(["parameter", "type", "default", "unit and meaning"], rows))
    return [part for part in parts if part]


# ---- models, devices, engines ---------------------------------------------------------------------------------


def models_page() -> str:
    """Every built-in model with its source."""
    models = [load_model(name) for name in model_names()]
    rows = [
        [
            f"`{model.name}`",
            billions(model.parameters),
            billions(model.active_parameters) if model.is_mixture else "",
            number(model.weight_bytes / GIB),
            number(model.kv_bytes_per_token() / 1024, 1),
            f"{model.max_context:,}",
        ]
        for model in models
    ]
    header = ["model", "parameters", "active", "weights, GiB", "KV, KiB/token", "context"]
    sources = "\n".join(f"- `{model.name}`: {model.source}" for model in models)
    return "\n\n".join(
        [
            "# Models",
            f"{len(models)} shapes are built in; any `config.json` of a known architecture works as well.",
            table(header, rows),
            "## Sources",
            sources,
        ]
    )


def devices_page() -> str:
    """Every built-in device with its sources and price."""
    devices = [load_device(name) for name in device_names()]
    header = [
        "device",
        "GiB",
        "GB/s",
        "bf16 TFLOP/s",
        "fp8 TFLOP/s",
        "link",
        "memory x",
        "compute x",
        "$/h",
        "read on",
    ]
    rows = [
        [
            f"`{device.name}`",
            number(device.memory_gib, 1),
            number(device.memory_bandwidth / 1e9, 0),
            _peak(device, "bf16", "fp16", "fp32"),
            _peak(device, "fp8"),
            device.link or device.host_link,
            f"{device.memory_efficiency:g}",
            f"{device.compute_efficiency:g}",
            number(device.price_per_hour),
            device.price.date if device.price else "",
        ]
        for device in devices
    ]
    return "\n\n".join(
        [
            "# Devices",
            prose(
                """
                Peaks are dense; `x` is the share of the data sheet that large kernels reach. Prices are list
                prices of one device-hour on the day given; `--prices` takes your own.
                """
            ),
            table(header, rows),
            "## Sources",
            "\n".join(_device_sources(device) for device in devices),
        ]
    )


def _peak(device: Device, *dtypes: str) -> str:
    found = next((device.flops[dtype] for dtype in dtypes if dtype in device.flops), None)
    return "" if found is None else significant(found / 1e12)


def _device_sources(device: Device) -> str:
    facts = [
        f"efficiencies: {device.efficiency_origin}",
        *(f"{key}: {text}" for key, text in device.sources.items()),
    ]
    if device.price is not None:
        facts.append(f"price ({device.price.kind}): {device.price.source}")
    if device.unverified:
        facts.append(f"not verified: {', '.join(device.unverified)}")
    return f"- `{device.name}`: {'; '.join(facts)}"


def engines_page() -> str:
    """Every engine profile, one column each."""
    profiles = [load_profile(name) for name in profile_names()]
    fields = [
        field.name
        for field in dataclasses.fields(profiles[0])
        if field.name not in ("name", "source") and not isinstance(getattr(profiles[0], field.name), tuple)
    ]
    rows = [[f"`{name}`", *(_value(getattr(profile, name)) for profile in profiles)] for name in fields]
    return "\n\n".join(
        [
            "# Engines",
            prose(
                """
                Defaults and rules by version. How each value is known (read in the published code, measured,
                documented, unverified) stands beside it in `src/hasten/profiles/engines/`; defaults by
                device and graph sizes are shown by `hasten engines show NAME`.
                """
            ),
            table(["field", *(f"`{profile.name}`" for profile in profiles)], rows),
            "## Sources",
            "\n".join(f"- `{profile.name}`: {profile.source}" for profile in profiles),
        ]
    )


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


PAGES: dict[str, Callable[[], str]] = {
    "cli.md": cli_page,
    "policies.md": policies_page,
    "models.md": models_page,
    "devices.md": devices_page,
    "engines.md": engines_page,
}


def main(arguments: list[str] | None = None) -> int:
    """Write the pages, or with --check compare them; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a page is stale")
    is_check = parser.parse_args(arguments).check
    stale = 0
    texts = {name: make() for name, make in PAGES.items()} | method_pages()
    for path in sorted((FOLDER / "methods").glob("*.md")):
        if f"methods/{path.name}" not in texts:
            stale += 1
            print(
                f"docs/reference/methods/{path.name}: no method of that name{'' if is_check else ': deleted'}"
            )
            if not is_check:
                path.unlink()
    for name, body in texts.items():
        path, text = FOLDER / name, f"{NOTICE}\n\n{body}\n"
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        if old == text:
            continue
        stale += 1
        if is_check:
            lines = difflib.unified_diff(
                old.splitlines(), text.splitlines(), "page", "code", lineterm="", n=0
            )
            print(f"docs/reference/{name} is stale: run scripts/reference.py\n" + "\n".join(list(lines)[:12]))
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote docs/reference/{name}")
    if not stale:
        print("the reference says what the code does")
    return 1 if is_check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
