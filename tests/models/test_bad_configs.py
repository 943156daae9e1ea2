"""Malformed configurations: one line that names the file, the field and what is wanted; never a guess."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hasten.errors import InputError
from hasten.models import load_model, shape_from_config

CONFIGS: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "configs.json").read_text())
LLAMA, MIXTRAL, QWEN, QWEN_MOE, OSS, GEMMA, DEEPSEEK = (
    CONFIGS[name] for name in ("llama", "mixtral", "qwen", "qwen_moe", "oss", "gemma", "deepseek")
)

GONE = object()


def quantised(method: str, **fields: Any) -> dict[str, Any]:
    """A change that adds a quantisation."""
    return {"quantization_config": {"quant_method": method, **fields}}


GROUP = {"targets": ["Linear"], "weights": {"num_bits": 4, "strategy": "group", "group_size": 128}}

# base configuration, change, words the message must hold
BAD: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (LLAMA, {"hidden_size": GONE}, "hidden_size is missing: give a whole number of at least 1"),
    (LLAMA, {"num_hidden_layers": None}, "num_hidden_layers is missing"),
    (LLAMA, {"vocab_size": GONE}, "vocab_size is missing"),
    (LLAMA, {"intermediate_size": GONE}, "intermediate_size is missing"),
    (LLAMA, {"num_attention_heads": -8}, "num_attention_heads is -8: give at least 1"),
    (LLAMA, {"num_attention_heads": 8.0}, "num_attention_heads is 8.0: give a whole number"),
    (LLAMA, {"num_attention_heads": "8"}, "num_attention_heads is '8': give a whole number"),
    (LLAMA, {"num_attention_heads": True}, "num_attention_heads is True: give a whole number"),
    (LLAMA, {"hidden_size": float("nan")}, "hidden_size is nan: give a whole number"),
    (LLAMA, {"hidden_size": float("inf")}, "hidden_size is inf: give a whole number"),
    (LLAMA, {"hidden_size": [64]}, "hidden_size is a JSON list: give a whole number"),
    (LLAMA, {"hidden_size": 10**30}, "hidden_size is 1000000000000000000000000000000: the limit is"),
    (LLAMA, {"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000: the limit is 16384"),
    (LLAMA, {"num_hidden_layers": 0}, "num_hidden_layers is 0: give at least 1"),
    (LLAMA, {"num_key_value_heads": 3}, "num_key_value_heads is 3: it must divide num_attention_heads (8)"),
    (
        LLAMA,
        {"hidden_size": 65},
        "num_attention_heads is 8: it must divide hidden_size (65), or give head_dim",
    ),
    (LLAMA, {"head_dim": 0}, "head_dim is 0: give at least 1"),
    (LLAMA, {"max_position_embeddings": -1}, "max_position_embeddings is -1: give at least 0"),
    (LLAMA, {"tie_word_embeddings": "yes"}, "tie_word_embeddings is 'yes': give true or false"),
    (LLAMA, {"torch_dtype": "int7"}, "torch_dtype is 'int7': supported are bfloat16"),
    (LLAMA, {"dtype": 16}, "dtype is 16: supported are bfloat16"),
    (LLAMA, {"architectures": ["FalconForCausalLM"]}, "architectures is 'FalconForCausalLM': not supported"),
    (LLAMA, {"architectures": "LlamaForCausalLM"}, "architectures is 'LlamaForCausalLM': give a list"),
    (LLAMA, {"architectures": [7]}, "architectures[0] is 7: give a string"),
    (LLAMA, {"architectures": GONE, "model_type": GONE}, "architectures is missing: supported are"),
    (LLAMA, {"architectures": GONE, "model_type": "mamba"}, "model_type is 'mamba': not supported"),
    (LLAMA, {"layer_types": ["full_attention"]}, "layer_types has 1 entries: num_hidden_layers is 2"),
    (
        LLAMA,
        {"layer_types": ["full_attention", "linear_attention"]},
        "layer_types[1] is 'linear_attention': supported are full_attention, sliding_attention",
    ),
    (LLAMA, {"layer_types": ["sliding_attention"] * 2}, "sliding_window is missing: layer_types asks for"),
    (
        LLAMA,
        {"num_nextn_predict_layers": 1},
        "num_nextn_predict_layers is 1: this field could change the shape",
    ),
    (LLAMA, {"num_experts": 8}, "num_experts is 8: this field could change the shape"),
    (LLAMA, {"attn_layer_indices": [1]}, "attn_layer_indices is a JSON list: this field could change"),
    (LLAMA, {"use_qk_norm": True}, "use_qk_norm is True: this field could change the shape"),
    (LLAMA, {"sliding_window": 4096}, "sliding_window is 4096: this field could change the shape"),
    (
        LLAMA,
        {"rope_scaling": {"rope_type": "yarn", "factor": "4"}},
        "rope_scaling.factor is '4': give a number",
    ),
    (LLAMA, {"rope_scaling": 4}, "rope_scaling is 4: give a JSON object"),
    (MIXTRAL, {"num_local_experts": GONE}, "num_local_experts is missing"),
    (MIXTRAL, {"num_experts_per_tok": 9}, "num_experts_per_tok is 9: there are only 8 experts"),
    (MIXTRAL, {"num_experts_per_tok": 0}, "num_experts_per_tok is 0: give at least 1"),
    (MIXTRAL, {"sliding_window": -1}, "sliding_window is -1: give at least 0"),
    (QWEN, {"use_sliding_window": 1}, "use_sliding_window is 1: give true or false"),
    (QWEN_MOE, {"num_experts": GONE}, "num_experts is missing"),
    (QWEN_MOE, {"mlp_only_layers": [0.5]}, "mlp_only_layers[0] is 0.5: give a whole number"),
    (QWEN_MOE, {"decoder_sparse_step": 0}, "decoder_sparse_step is 0: give at least 1"),
    (OSS, {"layer_types": ["chunked_attention"] * 2}, "layer_types[0] is 'chunked_attention'"),
    (GEMMA, {}, "text_config.intermediate_size is missing"),
    (GEMMA, {"text_config": [1]}, "text_config is a JSON list: give a JSON object"),
    (DEEPSEEK, {"kv_lora_rank": GONE}, "kv_lora_rank is missing"),
    (DEEPSEEK, {"n_routed_experts": None}, "n_routed_experts is missing"),
    (DEEPSEEK, {"index_head_dim": 128}, "index_head_dim is 128: this field could change the shape"),
    (LLAMA, {"quantization_config": "fp8"}, "quantization_config is 'fp8': give a JSON object"),
    (LLAMA, {"quantization_config": {}}, "quantization_config.quant_method is missing: supported are awq"),
    (LLAMA, quantised("hqq"), "quantization_config.quant_method is 'hqq': supported are awq"),
    (LLAMA, quantised("awq"), "quantization_config.w_bit is missing"),
    (LLAMA, quantised("awq", bits=64), "quantization_config.bits is 64: the limit is 16"),
    (LLAMA, quantised("gptq", bits=4, group_size=0.5), "quantization_config.group_size is 0.5"),
    (
        LLAMA,
        quantised("gptq", bits=4, dynamic={"+:0": {}}),
        "quantization_config.dynamic stores some modules",
    ),
    (LLAMA, quantised("fp8", weight_block_size=[128]), "weight_block_size has 1 entries"),
    (
        LLAMA,
        quantised("fp8", modules_to_not_convert="lm_head"),
        "modules_to_not_convert is 'lm_head': give a list",
    ),
    (
        LLAMA,
        quantised("fp8", ignore=["re:("]),
        "quantization_config.ignore holds 're:(': not a regular expression",
    ),
    (LLAMA, quantised("bitsandbytes"), "load_in_4bit and load_in_8bit are both false"),
    (LLAMA, quantised("modelopt", quant_algo="INT3"), "quant_algo is 'INT3': supported are FP8"),
    (LLAMA, quantised("modelopt"), "quantization_config.quant_algo is missing: give one of FP8"),
    (LLAMA, quantised("compressed-tensors"), "config_groups is missing or empty"),
    (
        LLAMA,
        quantised("compressed-tensors", config_groups={"a": 1}),
        "config_groups.a is 1: give a JSON object",
    ),
    (LLAMA, quantised("compressed-tensors", config_groups={"a": {}}), "config_groups.a.weights is missing"),
    (
        LLAMA,
        quantised(
            "compressed-tensors",
            config_groups={"a": GROUP, "b": GROUP | {"weights": {"num_bits": 8, "strategy": "channel"}}},
        ),
        "config_groups.b stores weights differently from the first group",
    ),
    (
        LLAMA,
        quantised("compressed-tensors", config_groups={"a": GROUP | {"targets": ["FusedMoE"]}}),
        "config_groups.a.targets holds 'FusedMoE': of module classes only Linear",
    ),
    (
        LLAMA,
        quantised("compressed-tensors", config_groups={"a": GROUP}, sparsity_config={"format": "sparse-24"}),
        "sparsity_config.format is 'sparse-24': sparse weights are not supported",
    ),
]


def write(path: Path, config: dict[str, Any]) -> Path:
    """Write a configuration, leaving out what is gone."""
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not GONE}))
    return path


@pytest.mark.parametrize(("base", "change", "message"), BAD)
def test_malformed_field(base: dict[str, Any], change: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "config.json", base | change)
    with pytest.raises(InputError) as error:
        load_model(path)
    text = str(error.value)
    assert text.startswith(f"{path}: ")
    assert message in text
    assert "\n" not in text


@pytest.mark.parametrize("base", [LLAMA, MIXTRAL, QWEN, QWEN_MOE, OSS, DEEPSEEK])
def test_the_bases_are_sound(base: dict[str, Any], tmp_path: Path) -> None:
    assert load_model(write(tmp_path / "config.json", base)).parameters > 0


FILES: list[tuple[bytes, str]] = [
    (b"", "line 1: not JSON (Expecting value)"),
    (b"{", "line 1: not JSON"),
    (b'{"a": 1}\n{"b": 2}', "line 2: not JSON (Extra data)"),
    (b"[1, 2]", "holds a JSON list: a model configuration is a JSON object"),
    (b'"llama"', "holds 'llama': a model configuration is a JSON object"),
    (b"null", "holds None: a model configuration is a JSON object"),
    (b"{}", "architectures is missing"),
    (b"\xff\xfe\x00", "not readable as JSON ("),
    (b'{"hidden_size": ' + b"1" * 5000 + b"}", "not readable as JSON (Exceeds the limit"),
    (b"[" * 100_000, "not readable as JSON (maximum recursion depth"),
    (b"GGUF\x03\x00\x00\x00", "line 1: not JSON"),
    (b" " * (2**24 + 1), "is 16777217 bytes, the limit is 16777216"),
]


@pytest.mark.parametrize(("content", "message"), FILES, ids=range(len(FILES)))
def test_malformed_file(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        load_model(path)
    assert str(error.value).startswith(f"{path}: {message}")
    assert "\n" not in str(error.value)


def test_missing_things(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"directory holds no config.json: give one that does"):
        load_model(tmp_path)
    with pytest.raises(InputError, match=r"no such file: give a built-in name or the path of a config.json"):
        load_model(str(tmp_path / "absent.json"))
    with pytest.raises(InputError, match=r"neither a built-in name .* nor an existing file or directory"):
        load_model("org/absent-model")
    with pytest.raises(InputError, match=r"nearest are .*llama-3.1-70b"):
        load_model("llama-3.1-71b")
    with pytest.raises(InputError, match="is empty: give a built-in name"):
        load_model("  ")
    with pytest.raises(InputError, match=r"neither a built-in name"):
        load_model("a\0b")
    with pytest.raises(InputError, match=r"neither a built-in name"):
        load_model("x" * 5000)


def test_bad_separate_quantisation_file(tmp_path: Path) -> None:
    write(tmp_path / "config.json", LLAMA)
    extra = write(tmp_path / "hf_quant_config.json", {"producer": {}})
    with pytest.raises(InputError) as error:
        load_model(tmp_path)
    assert str(error.value).startswith(f"{extra}: quantization is missing")


no_deadline = settings(deadline=None)  # the machine may be busy
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["format", "weights", "a"]), inner)
    ),
    max_leaves=5,
)
fields_of_quantisation = (
    "quant_method", "bits", "group_size", "config_groups", "ignore", "weight_block_size", "kv_cache_scheme",
    "load_in_4bit", "quant_algo", "sparsity_config", "zero_point",
)  # fmt: skip
methods = st.sampled_from(["awq", "gptq", "fp8", "mxfp4", "compressed-tensors", "modelopt", "bitsandbytes"])


@no_deadline
@given(st.sampled_from(sorted(CONFIGS)), st.data())
def test_any_value_gives_a_shape_or_one_line(base: str, data: st.DataObject) -> None:
    config = dict(CONFIGS[base])
    config[data.draw(st.sampled_from([*config, "layer_types", "rope_scaling", "sliding_window"]))] = (
        data.draw(json_values)
    )
    if data.draw(st.booleans()):
        stored = data.draw(st.dictionaries(st.sampled_from(fields_of_quantisation), json_values, max_size=4))
        config["quantization_config"] = {"quant_method": data.draw(methods), **stored}
    assert outcome(config) in ("shape", "one line")


def outcome(config: dict[str, Any]) -> str:
    """What reading a configuration ends in, when in nothing worse."""
    try:
        model = shape_from_config(config, where="config.json", name="drawn")
    except InputError as error:
        text = str(error)
        return "one line" if text.startswith("config.json: ") and "\n" not in text else text
    return "shape" if model.weight_bytes > 0 else "no weights"
