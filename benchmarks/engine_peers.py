"""One peer of the engine on random weights: run by benchmarks/engine.py in the peers' own virtual environment.

    python benchmarks/engine_peers.py PEER FOLDER SHAPE SETTINGS THREADS

Prints {"decode 1": tokens/s, ..., "prefill": tokens/s} as JSON. Converted models stay in FOLDER/models.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PREFILL = 8


def random_model(config: dict[str, Any], *, dtype: Any = None, device: Any = None) -> Any:
    """A transformers model with random weights: fp32 on the CPU unless told otherwise."""
    import torch
    import transformers

    torch.manual_seed(0)
    fields = {key: value for key, value in config.items() if key not in ("architectures", "model_type")}
    made = transformers.AutoConfig.for_model(config["model_type"], **fields)
    with torch.device(device or "cpu"):
        return transformers.AutoModelForCausalLM.from_config(made, dtype=dtype or torch.float32).eval()


def checkpoint(folder: Path, shape: str, config: dict[str, Any]) -> Path:
    """The random model as a Hugging Face folder, with a tokenizer of made-up words."""
    target = folder / "models" / shape
    if not (target / "tokenizer.json").exists():
        import tokenizers
        import transformers

        random_model(config).save_pretrained(target)
        words = {f"t{number}": number for number in range(config["vocab_size"] - 1)}
        words["<|endoftext|>"] = len(words)  # Qwen2's tokenizer adds it where it is missing: one id too many
        whole = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="t0"))
        transformers.PreTrainedTokenizerFast(
            tokenizer_object=whole, unk_token="t0", bos_token="t1", eos_token="t2"
        ).save_pretrained(target)
    return target


def generated(
    model: Any, batch: int, prompt: int, output: int, wait: Callable[[], None] = lambda: None
) -> tuple[float, float]:
    """Seconds of the prefill and of `output` greedy steps of a transformers model; `wait` for its device."""
    import torch

    tokens = torch.randint(5, 40000, (batch, prompt), device=model.device)
    wait()
    start = time.perf_counter()
    out = model(tokens, use_cache=True, logits_to_keep=1)
    wait()
    middle = time.perf_counter()
    for _ in range(output):
        token = out.logits[:, -1:].argmax(-1)
        out = model(token, past_key_values=out.past_key_values, use_cache=True)
    wait()
    return middle - start, time.perf_counter() - middle


def with_transformers(folder: Path, shape: str, settings: dict[str, Any], threads: int) -> dict[str, float]:
    """transformers, fp32, its own KV cache, greedy."""
    import torch

    torch.set_num_threads(threads)
    model = random_model(settings["config"])
    found = {}
    with torch.inference_mode():
        for batch in settings["batches"]:
            prefill, decode = generated(model, batch, settings["prompt"], settings["output"])
            found[f"decode {batch}"] = batch * settings["output"] / decode
            if batch == PREFILL:
                found["prefill"] = batch * settings["prompt"] / prefill
    return found


def with_ctranslate2(folder: Path, shape: str, settings: dict[str, Any], threads: int) -> dict[str, float]:
    """CTranslate2, int8; decoding is a run of prompt and output less a run of prompt and one token."""
    import ctranslate2
    import numpy as np

    target = folder / "models" / f"{shape}-ct2-int8"
    if not target.exists():
        source = str(checkpoint(folder, shape, settings["config"]))
        converter = ctranslate2.converters.TransformersConverter(source)
        converter.convert(str(target), quantization="int8")
    generator = ctranslate2.Generator(str(target), device="cpu", intra_threads=threads, inter_threads=1)
    numbers = np.random.default_rng(0)

    def seconds(batch: int, output: int) -> float:
        words = [
            [f"t{number}" for number in row]
            for row in numbers.integers(5, 40000, (batch, settings["prompt"]))
        ]
        start = time.perf_counter()
        generator.generate_batch(
            words,
            max_length=output,
            min_length=output,
            sampling_topk=1,
            include_prompt_in_result=False,
            max_batch_size=0,
            end_token=[],
        )
        return time.perf_counter() - start

    seconds(1, 2)
    found = {}
    for batch in settings["batches"]:
        first = seconds(batch, 1)
        found[f"decode {batch}"] = (
            batch * settings["output"] / (seconds(batch, settings["output"] + 1) - first)
        )
        if batch == PREFILL:
            found["prefill"] = batch * settings["prompt"] / first
    return found


def with_onnxruntime(folder: Path, shape: str, settings: dict[str, Any], threads: int) -> dict[str, float]:
    """onnxruntime-genai, int4 weights as its model builder makes them by default."""
    import numpy as np
    import onnxruntime_genai

    target = folder / "models" / f"{shape}-ort-int4"
    if not target.exists():
        source = str(checkpoint(folder, shape, settings["config"]))
        command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", source, "-o", str(target)]
        subprocess.run([*command, "-p", "int4", "-e", "cpu"], check=True, capture_output=True, cwd=folder)
    config = onnxruntime_genai.Config(str(target))
    config.overlay(json.dumps({"model": {"decoder": {"session_options": {"intra_op_num_threads": threads}}}}))
    model = onnxruntime_genai.Model(config)
    numbers = np.random.default_rng(0)
    length = settings["prompt"] + settings["output"] + 2
    found = {}
    for batch in settings["batches"]:
        params = onnxruntime_genai.GeneratorParams(model)
        params.set_search_options(batch_size=batch, min_length=length, max_length=length, do_sample=False)
        generator = onnxruntime_genai.Generator(model, params)
        prompts = numbers.integers(5, 40000, (batch, settings["prompt"])).astype(np.int32)
        start = time.perf_counter()
        generator.append_tokens(prompts)
        generator.generate_next_token()
        middle = time.perf_counter()
        for _ in range(settings["output"]):
            generator.generate_next_token()
        found[f"decode {batch}"] = batch * settings["output"] / (time.perf_counter() - middle)
        if batch == PREFILL:
            found["prefill"] = batch * settings["prompt"] / (middle - start)
    return found


def with_vllm(folder: Path, shape: str, settings: dict[str, Any], threads: int) -> dict[str, float]:
    """vLLM for CPUs, fp32, eager; decoding is a run of prompt and output less a run of prompt and one token."""
    import os

    os.environ |= {"VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
    os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "OMP_NUM_THREADS": str(threads)}
    import numpy as np
    from vllm import LLM, SamplingParams

    source = str(checkpoint(folder, shape, settings["config"]))
    most = max(settings["batches"])
    engine = LLM(
        source,
        dtype="float32",
        enforce_eager=True,
        max_num_seqs=most,
        max_model_len=2048,
        max_num_batched_tokens=2048,
        enable_prefix_caching=False,
        skip_tokenizer_init=True,
        disable_log_stats=True,
    )
    numbers = np.random.default_rng(0)

    def seconds(batch: int, output: int) -> float:
        rows = numbers.integers(5, 40000, (batch, settings["prompt"])).tolist()
        params = SamplingParams(temperature=0.0, max_tokens=output, ignore_eos=True, detokenize=False)
        start = time.perf_counter()
        engine.generate([{"prompt_token_ids": row} for row in rows], params, use_tqdm=False)
        return time.perf_counter() - start

    seconds(1, 4)
    found = {}
    for batch in settings["batches"]:
        first = seconds(batch, 1)
        whole = seconds(batch, settings["output"] + 1)
        found[f"decode {batch}"] = batch * settings["output"] / (whole - first)
        if batch == PREFILL:
            found["prefill"] = batch * settings["prompt"] / first
    return found


def with_llama_cpp(
    folder: Path, shape: str, settings: dict[str, Any], threads: int, *, kind: str
) -> dict[str, float]:
    """llama.cpp's own llama-batched-bench."""
    target = gguf_model(folder, shape, settings["config"], kind)
    length = (settings["prompt"] + settings["output"] + 16) * max(settings["batches"])
    command = [folder / "llama" / "bin" / "llama-batched-bench", "-m", target, "-c", length, "-b", 2048]
    command += [
        "-ub",
        512,
        "-t",
        threads,
        "-tb",
        threads,
        "-npp",
        settings["prompt"],
        "-ntg",
        settings["output"],
    ]
    command += ["-npl", ",".join(map(str, settings["batches"])), "--output-format", "jsonl"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True)
    found = {}
    for line in done.stdout.splitlines():
        if not line.startswith("{"):
            continue
        row = json.loads(line)
        found[f"decode {row['pl']}"] = row["speed_tg"]
        if row["pl"] == PREFILL:
            found["prefill"] = row["speed_pp"]
    return found


def gguf_model(folder: Path, shape: str, config: dict[str, Any], kind: str) -> Path:
    """The random model as GGUF: f16 written here, q8_0 by llama-quantize."""
    target = folder / "models" / f"{shape}-{kind}.gguf"
    if target.exists():
        return target
    target.parent.mkdir(exist_ok=True)
    if kind == "q8_0":
        tool = folder / "llama" / "bin" / "llama-quantize"
        source = gguf_model(folder, shape, config, "f16")
        subprocess.run([tool, source, target, "Q8_0"], check=True, capture_output=True)
        return target
    import gguf
    import numpy as np

    name = config["model_type"]
    writer = gguf.GGUFWriter(target, name)
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(hidden)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(hidden // heads)
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("no_vocab")
    numbers = np.random.default_rng(0)

    def matrix(name: str, *size: int) -> None:
        writer.add_tensor(
            f"{name}.weight", (numbers.standard_normal(size, np.float32) * 0.02).astype(np.float16)
        )

    def vector(name: str, size: int, value: float) -> None:
        writer.add_tensor(name, np.full(size, value, np.float32))

    narrow = hidden // heads * config["num_key_value_heads"]
    matrix("token_embd", config["vocab_size"], hidden)
    vector("output_norm.weight", hidden, 1.0)
    for layer in range(config["num_hidden_layers"]):
        for part, size in {"attn_q": hidden, "attn_k": narrow, "attn_v": narrow}.items():
            matrix(f"blk.{layer}.{part}", size, hidden)
            if name == "qwen2":
                vector(f"blk.{layer}.{part}.bias", size, 0.0)
        matrix(f"blk.{layer}.attn_output", hidden, hidden)
        matrix(f"blk.{layer}.ffn_gate", config["intermediate_size"], hidden)
        matrix(f"blk.{layer}.ffn_up", config["intermediate_size"], hidden)
        matrix(f"blk.{layer}.ffn_down", hidden, config["intermediate_size"])
        vector(f"blk.{layer}.attn_norm.weight", hidden, 1.0)
        vector(f"blk.{layer}.ffn_norm.weight", hidden, 1.0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


RUNNERS = {
    "ctranslate2": with_ctranslate2,
    "onnxruntime-genai": with_onnxruntime,
    "transformers": with_transformers,
    "vllm": with_vllm,
}


def main() -> int:
    """Run one peer."""
    peer, folder, shape, settings, threads = sys.argv[1:]
    given = (Path(folder), shape, json.loads(settings), int(threads))
    if peer.startswith("llama.cpp"):
        found = with_llama_cpp(*given, kind=peer.split()[1])
    else:
        found = RUNNERS[peer.split()[0]](*given)
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
