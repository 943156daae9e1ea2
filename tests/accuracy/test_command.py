"""`hasten accuracy` prints what was measured and predicted, as text and as JSON."""

import argparse
import json

import pytest

from hasten.cli import accuracy
from hasten.errors import InputError


def call(*words: str) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")  # every command has it
    accuracy.configure(parser)
    return accuracy.run(parser.parse_args(words))


def test_table_and_json_say_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("llama-3.1-8b-rtx-pro-6000") == 0
    text = capsys.readouterr().out
    assert call("--json", "llama-3.1-8b-rtx-pro-6000") == 0
    (result,) = json.loads(capsys.readouterr().out)
    row = result["figures"]["ttft mean"]
    assert f"{row['error']:+.1%}" in text
    assert row["error"] == pytest.approx(row["predicted_s"] / row["measured_s"] - 1)
    assert "LLMServingSim" in text


def test_nobody_left_to_score_is_said() -> None:
    with pytest.raises(InputError, match=r"no request of llama-3\.1-8b-rtx-4090 arrived after 99 s"):
        call("llama-3.1-8b-rtx-4090", "--since", "99")
