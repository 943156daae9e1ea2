"""Checkpoints that can't be used: one line that names the file and what is wrong with it."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.engine.checkpoints import TINY, write_checkpoint, write_config

from hasten.engine.checkpoint import CheckpointWeights, open_weights
from hasten.engine.config import load_config
from hasten.errors import InputError

CPU = torch.device("cpu")
NORM = "model.norm.weight"


def load(directory: Path) -> CheckpointWeights:
    return open_weights(directory, load_config(directory), dtype=torch.float32, device=CPU)


def refused(directory: Path) -> str:
    with pytest.raises(InputError) as caught:
        load(directory)
    message = str(caught.value)
    assert "\n" not in message
    assert str(directory) in message
    return message


def test_shards_hold_the_same_weights(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "one")
    write_checkpoint(tmp_path / "three", shards=3)
    one, three = load(tmp_path / "one"), load(tmp_path / "three")
    assert one.keys() == three.keys()
    assert all(torch.equal(one[name], three[name]) for name in one)


def test_tensors_are_read_when_asked_for_and_not_kept(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    weights = load(tmp_path)
    seen = weights[NORM]
    assert torch.equal(seen, load_file(tmp_path / "model.safetensors")[NORM])
    assert weights[NORM] is not seen
    assert weights.get("no such tensor") is None


@pytest.mark.parametrize("keep", [0, 4, 100, 5000, -1])
def test_truncated_files_are_refused(keep: int, tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    assert "model.safetensors: can't be read" in refused(tmp_path)


def test_a_truncated_shard_is_named(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, shards=2)
    path = tmp_path / "model-00002-of-00002.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    assert path.name in refused(tmp_path)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json: no such file"):
        load_config(tmp_path)
    write_config(tmp_path, {})
    assert "model.safetensors: no such file" in refused(tmp_path)
    write_checkpoint(tmp_path, shards=2)
    (tmp_path / "model-00001-of-00002.safetensors").unlink()
    assert "model-00001-of-00002.safetensors: no such file" in refused(tmp_path)


def edit(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    def apply(directory: Path) -> None:
        path = directory / "model.safetensors"
        weights = load_file(path)
        change(weights)
        save_file(weights, path)

    return apply


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (edit(lambda weights: weights.pop(NORM)), "model.norm.weight is missing (1 tensors are)"),
        (
            edit(lambda weights: weights.update({NORM: torch.zeros(31)})),
            "has shape [31], config.json asks for [32]",
        ),
        (edit(lambda weights: weights.update(lora=torch.zeros(2))), "'lora' is no weight"),
        (edit(lambda weights: weights.update({NORM: torch.zeros(32, dtype=torch.int8)})), "quantised"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    change: Callable[[Path], None], says: str, tmp_path: Path
) -> None:
    write_checkpoint(tmp_path)
    change(tmp_path)
    assert says in refused(tmp_path)


@pytest.mark.parametrize("file", ["../model.safetensors", "/x/model.safetensors", "model.bin", 7])
def test_an_index_may_only_name_safetensors_beside_it(file: object, tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {NORM: file}}))
    assert "name a .safetensors file beside it" in refused(tmp_path)


def test_pickled_weights_are_never_opened(tmp_path: Path) -> None:
    write_config(tmp_path, {})
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps({}))
    assert "no pickled weights" in refused(tmp_path)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"architectures": ["GPT2LMHeadModel"]}, "architectures"),
        ({"num_key_value_heads": 3}, "num_key_value_heads"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"hidden_size": "32"}, "hidden_size"),
        ({"rms_norm_eps": -1}, "rms_norm_eps"),
        ({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, "rope_type"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": "four"}}, "factor"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantization_config"),
        ({"head_dim": 7}, "head_dim"),
        ({"dtype": "int4"}, "dtype"),
    ],
)
def test_configurations_that_can_not_be_run_are_refused(
    changes: dict[str, Any], field: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(TINY | changes))
    with pytest.raises(InputError, match=field):
        load_config(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, "\ud800"])
def test_broken_json_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(InputError, match=r"config\.json") as caught:
        load_config(tmp_path)
    assert "\n" not in str(caught.value)


def test_end_tokens_come_from_the_generation_config_first(tmp_path: Path) -> None:
    assert write_config(tmp_path, {"eos_token_id": [2, 3]}).eos == (2, 3)
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [4]}')
    assert load_config(tmp_path).eos == (4,)
