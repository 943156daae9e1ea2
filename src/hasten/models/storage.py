"""Reading `quantization_config` (or modelopt's hf_quant_config.json): how the weights are stored.

Of each method only the fields that change size or speed are read; the rest says how the weights were made.
A field that stores some modules differently from the others is refused, as we would miscount it.
"""

from collections.abc import Callable

from hasten.models.fields import Fields, shorten
from hasten.models.quantisation import Quantisation, pattern_error

MAX_BITS = 16
MAX_GROUP = 2**20


def read_quantisation(fields: Fields) -> Quantisation:
    """The storage a quantisation object describes. Raises InputError for an unsupported method or field."""
    method = fields.text("quant_method")
    if not method and (fields.has("load_in_4bit") or fields.has("load_in_8bit")):
        method = "bitsandbytes"  # its early files don't name it
    if not method:
        raise fields.fail("quant_method", f"is missing: supported are {', '.join(METHODS)}")
    if method not in METHODS:
        raise fields.fail("quant_method", f"is {shorten(method)}: supported are {', '.join(METHODS)}")
    found = METHODS[method](fields)
    for entry in found.excluded + found.targets:
        if problem := pattern_error(entry):
            raise fields.fail("ignore", f"holds {shorten(entry)}: {problem}")
    return found


def _excluded(fields: Fields) -> tuple[str, ...]:
    names = ("modules_to_not_convert", "ignore", "ignored_layers", "exclude_modules", "llm_int8_skip_modules")
    return tuple(_own_path(entry) for name in names for entry in fields.strings(name))


def _own_path(entry: str) -> str:
    """An entry as a text-only checkpoint would spell it: multimodal ones nest the language model."""
    for nested in ("model.language_model.", "language_model.model.", "language_model."):
        if entry.startswith(nested):
            return "model." + entry.removeprefix(nested)
    return entry


def _group(fields: Fields, *names: str, default: int) -> int:
    """Weights per scale; 0 (written -1 or null) means one scale per output channel."""
    name = next((name for name in names if fields.has(name)), names[0])
    return max(fields.integer(name, default, at_least=-1, at_most=MAX_GROUP), 0)


def _block(fields: Fields, name: str) -> int:
    """Weights in a rectangular block that shares a scale; 0 when absent."""
    sides = fields.integers(name, at_least=1, at_most=MAX_GROUP)
    if sides and len(sides) != 2:
        raise fields.fail(name, f"has {len(sides)} entries: give rows and columns of a block")
    return sides[0] * sides[1] if sides else 0


def _kv_bits(fields: Fields, name: str = "kv_cache_scheme") -> float | None:
    scheme = fields.inner(name)
    return None if scheme is None else scheme.integer("num_bits", at_most=MAX_BITS)


def _fp8(fields: Fields) -> Quantisation:
    """8-bit floats; with `weight_block_size` one 32-bit scale per block (DeepSeek-V3 README_WEIGHTS.md)."""
    block = _block(fields, "weight_block_size")
    return Quantisation(
        "fp8", 8, activation_bits=8, kv_bits=_kv_bits(fields), group_size=block,
        scale_bits=32 if block else 0, excluded=_excluded(fields),
    )  # fmt: skip


def _fbgemm_fp8(fields: Fields) -> Quantisation:
    """8-bit floats with one 32-bit scale per output channel."""
    return Quantisation("fbgemm_fp8", 8, activation_bits=8, scale_bits=32, excluded=_excluded(fields))


def _awq(fields: Fields) -> Quantisation:
    """Integers with a 16-bit scale and a packed zero point per group of inputs (arXiv:2306.00978)."""
    bits = fields.integer("bits" if fields.has("bits") else "w_bit", at_most=MAX_BITS)
    group = _group(fields, "group_size", "q_group_size", default=128)
    zero = bits if fields.flag("zero_point", True) else 0
    return Quantisation(
        "awq", bits, group_size=group, scale_bits=16 + zero, excluded=_excluded(fields)
    )  # fmt: skip


def _gptq(fields: Fields) -> Quantisation:
    """Integers with a 16-bit scale and a packed zero point per group, also when symmetric (arXiv:2210.17323).

    The order index (32 bits per input row) is left out: under 0.1 % of a 4-bit matrix.
    """
    bits = fields.integer("bits", at_most=MAX_BITS)
    if fields.has("dynamic") and fields.values["dynamic"]:
        raise fields.fail("dynamic", "stores some modules differently: not supported")
    return Quantisation(
        "gptq", bits, group_size=_group(fields, "group_size", default=128), scale_bits=16 + bits,
        excluded=_excluded(fields), lm_head=fields.flag("lm_head"),
    )  # fmt: skip


def _mxfp4(fields: Fields) -> Quantisation:
    """4-bit floats with an 8-bit scale per 32, on the experts only (OCP Microscaling Formats 1.0)."""
    return Quantisation(
        "mxfp4", 4, group_size=32, scale_bits=8, excluded=_excluded(fields), targets=("mlp.experts",)
    )  # fmt: skip


def _bitsandbytes(fields: Fields) -> Quantisation:
    """8 bits with a 32-bit scale per row, or 4 bits with one per 64, itself stored in 8 bits if nested."""
    if fields.flag("load_in_4bit"):
        nested = fields.flag("bnb_4bit_use_double_quant")
        scale = 8 + 32 / 256 if nested else 32  # arXiv:2305.14314, section 3
        return Quantisation(
            "bitsandbytes", 4, group_size=64, scale_bits=scale, excluded=_excluded(fields)
        )  # fmt: skip
    if not fields.flag("load_in_8bit"):
        raise fields.fail("load_in_4bit", "and load_in_8bit are both false: one must be true")
    return Quantisation(
        "bitsandbytes", 8, activation_bits=8, scale_bits=32, excluded=_excluded(fields)
    )  # fmt: skip


_MODELOPT = {  # algorithm: weight bits, activation bits, weights per scale, bits per scale
    "FP8": (8, 8, 0, 0),
    "NVFP4": (4, 4, 16, 8),
    "W4A16_AWQ": (4, 16, 128, 16),
    "W4A8_AWQ": (4, 8, 128, 16),
}


def _modelopt(fields: Fields) -> Quantisation:
    """NVIDIA modelopt's algorithms."""
    weight, activation, group, scale = fields.choice("quant_algo", _MODELOPT)
    if group:
        group = _group(fields, "group_size", default=group)
    kv = fields.choice("kv_cache_quant_algo", {"FP8": 8.0, "NVFP4": 4.5}, None)
    return Quantisation(
        "modelopt", weight, activation_bits=activation, group_size=group, scale_bits=scale,
        kv_bits=_kv_bits(fields) if kv is None else kv, excluded=_excluded(fields),
    )  # fmt: skip


def _compressed_tensors(fields: Fields) -> Quantisation:
    """The groups of a compressed-tensors file, which must all store their weights alike."""
    sparsity = fields.inner("sparsity_config")
    if sparsity is not None and sparsity.text("format", "dense") != "dense":
        raise sparsity.fail("format", f"is {sparsity.text('format')!r}: sparse weights are not supported")
    groups = fields.inner("config_groups")
    if groups is None or not groups.values:
        raise fields.fail("config_groups", "is missing or empty: it says how weights are stored")
    layout = fields.text("format")
    parts = [_scheme(group, layout) for name in groups.values if (group := groups.inner(name)) is not None]
    if not parts:
        raise fields.fail("config_groups", "holds no group: it says how weights are stored")
    first = parts[0]
    for name, part in zip(groups.values, parts, strict=False):
        if part.weight_bits != first.weight_bits or part.group_size != first.group_size:
            raise groups.fail(
                name, "stores weights differently from the first group: one layout is supported"
            )
    targets = tuple(dict.fromkeys(target for part in parts for target in part.targets))
    return Quantisation(
        "compressed-tensors", first.weight_bits, activation_bits=first.activation_bits,
        group_size=first.group_size, scale_bits=first.scale_bits, kv_bits=_kv_bits(fields),
        excluded=_excluded(fields), targets=targets,
    )  # fmt: skip


def _scheme(group: Fields, layout: str) -> Quantisation:
    weights = group.inner("weights")
    if weights is None:
        raise group.fail("weights", "is missing: groups without quantised weights are not supported")
    bits = weights.integer("num_bits", at_most=MAX_BITS)
    strategies = {"tensor": 0, "channel": 16, "group": 16, "tensor_group": 8, "block": 16}
    scale = weights.choice("strategy", strategies, 16 if weights.has("group_size") else 0)
    if "mxfp4" in (group.text("format") or layout):
        scale = 8
    size = _block(weights, "block_structure") or _group(weights, "group_size", default=0)
    zero = 0 if weights.flag("symmetric", True) or scale == 0 else bits
    inputs = group.inner("input_activations")
    targets = tuple(group.strings("targets"))
    for target in targets:
        if target != "Linear" and target.isidentifier() and target[0].isupper():
            raise group.fail(
                "targets", f"holds {shorten(target)}: of module classes only Linear is supported"
            )
    return Quantisation(
        "compressed-tensors", bits, group_size=size, scale_bits=scale + zero, targets=targets or ("Linear",),
        activation_bits=16 if inputs is None else inputs.integer("num_bits", at_most=MAX_BITS),
    )  # fmt: skip


METHODS: dict[str, Callable[[Fields], Quantisation]] = {
    "awq": _awq,
    "bitsandbytes": _bitsandbytes,
    "compressed-tensors": _compressed_tensors,
    "fbgemm_fp8": _fbgemm_fp8,
    "fp8": _fp8,
    "gptq": _gptq,
    "modelopt": _modelopt,
    "mxfp4": _mxfp4,
}
