"""Write a checkpoint with random weights, for measurements that no trained weights are needed for.

    python benchmarks/random_checkpoint.py DIR [--shape smollm-135m]

A shape of `benchmarks/engine.py` in fp32, with a byte-level tokenizer: ids past the 256 bytes are tokens
`<|N|>`. Engines that load Hugging Face checkpoints take it: ours, vLLM, transformers.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from engine import SHAPES, random_weights

SHAPES = SHAPES | {
    "tiny": SHAPES["smollm-135m"]
    | {"hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 8, "num_attention_heads": 4}
    | {"num_key_value_heads": 2, "head_dim": 32, "vocab_size": 2048, "max_position_embeddings": 1024}
}
CHAT_TEMPLATE = "{% for message in messages %}{{ message.content }}\n{% endfor %}"


def write(directory: Path, shape: str, *, seed: int = 0) -> None:
    """Config, weights and tokenizer into ``directory``: all or nothing."""
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    from hasten.engine.config import load_config

    config = SHAPES[shape] | {"dtype": "float32", "hidden_act": "silu", "bos_token_id": 0, "eos_token_id": 0}
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent) as name:
        made = Path(name) / "made"
        made.mkdir()
        (made / "config.json").write_text(json.dumps(config, indent=1))
        save_file(
            random_weights(load_config(made), seed=seed),
            made / "model.safetensors",
            metadata={"format": "pt"},
        )
        letters = sorted(pre_tokenizers.ByteLevel.alphabet())
        names = ["</s>", *letters, *(f"<|{n}|>" for n in range(1 + len(letters), config["vocab_size"]))]
        encoder = Tokenizer(models.BPE(vocab={each: n for n, each in enumerate(names)}, merges=[]))
        encoder.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        encoder.decoder = decoders.ByteLevel()
        encoder.add_special_tokens(["</s>"])
        encoder.save(str(made / "tokenizer.json"))
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>"}
        (made / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": CHAT_TEMPLATE}))
        made.rename(directory)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path)
    parser.add_argument("--shape", choices=SHAPES, default="smollm-135m")
    args = parser.parse_args()
    write(args.directory, args.shape)
