"""Quantised checkpoints: bytes per weight by method, and which modules stay as they were."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hasten.models import ModelShape, load_model, shape_from_config
from hasten.models.load import SHAPES
from hasten.models.quantisation import matches

PARAMETERS = 8_030_261_248
LINEAR = 32 * (4096 * 6144 + 4096 * 4096 + 3 * 4096 * 14336)  # weights of the layers' operators
REST = PARAMETERS - LINEAR  # embedding, head, norms


def config(name: str, **change: Any) -> dict[str, Any]:
    """A built-in configuration with changes."""
    values: dict[str, Any] = json.loads((SHAPES / f"{name}.json").read_text())
    return values | change


def quantised(method: str, name: str = "llama-3.1-8b", **fields: Any) -> ModelShape:
    """A built-in model stored by a method."""
    values = config(name, quantization_config={"quant_method": method, **fields})
    return shape_from_config(values, where="config.json", name=name)


def groups(weights: dict[str, Any], **group: Any) -> dict[str, Any]:
    """The config_groups of a compressed-tensors file with one group."""
    return {"group_0": {"targets": ["Linear"], "weights": weights, **group}}


INT4 = {"num_bits": 4, "strategy": "group", "group_size": 128, "type": "int"}

BITS = [  # method, fields, bits per weight with scales, activation bits
    ("fp8", {}, 8, 8),
    ("fp8", {"weight_block_size": [128, 128]}, 8 + 32 / 128**2, 8),
    ("awq", {"bits": 4, "group_size": 128, "zero_point": True}, 4 + 20 / 128, 16),
    ("awq", {"w_bit": 4, "q_group_size": 64, "zero_point": False}, 4 + 16 / 64, 16),
    ("gptq", {"bits": 4, "group_size": 128, "sym": True, "damp_percent": 0.1}, 4 + 20 / 128, 16),
    ("gptq", {"bits": 8, "group_size": 32}, 8 + 24 / 32, 16),
    ("bitsandbytes", {"load_in_4bit": True}, 4 + 32 / 64, 16),
    ("bitsandbytes", {"load_in_4bit": True, "bnb_4bit_use_double_quant": True}, 4 + 8.125 / 64, 16),
    ("modelopt", {"quant_algo": "FP8"}, 8, 8),
    ("modelopt", {"quant_algo": "NVFP4", "group_size": 16}, 4.5, 4),
    ("modelopt", {"quant_algo": "W4A16_AWQ"}, 4 + 16 / 128, 16),
    ("compressed-tensors", {"config_groups": groups(INT4)}, 4 + 16 / 128, 16),
    ("compressed-tensors", {"config_groups": groups(INT4 | {"symmetric": False})}, 4 + 20 / 128, 16),
    (
        "compressed-tensors",
        {"config_groups": groups({"num_bits": 8, "strategy": "tensor"}, input_activations={"num_bits": 8})},
        8,
        8,
    ),
    (
        "compressed-tensors",
        {"config_groups": groups({"num_bits": 4, "strategy": "tensor_group", "group_size": 16})},
        4.5,
        16,
    ),
    (
        "compressed-tensors",
        {
            "config_groups": groups({"num_bits": 4, "strategy": "group", "group_size": 32, "type": "float"}),
            "format": "mxfp4-pack-quantized",
        },
        4.25,
        16,
    ),
    (
        "compressed-tensors",
        {"config_groups": groups({"num_bits": 8, "strategy": "block", "block_structure": [128, 128]})},
        8 + 16 / 128**2,
        16,
    ),
]


@pytest.mark.parametrize(("method", "fields", "bits", "activation"), BITS)
def test_bytes_by_method(method: str, fields: dict[str, Any], bits: float, activation: int) -> None:
    model = quantised(method, **fields)
    assert model.weight_bytes == pytest.approx(LINEAR * bits / 8 + REST * 2, rel=1e-12)
    assert model.parameters == PARAMETERS
    assert model.quantisation is not None
    assert model.quantisation.activation_bits == activation
    for linear in model.layers[0].linears(model.hidden):
        assert model.weight_bits(model.layers[0], linear) == pytest.approx(bits)


CHANNELS = 32 * (6144 + 4096 + 2 * 14336 + 4096)  # output channels of the layers' operators


@pytest.mark.parametrize(
    ("method", "fields", "scale"),
    [
        ("fbgemm_fp8", {}, 32),
        ("bitsandbytes", {"load_in_8bit": True}, 32),
        ("compressed-tensors", {"config_groups": groups({"num_bits": 8, "strategy": "channel"})}, 16),
        ("gptq", {"bits": 8, "group_size": -1}, 24),
    ],
)
def test_one_scale_per_output_channel(method: str, fields: dict[str, Any], scale: int) -> None:
    assert quantised(method, **fields).weight_bytes == LINEAR + CHANNELS * scale / 8 + REST * 2


def test_early_bitsandbytes_files_name_no_method() -> None:
    values = config("llama-3.1-8b", quantization_config={"load_in_8bit": True})
    found = shape_from_config(values, where="config.json", name="old").quantisation
    assert found is not None
    assert found.method == "bitsandbytes"


def test_excluded_modules_keep_sixteen_bits() -> None:
    everything = quantised("fp8")
    without = quantised("fp8", modules_to_not_convert=["model.layers.0.mlp.down_proj", "lm_head"])
    assert without.weight_bytes - everything.weight_bytes == 4096 * 14336
    attention = quantised("fp8", modules_to_not_convert=["self_attn"])
    assert attention.weight_bytes - everything.weight_bytes == 32 * (4096 * 6144 + 4096 * 4096)
    pattern = quantised("fp8", ignore=["re:.*layers\\.[0-3]\\..*"])
    assert pattern.weight_bytes - everything.weight_bytes == LINEAR / 32 * 4
    nested = quantised("fp8", ignore=["language_model.model.layers.0.mlp.down_proj", "vision_tower"])
    assert nested.weight_bytes == without.weight_bytes


def test_mixed_layers_are_averaged_for_work_and_exact_for_stages() -> None:
    model = quantised("fp8", modules_to_not_convert=[f"model.layers.{i}" for i in range(16)])
    down = model.layers[0].linears(model.hidden)[-1]
    assert model.weight_bits(model.layers[0], down) == 12
    assert model.weight_bytes_per_device(1, 2) == LINEAR / 2 * 2 + (128_256 + 32) * 4096 * 2


def test_head_is_quantised_only_on_request() -> None:
    plain = quantised("gptq", bits=4, group_size=128)
    with_head = quantised("gptq", bits=4, group_size=128, lm_head=True)
    head = 128_256 * 4096
    assert plain.weight_bytes - with_head.weight_bytes == pytest.approx(head * (2 - (4 + 20 / 128) / 8))


def test_kimi_thinking_ignores_all_but_the_experts() -> None:
    fields = {
        "config_groups": groups(INT4 | {"group_size": 32}),
        "format": "pack-quantized",
        "ignore": [
            "re:.*self_attn.*", "re:.*shared_experts.*",
            "re:.*mlp\\.(gate|up|gate_up|down)_proj.*", "re:.*lm_head.*", "re:vision_tower.*",
        ],
    }  # fmt: skip
    model = quantised("compressed-tensors", "kimi-k2", **fields)
    group = model.layers[1]
    bits = {each.name: model.weight_bits(group, each) for each in group.linears(model.hidden)}
    assert bits["expert_gate_up_proj"] == bits["expert_down_proj"] == 4.5
    assert {bits[name] for name in bits if not name.startswith("expert_")} == {16}
    experts = 60 * 384 * 3 * 7168 * 2048
    assert model.weight_bytes == experts * 4.5 / 8 + (model.parameters - experts) * 2


def test_kv_cache_types() -> None:
    scheme = {"num_bits": 8, "type": "float", "strategy": "tensor"}
    for fields in ({"kv_cache_scheme": scheme}, {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}):
        model = quantised("modelopt" if "quant_algo" in fields else "fp8", **fields)
        assert model.kv_bytes_per_token() == 65_536
        assert model.kv_bytes_per_token(2) == 131_072


def test_modelopt_file_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config("deepseek-v3", quantization_config=None)))
    stored = {"quant_algo": "NVFP4", "group_size": 16, "kv_cache_quant_algo": None}
    ignored = ["lm_head", *(f"model.layers.{layer}.self_attn*" for layer in range(61))]
    (tmp_path / "hf_quant_config.json").write_text(
        json.dumps({"quantization": stored | {"exclude_modules": ignored}})
    )
    model = load_model(tmp_path)
    attention = sum(each.weights for each in model.layers[0].attention.linears(model.hidden))
    four_bit = 3 * 3 * 7168 * 18432 + 58 * 257 * 3 * 7168 * 2048
    assert model.weight_bytes == pytest.approx(four_bit * 4.5 / 8 + (model.parameters - four_bit) * 2)
    assert attention * 61 < model.parameters - four_bit


@pytest.mark.parametrize(
    ("entry", "hit"),
    [
        ("lm_head", False),
        ("model.layers.1", True),
        ("model.layers.10", False),
        ("layers.1.mlp", True),
        ("down_proj", True),
        ("own_proj", False),
        ("model.layers.*.mlp", True),
        ("*mlp*", True),
        ("model.layers.1.m*", True),
        ("re:model", True),
        ("re:mlp", False),
        ("re:.*mlp", True),
        ("re:.*proj$", True),
    ],
)
def test_entries_of_ignore_lists(entry: str, hit: bool) -> None:
    assert matches("model.layers.1.mlp.down_proj", (entry,)) is hit


no_deadline = settings(deadline=None)  # the machine may be busy
components = st.lists(st.sampled_from(["model", "layers", "mlp", "0", "1", "x"]), min_size=1, max_size=5)


@no_deadline
@given(components, components)
def test_plain_entries_match_whole_runs_of_components(path: list[str], entry: list[str]) -> None:
    size = len(entry)
    expected = any(path[i : i + size] == entry for i in range(len(path) - size + 1))
    assert matches(".".join(path), (".".join(entry),)) is expected
