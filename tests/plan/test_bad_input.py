"""Wrong input is named in one line; the command's exit status tells what happened."""

import json

import numpy as np
import pytest
from tests.plan.build import LOOSE, planned

from hasten.cli import main
from hasten.core.request import SLO
from hasten.errors import InputError
from hasten.plan import Constraints, plan
from hasten.workload import Workload, parse_workload

SMALL = "--limit 150 --rate 6 --devices l40s,h100-sxm --tp 1 --jobs 1"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 0.0}, "rate is 0.0"),
        ({"rate": -3.0}, "rate is -3.0"),
        ({"rate": float("nan")}, "rate is nan"),
        ({"rate": float("inf")}, "rate is inf"),
        ({"rate": "most"}, "rate is 'most'"),
        ({"percentile": 101.0}, "percentile is 101.0"),
        ({"percentile": 0.0}, "percentile is 0.0"),
        ({"attainment": 0.0}, "attainment is 0.0"),
        ({"attainment": 1.2}, "attainment is 1.2"),
        ({"devices": ["h900"]}, "device 'h900' is unknown"),
        ({"devices": []}, "devices is empty"),
        ({"devices": "l40s"}, "devices is the text"),
        ({"tp": (0,)}, "tp choice 0"),
        ({"tp": ()}, "tp has no choices"),
        ({"ep": (1.5,)}, "ep choice 1.5"),
        ({"kv_dtypes": ("fp7",)}, "kv_dtype 'fp7' is unknown"),
        ({"kv_dtypes": ()}, "kv_dtypes has no choices"),
        ({"settings": {"max_num_seq": 4}}, "did you mean 'max_num_seqs'"),
        ({"engine": "vllm-99"}, "vllm-99"),
        ({"max_devices": 0}, "max_devices is 0"),
        ({"pessimism": -0.1}, "pessimism is -0.1"),
        ({"confidence": 90}, "confidence is 90"),
        ({"policies": {"schedul": "fcfs"}}, "policy role 'schedul'"),
        ({"policies": {"schedule": "fcfss"}}, "fcfss"),
        ({"work": parse_workload("closed:users=4,prompt=10,output=10,n=20")}, "closed loop"),
        ({"work": parse_workload("burst:prompt=10,output=10,n=20")}, "at once have no rate"),
        ({"jobs": 0}, "jobs is 0"),
    ],
)
def test_mistakes_are_named_in_one_line(options, message):
    with pytest.raises(InputError, match=message) as caught:
        planned(**options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "limits", [{}, {"ttft": 0.0}, {"tpot": -1.0}, {"e2e": float("inf")}, {"ttft": float("nan")}]
)
def test_limits_must_be_times_above_0(limits):
    with pytest.raises(InputError, match="SLO"):
        Constraints(SLO(**limits))


def test_one_request_has_no_rate():
    alone = Workload(arrival=np.zeros(1), prompt_tokens=np.ones(1, int), output_tokens=np.ones(1, int))
    with pytest.raises(InputError, match="no rate"):
        plan("llama-3.1-8b", alone, LOOSE, jobs=1)


def command(text: str, capsys) -> tuple[int, str, str]:
    status = main(["plan", *text.split()])
    shown = capsys.readouterr()
    return status, shown.out, shown.err


def test_status_0_when_a_deployment_holds_and_equal_output_every_time(capsys):
    text = f"llama-3.1-8b {SMALL} --ttft 2s --tpot 100ms"
    status, out, err = command(text, capsys)
    assert (status, err) == (0, "")
    assert "<- cheapest that holds" in out
    assert command(text, capsys) == (0, out, "")
    assert command(f"{text} --jobs 2", capsys) == (0, out, "")


def test_status_1_when_none_does(capsys):
    status, out, _ = command(f"llama-3.1-8b {SMALL} --ttft 1ms", capsys)
    assert status == 1
    assert "Nearest miss: 1 x [h100-sxm tp1]: TTFT p99" in out


def test_json_carries_the_whole_plan(capsys):
    status, out, _ = command(f"llama-3.1-8b {SMALL} --ttft 2s --attainment 0.9 --json", capsys)
    found = json.loads(out)
    assert status == 0
    assert found["constraint"] == "goodput share"
    assert found["best"]["holds"] is True
    assert {"rows", "rejected", "sensitivity", "nearest_miss", "error", "seed"} <= found.keys()


def test_capacity_from_the_command_line(capsys):
    status, out, _ = command(
        "llama-3.1-8b --limit 150 --devices l40s --tp 1 --ttft 2s --capacity --jobs 1", capsys
    )
    assert status == 0
    assert "<- cheapest per request" in out
    assert "95 % interval" in out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("llama-3.1-8b", "a plan needs a limit"),
        ("llama-3.1-8b --ttft 500", "has no unit"),
        ("llama-3.1-8b --ttft 0ms", "more than zero"),
        ("llama-3.1-8b --ttft 1s --rate -1", "more than 0"),
        ("llama-3.1-8b --ttft 1s --percentile 150", "no percentile"),
        ("llama-3.1-8b --ttft 1s --percentile 99 --attainment 0.9", "not allowed with"),
        ("llama-3.1-8b --ttft 1s --devices h900", "h900"),
        ("llama-3.1-8b --ttft 1s --capacity --rate 3", "leave --rate out"),
        ("llama-3.1-8b --ttft 1s --rate inf", "no rate"),
        ("llama-9b --ttft 1s", "llama-9b"),
        ("llama-3.1-8b --ttft 1s --tp 1,x", "x"),
        ("llama-3.1-8b --ttft 1s --jobs 0", "below 1"),
        ("llama-3.1-8b --ttft 1s --workload none.csv", "none.csv"),
        ("llama-3.1-8b --ttft 1s --kv-dtypes fp8 --kv-dtype fp8", "give one of them"),
    ],
)
def test_status_2_and_one_line_for_bad_input(text, message, capsys):
    status, out, err = command(text, capsys)
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
