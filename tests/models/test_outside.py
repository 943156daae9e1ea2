"""A model from outside the package, as docs/how-to/add-a-model.md shows it: a directory with a config.json."""

import json
from pathlib import Path

from hasten.models import load_model, model_names

CONFIG = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
    "tie_word_embeddings": True,
    "dtype": "bfloat16",
}


def test_a_directory_is_enough(tmp_path: Path) -> None:
    folder = tmp_path / "my-model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    model = load_model(folder)
    assert model.name not in model_names()
    assert model.name == "my-model"
    assert model.parameters == 1_720_574_976  # what keras-team/keras-hub counts for Qwen3-1.7B
    assert model.kv_bytes_per_token() == 2 * 28 * 8 * 128 * 2
    assert model.weight_bytes_per_device(2) > model.weight_bytes / 2
