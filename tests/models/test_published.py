"""Built-in shapes against published figures: parameters, active parameters, checkpoint and KV cache sizes."""

import json
import subprocess
import sys
import time
from typing import Any

import pytest

from hasten.models import ModelShape, load_model, model_names
from hasten.models.load import SHAPES

TOLERANCE = 0.005

# Written here as well as in the data files, so that an edit of one alone is noticed.
PARAMETERS = {
    "deepseek-r1": 671e9,
    "deepseek-v2-lite": 15.7e9,
    "deepseek-v3": 671e9,
    "gemma-3-12b": 11_765_788_416,
    "gemma-3-1b": 999_885_952,
    "gemma-3-27b": 27_009_002_240,
    "gemma-3-4b": 3_880_099_328,
    "gpt-oss-120b": 116.83e9,
    "gpt-oss-20b": 20.91e9,
    "llama-2-13b": 13_015_864_320,
    "llama-2-70b": 68_976_648_192,
    "llama-2-7b": 6_738_415_616,
    "llama-3-8b": 8_030_261_248,
    "llama-3.1-405b": 405_853_388_800,
    "llama-3.1-70b": 70_553_706_496,
    "llama-3.1-8b": 8_030_261_248,
    "llama-3.2-1b": 1_235_814_400,
    "llama-3.2-3b": 3_212_749_824,
    "llama-3.3-70b": 70_553_706_496,
    "mistral-7b": 7_241_732_096,
    "mistral-7b-v0.1": 7_241_732_096,
    "mistral-7b-v0.3": 7_248_023_552,
    "mistral-nemo-12b": 12_247_782_400,
    "mistral-small-24b": 23_572_403_200,
    "mixtral-8x22b": 141e9,
    "mixtral-8x7b": 46_702_792_704,
    "qwen1.5-moe-a2.7b": 14.3e9,
    "qwen2.5-0.5b": 494_032_768,
    "qwen2.5-14b": 14_770_033_664,
    "qwen2.5-32b": 32_763_876_352,
    "qwen2.5-72b": 72_706_203_648,
    "qwen2.5-7b": 7_615_616_512,
    "qwen3-0.6b": 596_049_920,
    "qwen3-14b": 14_768_307_200,
    "qwen3-235b-a22b": 235_093_634_560,
    "qwen3-30b-a3b": 30_532_122_624,
    "qwen3-32b": 32_762_123_264,
    "qwen3-4b": 4_022_468_096,
    "qwen3-8b": 8_190_735_360,
}

# Bytes per token at 16 bits while no sliding window is full.
KV_BYTES = {
    "deepseek-v3": 70_272,  # 61 layers x (512 + 64) x 2
    "deepseek-v2-lite": 31_104,
    "gemma-3-27b": 507_904,
    "gpt-oss-120b": 73_728,
    "gpt-oss-20b": 49_152,
    "llama-2-7b": 524_288,
    "llama-3.1-405b": 516_096,
    "llama-3.1-70b": 327_680,
    "llama-3.1-8b": 131_072,
    "mistral-7b": 131_072,
    "mixtral-8x7b": 131_072,
    "qwen2.5-7b": 57_344,
    "qwen3-235b-a22b": 192_512,
    "qwen3-30b-a3b": 98_304,
    "qwen3-8b": 147_456,
}


def published(name: str) -> dict[str, Any]:
    """The published figures in a built-in shape's data file."""
    figures: dict[str, Any] = json.loads((SHAPES / f"{name}.json").read_text())["_published_parameters"]
    return figures


@pytest.mark.parametrize(("name", "expected"), PARAMETERS.items())
def test_parameters_match_the_publisher(name: str, expected: float) -> None:
    assert load_model(name).parameters == pytest.approx(expected, rel=TOLERANCE)


@pytest.mark.parametrize(
    ("name", "expected"), [item for item in PARAMETERS.items() if isinstance(item[1], int)]
)
def test_exact_counts_differ_only_by_padded_vocabulary(name: str, expected: int) -> None:
    model = load_model(name)
    assert (model.parameters - expected) % model.hidden == 0
    assert 0 <= model.parameters - expected <= 64 * model.hidden  # Gemma's file pads for image tokens


@pytest.mark.parametrize("name", model_names())
def test_data_file_agrees_with_its_own_published_figures(name: str) -> None:
    model, figures = load_model(name), published(name)
    assert figures["source"]
    assert model.source.startswith("huggingface.co/")
    assert model.parameters == pytest.approx(figures["total"], rel=figures.get("tolerance", TOLERANCE))
    if "active" in figures:
        unused = model.embedding_parameters if figures.get("active_without_embedding") else 0
        limit = figures.get("active_tolerance", TOLERANCE)
        assert model.active_parameters - unused == pytest.approx(figures["active"], rel=limit)
    if "mtp" in figures:
        assert model.mtp_parameters == pytest.approx(figures["mtp"], rel=figures["mtp_tolerance"])
    if "checkpoint_gib" in figures:
        assert model.weight_bytes / 2**30 == pytest.approx(figures["checkpoint_gib"], rel=TOLERANCE)


@pytest.mark.parametrize(("name", "expected"), KV_BYTES.items())
def test_kv_bytes_per_token(name: str, expected: int) -> None:
    assert load_model(name).kv_bytes_per_token(2) == expected


def test_kv_bytes_follow_the_cache_type() -> None:
    model = load_model("llama-3.1-8b")
    assert model.kv_bytes_per_token() == 131_072
    assert model.kv_bytes_per_token(1) == 65_536
    assert load_model("deepseek-v3").kv_bytes_per_token() == 70_272  # fp8 weights leave the cache at 16 bits


def test_sliding_windows_bound_the_cache() -> None:
    model = load_model("gemma-3-27b")
    # 62 layers: 10 see everything, 52 at most 1,024 tokens; 16 KV heads x 128, K and V, 2 bytes.
    assert model.kv_bytes(131_072) == (10 * 131_072 + 52 * 1_024) * 2 * 16 * 128 * 2
    assert model.kv_bytes(1_000) == 1_000 * model.kv_bytes_per_token()
    oss = load_model("gpt-oss-20b")
    assert oss.kv_bytes(8_192) == (12 * 8_192 + 12 * 128) * 2 * 8 * 64 * 2


def test_mixture_sizes() -> None:
    model = load_model("deepseek-v3")
    assert [group.count for group in model.layers] == [3, 58]
    assert model.order[:4] == (0, 0, 0, 1)
    # The checkpoint holds main model and prediction module: 685 billion (published), at about 8 bits.
    assert model.parameters + model.mtp_parameters + 2 * model.embedding_parameters == pytest.approx(
        685e9, rel=TOLERANCE
    )
    assert model.weight_bytes == pytest.approx(model.parameters, rel=0.01)
    assert load_model("qwen3-30b-a3b").active_parameters == pytest.approx(3.35e9, rel=TOLERANCE)


def test_enough_built_in_shapes() -> None:
    assert len(model_names()) >= 24
    assert model_names() == sorted(model_names())


ALIASES = {
    "meta-llama/Llama-3.1-8B-Instruct": "llama-3.1-8b",
    "meta-llama/Meta-Llama-3.1-70B": "llama-3.1-70b",
    "Llama_3_1_8B": "llama-3.1-8b",
    "LLAMA-3.1-8B": "llama-3.1-8b",
    "llama 3.1 8b instruct": "llama-3.1-8b",
    "meta-llama/Llama-2-7b-chat-hf": "llama-2-7b",
    "mistralai/Mistral-7B-v0.1": "mistral-7b-v0.1",
    "mistralai/Mistral-7B-Instruct-v0.2": "mistral-7b",
    "mistralai/Mistral-Nemo-Instruct-2407": "mistral-nemo-12b",
    "mistralai/Mixtral-8x7B-Instruct-v0.1": "mixtral-8x7b",
    "Qwen/Qwen2.5-72B-Instruct": "qwen2.5-72b",
    "Qwen/Qwen3-30B-A3B": "qwen3-30b-a3b",
    "Qwen/Qwen3-30B-A3B-Instruct-2507": "qwen3-30b-a3b-2507",
    "google/gemma-3-27b-it": "gemma-3-27b",
    "openai/gpt-oss-120b": "gpt-oss-120b",
    "deepseek-ai/DeepSeek-V3-0324": "deepseek-v3",
    "deepseek-ai/DeepSeek-R1": "deepseek-r1",
}


@pytest.mark.parametrize(("alias", "name"), ALIASES.items())
def test_repository_ids_name_built_in_shapes(alias: str, name: str) -> None:
    assert load_model(alias).name == name


def test_every_name_is_reachable_and_unambiguous() -> None:
    for name in model_names():
        assert load_model(name).name == name
        assert load_model(name.upper().replace("-", "_")).name == name


def test_a_quantised_repository_is_not_taken_for_the_plain_one() -> None:
    with pytest.raises(ValueError, match=r"neither a built-in name \(nearest are .*qwen2.5-7b"):
        load_model("Qwen/Qwen2.5-7B-Instruct-AWQ")


def test_loading_is_quick() -> None:
    load_model("llama-3.1-8b")  # first use imports the families
    best = min(_seconds_to_load(name) for name in ("llama-3.1-8b", "deepseek-v3") for _ in range(5))
    assert best < 0.005


def _seconds_to_load(name: str) -> float:
    start = time.perf_counter()
    model = load_model(name)
    seconds = time.perf_counter() - start
    assert isinstance(model, ModelShape)
    return seconds


def test_loading_needs_no_numpy() -> None:
    code = (
        "import sys; from hasten.models import load_model; load_model('deepseek-v3').weight_bytes; "
        "sys.exit('numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
