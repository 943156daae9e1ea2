"""Engine profiles: the defaults and quirks of one engine version, read from `engines/<name>.toml`.

Every field in those files says how it is known: V read in the published code, M measured on recorded runs,
D documentation or an issue, U unverified. No code asks for an engine's name: it asks these fields.
"""

from __future__ import annotations

from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from hasten.errors import InputError
from hasten.hardware import Device
from hasten.hardware.datafile import Fields, closest, normalised, read_toml
from hasten.profiles.limits import EngineLimits
from hasten.profiles.overrides import Overrides
from hasten.profiles.rules import DefaultRule, GraphRange, default_for, next_size, sizes_up_to

_ENGINES = Path(__file__).parent / "engines"

SETTINGS = ("max_num_seqs", "max_num_batched_tokens", "chunk_tokens", "max_graph_size")


def number(default: float, low: float, high: float) -> Any:
    """A field holding a number in [low, high]; whole when its default is whole."""
    return field(default=default, metadata={"low": low, "high": high})


def one_of(*options: str) -> Any:
    """A field holding one of a few words, the first by default."""
    return field(default=options[0], metadata={"options": options})


@dataclass(frozen=True, kw_only=True)
class EngineProfile:
    """Defaults and rules of one engine version. Seconds, tokens, bytes and shares between 0 and 1."""

    name: str
    engine: str
    version: str
    defaults: tuple[DefaultRule, ...]
    source: str = "not stated"
    is_reference: bool = False  # the version that a bare engine name means
    # --- the loop
    loop_depth: int = number(1, 1, 2)  # 1: plan after the last step; 2: plan one step ahead, beside it
    host_step_seconds: float = number(0.0, -1.0, 1.0)  # signed offset of every step
    mixed_step_seconds: float = number(0.0, -1.0, 1.0)  # added when a step holds a prefill chunk
    # --- the batch
    block_size: int = number(16, 1, 65536)
    prefix_caching: bool = True
    chunked_prefill: bool = True
    mixed_steps: bool = True  # prefill and decode may share a step
    one_chunked_request: bool = False  # at most one request is partly prefilled at a time
    long_prefill_token_threshold: int = number(0, 0, 1e9)  # tokens per request and step; 0: no limit
    # --- admission and preemption
    admission: str = one_of("fits_now", "expected_output", "max_output")
    reserve_full_sequence: bool = True  # the whole known sequence must fit at admission
    watermark: float = number(0.0, 0.0, 1.0)  # share of the blocks kept free at admission
    new_token_ratio: float = number(0.7, 0.0, 1.0)  # share of the remaining output expected, at first
    min_token_ratio: float = number(0.098, 0.0, 1.0)  # the value it falls to
    ratio_decay_steps: int = number(600, 1, 1e9)  # decode steps from the one to the other
    clip_max_tokens: int = number(4096, 1, 1e9)  # the longest remaining output that admission expects
    retract_steps: int = number(20, 0, 1e6)  # tokens per survivor, in the ratio after a retraction
    preemption: str = one_of("newest", "fewest_generated")
    preempted_blocks_cached: bool = True  # a victim's full blocks stay findable
    host_kv_writes: str = one_of("computed", "evicted")  # what host memory gets, where it is given any
    # --- graphs
    graph_ranges: tuple[GraphRange, ...] = ()  # sequences in a decode step, or tokens in any step
    prefill_graph_ranges: tuple[GraphRange, ...] = ()  # steps that prefill, when their graphs are others
    graph_seqs_factor: int = number(0, 0, 1e6)  # ceiling: this many times max_num_seqs; 0: no such ceiling
    graph_ceiling_captured: bool = False  # the ceiling itself is a captured size too
    graphs_with_prefill: bool = True  # steps that prefill run in (piecewise) graphs too
    eager_kernel_seconds: float = number(0.0, 0.0, 1e-2)  # host, per kernel without a graph; 0: a bare launch
    # --- memory
    memory_rule: str = one_of("fraction_of_total", "static_fraction", "fraction_of_free")
    memory_fraction: float = number(0.9, 0.0, 1.0)  # static_fraction: 0 means derived from the reserve
    graph_memory_subtracted: bool = False
    graph_bytes_per_size: float = number(0.0, 0.0, 1e10)  # estimate per captured size
    activation_bytes_per_logit: float = number(15.0, 0.0, 1e3)  # sampler's peak per sequence and word
    overhead_bytes: float = number(0.75e9, 0.0, 1e12)  # libraries and workspaces, in use after a dummy step
    null_blocks: int = number(0, 0, 1e6)  # blocks the engine keeps for itself
    context_bytes: float = number(0.0, 0.0, 1e12)  # gone before an engine reads the free memory
    reserve_bytes: float = number(0.0, 0.0, 1e12)
    reserve_bytes_per_chunk_token: float = number(0.0, 0.0, 1e9)
    reserve_chunk_tokens_min: int = number(0, 0, 1e9)
    reserve_bytes_per_device: float = number(0.0, 0.0, 1e12)  # times tp x pp
    reserve_bytes_per_graph_sequence: float = number(0.0, 0.0, 1e9)
    reserve_bytes_per_prefill_graph: float = number(0.0, 0.0, 1e9)
    reserve_floor_bytes: float = number(0.0, 0.0, 1e12)
    reserve_floor_above_bytes: float = number(0.0, 0.0, 1e12)  # floor: only on devices larger than this
    # --- the front end: c0 + c1 x prompt tokens per request, c2 per streamed output
    front_end_seconds: float = number(0.0, 0.0, 10.0)
    front_end_seconds_per_prompt_token: float = number(0.0, 0.0, 1.0)
    front_end_seconds_per_output: float = number(0.0, 0.0, 1.0)

    def limits(
        self,
        device: Device,
        model_max_context: int,
        offline: bool = False,
        *,
        tp: int = 1,
        devices: int = 1,
        **overrides: object,
    ) -> EngineLimits:
        """The limits on a device for a model with `model_max_context` tokens of context.

        `overrides` are settings of EngineLimits that the user gives; the rest follow from the engine's table
        of defaults. `devices` is the devices of one replica, `tp` its tensor parallel size. Raises
        InputError for an unknown setting and for a value or a pair of values that the engine refuses.
        """
        given = Overrides(overrides, self.name)
        max_model_len = given.integer("max_model_len", model_max_context)
        if max_model_len > model_max_context:
            raise InputError(
                f"max_model_len {max_model_len} is above the model's context of {model_max_context}: lower it"
            )

        def default(setting: str) -> int | None:
            return default_for(self.defaults, setting, device, offline=offline, tp=tp, devices=devices)

        chunked = given.flag("chunked_prefill", self.chunked_prefill)
        seqs, tokens = self._step_limits(
            given.optional_integer("max_num_seqs"),
            given.optional_integer("max_num_batched_tokens"),
            default("max_num_seqs"),
            default("max_num_batched_tokens"),
            max_model_len=max_model_len,
            chunked=chunked,
        )
        chunk = given.optional_integer("chunk_tokens") or default("chunk_tokens")
        if chunk is not None and chunked:
            tokens = min(tokens, chunk)
            seqs = seqs if "max_num_seqs" in given.names else min(seqs, tokens)
        ceiling = default("max_graph_size")  # a device without a row has no graphs
        sizes = self.graph_sizes(seqs, tokens, ceiling=ceiling) if ceiling else ()
        return EngineLimits(
            max_num_seqs=seqs,
            max_num_batched_tokens=tokens,
            max_model_len=max_model_len,
            block_size=given.integer("block_size", self.block_size),
            chunk_tokens=chunk if chunked else None,
            long_prefill_token_threshold=given.integer(
                "long_prefill_token_threshold", self.long_prefill_token_threshold, low=0
            ),
            prefix_caching=given.flag("prefix_caching", self.prefix_caching),
            chunked_prefill=chunked,
            memory_fraction=given.share("memory_fraction", self.memory_fraction),
            watermark=given.share("watermark", self.watermark),
            offline=offline,
            graph_sizes=sizes,
            prefill_graph_sizes=self._prefill_graph_sizes(sizes, tokens),
            overridden=given.names,
        )

    def _step_limits(
        self,
        seqs: int | None,
        tokens: int | None,
        default_seqs: int | None,
        default_tokens: int | None,
        *,
        max_model_len: int,
        chunked: bool,
    ) -> tuple[int, int]:
        """Sequences and tokens of a step: defaults are capped by each other, given values are checked."""
        if (seqs or default_seqs) is None or (tokens or default_tokens) is None:
            missing = "max_num_batched_tokens" if (seqs or default_seqs) else "max_num_seqs"
            raise InputError(f"profile {self.name}: no default of {missing} for this device: give {missing}")
        final_seqs = seqs or default_seqs or 0
        final_tokens = tokens or default_tokens or 0
        if tokens is None:
            if not chunked:
                final_tokens = max(final_tokens, max_model_len)
            final_tokens = min(final_tokens, final_seqs * max_model_len)
        if seqs is None:
            final_seqs = min(final_seqs, final_tokens)
        if final_tokens < final_seqs:
            raise InputError(
                f"max_num_batched_tokens {final_tokens} is below max_num_seqs {final_seqs}: "
                "raise it or lower max_num_seqs"
            )
        if not chunked and final_tokens < max_model_len:
            raise InputError(
                f"max_num_batched_tokens {final_tokens} is below max_model_len {max_model_len} "
                "without chunked prefill: raise it or turn chunked_prefill on"
            )
        return final_seqs, final_tokens

    def graph_sizes(
        self, max_num_seqs: int, max_num_batched_tokens: int, *, ceiling: int | None = None
    ) -> tuple[int, ...]:
        """Captured graph sizes in tokens, rising.

        `ceiling` is the largest size on the device at hand, as `limits` finds it; None sets no such bound.
        """
        bounds = [max_num_batched_tokens]
        if self.graph_seqs_factor:
            bounds.append(self.graph_seqs_factor * max_num_seqs)
        if ceiling is not None:
            bounds.append(ceiling)
        sizes = sizes_up_to(self.graph_ranges, min(bounds))
        return (*sizes, min(bounds)) if self.graph_ceiling_captured and sizes[-1:] < (min(bounds),) else sizes

    def _prefill_graph_sizes(self, sizes: tuple[int, ...], tokens: int) -> tuple[int, ...]:
        if not self.graphs_with_prefill or not sizes:
            return ()
        return sizes_up_to(self.prefill_graph_ranges, tokens) or sizes

    def padded(self, num_tokens: int, sizes: tuple[int, ...]) -> int:
        """The captured size (of `sizes`) that a step of `num_tokens` is padded to; itself above them all."""
        return next_size(sizes, num_tokens)


def profile_names() -> list[str]:
    """Names of the built-in profiles, sorted."""
    return sorted(path.stem for path in _ENGINES.glob("*.toml"))


def load_profile(name_or_path: str | Path) -> EngineProfile:
    """A profile by name (`vllm-0.19`), by engine (its reference version), or read from a user's TOML file.

    Raises InputError for an unknown name and for a malformed file.
    """
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or text.endswith(".toml"):
        return read_profile(Path(text))
    profiles = [(name, _ENGINES / f"{name}.toml") for name in profile_names()]
    for name, path in profiles:
        if normalised(name) == normalised(text):
            return read_profile(path)
    for _, path in profiles:
        profile = read_profile(path)
        if profile.is_reference and normalised(profile.engine) == normalised(text):
            return profile
    hint = closest(text, profile_names()) or f": known profiles are {', '.join(profile_names())}"
    raise InputError(f"engine profile {text!r} is unknown{hint}")


def read_profile(path: Path) -> EngineProfile:
    """The profile in a TOML file. Raises InputError for a missing, unknown or misfit key."""
    table = Fields(read_toml(path), str(path))
    values: dict[str, Any] = {
        "name": path.stem,
        "engine": table.text("engine", example="vllm"),
        "version": table.text("version", example="0.19.0"),
        "defaults": tuple(_rule(row) for row in table.tables("default")),
        "graph_ranges": tuple(_range(row) for row in table.tables("graph_range")),
        "prefill_graph_ranges": tuple(_range(row) for row in table.tables("prefill_graph_range")),
    }
    for spec in fields(EngineProfile):
        if spec.name not in values:
            values[spec.name] = _value(table, spec)
    table.finish()
    return EngineProfile(**values)


def _value(table: Fields, spec: Field[Any]) -> Any:
    """The value of one plain field, by the constraint declared beside it."""
    default: Any = spec.default
    if "options" in spec.metadata:
        return table.choice(spec.name, spec.metadata["options"], default)
    if isinstance(default, bool):
        return table.flag(spec.name, default)
    if isinstance(default, str):
        return table.text(spec.name, default)
    low, high = spec.metadata["low"], spec.metadata["high"]
    if isinstance(default, int):
        return table.integer(spec.name, default, low=low, high=high)
    return table.number(spec.name, default, low=low, high=high)


def _rule(row: Fields) -> DefaultRule:
    value = row.integer("server", low=1, example=256)
    rule = DefaultRule(
        setting=row.choice("setting", SETTINGS),
        server=value,
        offline=row.integer("offline", value, low=1),
        kind=row.choice("kind", ("gpu", "cpu", "any"), "any"),
        min_memory_gib=row.number("min_memory_gib", 0.0, low=0.0, wanted="GiB"),
        not_named=tuple(part.lower() for part in row.texts("not_named")),
        capability=row.text("capability", "") if row.holds("capability") else "",
        min_tp=row.integer("min_tp", 1, low=1),
        times_devices=row.flag("times_devices", False),
    )
    row.finish()
    return rule


def _range(row: Fields) -> GraphRange:
    part = GraphRange(
        first=row.integer("first", low=1),
        last=row.optional_integer("last", low=1),
        step=row.integer("step", 1, low=1),
    )
    row.finish()
    return part
