"""Reading well-formed configurations: defaults, nesting, windows and fields without effect."""

import json
from pathlib import Path
from typing import Any

import pytest

from hasten.models import ModelShape, load_model, shape_from_config

CONFIGS: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "configs.json").read_text())
LLAMA, MIXTRAL, QWEN, QWEN_MOE, OSS, DEEPSEEK = (
    CONFIGS[name] for name in ("llama", "mixtral", "qwen", "qwen_moe", "oss", "deepseek")
)


def shape(base: dict[str, Any], **change: Any) -> ModelShape:
    """The shape of a changed configuration."""
    return shape_from_config(base | change, where="config.json", name="test")


def test_defaults() -> None:
    config = {key: LLAMA[key] for key in LLAMA if key not in ("num_key_value_heads", "torch_dtype")}
    model = shape(config)
    attention = model.layers[0].attention
    assert (attention.kv_heads, attention.head_dim, model.dtype_bytes) == (8, 8, 2)
    assert not model.tied_embeddings
    assert model.quantisation is None
    assert model.max_context == 1024


def test_model_type_stands_in_for_architectures() -> None:
    config = {key: value for key, value in LLAMA.items() if key != "architectures"}
    assert shape(config).parameters == shape(LLAMA).parameters


def test_parameters_by_hand() -> None:
    layer = 64 * (64 + 2 * 32) + 64 * 64 + 3 * 64 * 128 + 2 * 64
    assert shape(LLAMA).parameters == 2 * layer + 2 * 1000 * 64 + 64
    assert shape(LLAMA, tie_word_embeddings=True).parameters == 2 * layer + 1000 * 64 + 64


@pytest.mark.parametrize(
    ("base", "change", "more"),
    [
        (LLAMA, {"attention_bias": True}, 64 + 2 * 32 + 64),
        (LLAMA, {"mlp_bias": True}, 2 * 128 + 64),
        (QWEN, {}, 64 + 2 * 32),
        (QWEN, {"qkv_bias": False}, 0),
        (LLAMA, {"architectures": ["Qwen3ForCausalLM"]}, 2 * 8),
    ],
)
def test_what_biases_and_norms_add_to_a_layer(
    base: dict[str, Any], change: dict[str, Any], more: int
) -> None:
    assert shape(base, **change).parameters == shape(LLAMA).parameters + 2 * more


def test_mixtures_by_hand() -> None:
    attention = 64 * (64 + 2 * 32) + 64 * 64
    mixtral = shape(MIXTRAL)
    layer = attention + 8 * 3 * 64 * 128 + 8 * 64 + 2 * 64
    assert mixtral.parameters == 2 * layer + 2 * 1000 * 64 + 64
    assert mixtral.parameters - mixtral.active_parameters == 2 * 6 * 3 * 64 * 128
    oss = shape(OSS)
    biases = 64 + 2 * 32 + 64 + 8 + 8 * (2 * 128 + 64)
    assert oss.parameters == mixtral.parameters + 2 * (biases + 8)  # and a sink per head
    shared = shape(
        QWEN_MOE | {"architectures": ["Qwen2MoeForCausalLM"], "shared_expert_intermediate_size": 48}
    )
    layer = attention + (64 + 64) + 8 * 3 * 64 * 32 + 8 * 64 + 3 * 64 * 48 + 64 + 2 * 64
    assert shared.parameters == 2 * layer + 2 * 1000 * 64 + 64


def test_latent_attention_by_hand() -> None:
    model = shape(DEEPSEEK, n_shared_experts=2, first_k_dense_replace=1, num_nextn_predict_layers=1)
    attention = 64 * (24 + 16 + 4) + 24 * 8 * 12 + 16 * 8 * 16 + 8 * 8 * 64 + 24 + 16
    dense = 3 * 64 * 128
    mixture = 64 * 8 + (8 + 2) * 3 * 64 * 32
    last = attention + mixture + 2 * 64
    assert model.parameters == 2 * attention + dense + mixture + 4 * 64 + 2 * 1000 * 64 + 64
    assert model.mtp_parameters == last + 2 * 64 * 64 + 3 * 64
    assert model.kv_bytes_per_token() == 2 * (16 + 4) * 2
    direct = shape(DEEPSEEK, q_lora_rank=None)
    names = [each.name for each in direct.layers[0].linears(64)]
    assert names[:4] == ["q_proj", "kv_a_proj", "kv_b_proj", "o_proj"]


def test_dense_layers_of_a_mixture() -> None:
    model = shape(QWEN_MOE, num_hidden_layers=4, decoder_sparse_step=2, mlp_only_layers=[3])
    assert [model.layers[i].ffn.is_mixture for i in model.order] == [False, True, False, False]
    assert [group.count for group in model.layers] == [3, 1]


def windows(model: ModelShape) -> list[int | None]:
    """The window of each layer in order."""
    return [model.layers[i].attention.window for i in model.order]


def test_windows() -> None:
    mistral = LLAMA | {"architectures": ["MistralForCausalLM"]}
    assert windows(shape(mistral, sliding_window=256)) == [256, 256]
    assert windows(shape(mistral, sliding_window=None)) == [None, None]
    assert windows(shape(QWEN, sliding_window=256, use_sliding_window=False)) == [None, None]
    used = {"sliding_window": 256, "use_sliding_window": True}
    assert windows(shape(QWEN, **used, max_window_layers=1)) == [None, 256]
    kinds = ["sliding_attention", "full_attention"]
    assert windows(shape(QWEN, **used, layer_types=kinds)) == [256, None]
    assert windows(shape(OSS)) == [128, None]
    assert windows(shape(OSS, layer_types=kinds[::-1], sliding_window=64)) == [None, 64]


def test_gemma_reads_the_nested_text_model() -> None:
    text = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 12}
    model = shape_from_config(
        {
            "architectures": ["Gemma3ForConditionalGeneration"],
            "text_config": text | {"model_type": "gemma3_text"},
            "torch_dtype": "float32",
            "vision_config": {"hidden_size": 9999, "num_hidden_layers": 27},
        },
        where="config.json",
        name="gemma",
    )
    assert model.num_layers == 12
    assert model.dtype_bytes == 4
    assert model.tied_embeddings
    assert model.vocab == 262_208
    assert windows(model) == [4096] * 5 + [None] + [4096] * 5 + [None]
    flat = text | {"architectures": ["Gemma3ForCausalLM"], "dtype": "bfloat16", "sliding_window_pattern": 2}
    assert windows(shape_from_config(flat, where="config.json", name="gemma"))[:4] == [4096, None] * 2


def test_context_under_yarn() -> None:
    scaling = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}
    assert shape(LLAMA, rope_scaling=scaling).max_context == 4096
    assert shape(LLAMA, rope_parameters=scaling, max_position_embeddings=8192).max_context == 8192
    assert shape(LLAMA, rope_scaling=scaling | {"rope_type": "llama3"}).max_context == 1024


def test_fields_without_effect_are_ignored() -> None:
    harmless = {
        "_name_or_path": "anything",
        "attention_dropout": 0.1,
        "bos_token_id": 1,
        "eos_token_id": [2, 3],
        "hidden_act": "silu",
        "id2label": {"0": "a"},
        "index_topk_freq": None,
        "initializer_range": 0.02,
        "mtp_num_layers": 0,
        "num_experts": None,
        "output_hidden_states": True,
        "pretraining_tp": 4,
        "rms_norm_eps": 1e-5,
        "sliding_window": None,
        "transformers_version": "4.47.0",
        "use_cache": True,
    }
    assert shape(LLAMA, **harmless).parameters == shape(LLAMA).parameters


def test_kimi_k2_reads_as_deepseek() -> None:
    model = load_model("kimi-k2")
    assert model.architecture == "DeepseekV3ForCausalLM"
    assert [group.count for group in model.layers] == [1, 60]


def test_names_of_files(tmp_path: Path) -> None:
    folder = tmp_path / "tiny-llama"
    folder.mkdir()
    path = folder / "config.json"
    path.write_text(json.dumps(LLAMA))
    assert load_model(folder) == load_model(path) == load_model(str(path))
    assert load_model(folder).name == "tiny-llama"
    assert load_model(folder).source == str(path)
    other = folder / "variant.json"
    other.write_text(json.dumps(LLAMA))
    assert load_model(other).name == "variant"


def test_a_bare_built_in_name_wins_over_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("llama-3.1-8b", "my-model"):
        Path(name).mkdir()
        (Path(name) / "config.json").write_text(json.dumps(LLAMA))
    assert load_model("llama-3.1-8b").num_layers == 32
    assert load_model("./llama-3.1-8b").num_layers == 2
    assert load_model("my-model").num_layers == 2
