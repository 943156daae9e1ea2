"""Small checkpoints with random weights, written as Hugging Face does."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from hasten.engine.checkpoint import expected
from hasten.engine.config import ModelConfig, load_config

TINY: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 96,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "dtype": "float32",
    "eos_token_id": 1,
}

# Every shape that the engine must get right: (name, changes to TINY).
SHAPES: list[tuple[str, dict[str, Any]]] = [
    ("llama", {}),
    ("llama-tied-biases", {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True}),
    ("llama-head-dim", {"head_dim": 16, "num_key_value_heads": 1}),
    (
        "llama3-rope",
        {
            "rope_theta": 500000.0,
            "rope_scaling": {
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            },
        },
    ),
    ("linear-rope", {"rope_scaling": {"rope_type": "linear", "factor": 4.0}}),
    (
        "yarn-rope",
        {
            "rope_scaling": {
                "rope_type": "yarn",
                "factor": 4.0,
                "original_max_position_embeddings": 128,
            }
        },
    ),
    ("mistral", {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": None}),
    (
        "mistral-window",
        {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": 9},
    ),
    ("qwen2", {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "tie_word_embeddings": True}),
    (
        "qwen2-window",
        {
            "architectures": ["Qwen2ForCausalLM"],
            "model_type": "qwen2",
            "use_sliding_window": True,
            "sliding_window": 8,
            "max_window_layers": 1,
        },
    ),
    (
        "qwen3",
        {
            "architectures": ["Qwen3ForCausalLM"],
            "model_type": "qwen3",
            "head_dim": 16,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0},
        },
    ),
]


def write_config(directory: Path, changes: dict[str, Any]) -> ModelConfig:
    """config.json of TINY with `changes`; a value of None is written as null."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(TINY | changes))
    return load_config(directory)


def write_checkpoint(
    directory: Path, changes: dict[str, Any] | None = None, *, seed: int = 0, shards: int = 1
) -> ModelConfig:
    """A whole checkpoint with random weights, in one file or several."""
    config = write_config(directory, changes or {})
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in expected(config).items():
        noise = torch.randn(shape, generator=generator)
        weights[name] = 1.0 + 0.1 * noise if "norm" in name else noise * 0.2
    if shards == 1:
        save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
        return config
    placed = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        part = {name: weights[name] for name in list(weights)[shard::shards]}
        placed |= dict.fromkeys(part, file)
        save_file(part, directory / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": placed}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    return config


CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def write_servable(directory: Path, *, template: str | None = CHAT_TEMPLATE, seed: int = 0) -> ModelConfig:
    """A checkpoint with a tokenizer of bytes, and a chat template."""
    encoder = Tokenizer(models.BPE(vocab=_byte_vocab(), merges=[]))
    encoder.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    encoder.decoder = decoders.ByteLevel()
    encoder.add_special_tokens(["</s>"])
    directory.mkdir(parents=True, exist_ok=True)
    encoder.save(str(directory / "tokenizer.json"))
    settings = {"eos_token": "</s>"} | ({} if template is None else {"chat_template": template})
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    return write_checkpoint(directory, {"vocab_size": 257, "eos_token_id": 256}, seed=seed)


def _byte_vocab() -> dict[str, int]:
    return {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
