"""A calibration in use: compiled costs still are the model, files read back as written, errors widen outside."""

import json
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hasten.calibration.model import blank
from hasten.core.batch import Chunk
from hasten.deployment import Deployment
from hasten.errors import InputError
from hasten.latency.calibration import Coefficients, Range, load_calibration
from hasten.latency.error import Spread

COEFFICIENTS = Coefficients(
    memory=1.2,
    kv=0.9,
    compute=1.1,
    kernel=1.5,
    communication=1.3,
    step_seconds=-2e-4,
    mixed_seconds=3e-3,
    sequence_seconds=8e-6,
    front_end_seconds=4e-3,
    front_end_token_seconds=2e-6,
)


def calibrated(model, device, **settings):
    plain = Deployment.of(model, device, **settings)
    calibration = replace(
        blank(plain),
        coefficients=COEFFICIENTS,
        decode=Spread(0.03, 0.04),
        prefill=Spread(0.06, 0.08),
        range=Range(1, 64, 4096, 2048),
        samples=10,
    )
    return replace(plain, calibration=calibration)


CASES = [
    calibrated("llama-3.1-8b", "h100-sxm", max_model_len=32768),
    calibrated("llama-3.1-70b", "h100-sxm", tp=4, max_model_len=16384),
    calibrated("llama-3.1-8b", "rtx-pro-6000", max_model_len=16384),
    calibrated("llama-3.1-8b", "a100-sxm-80g", step_times="table", max_model_len=16384),
    calibrated("qwen3-30b-a3b", "rtx-pro-6000", dp=2, ep=2, max_model_len=8192),
    calibrated("mixtral-8x7b", "a100-sxm-80g", tp=2, pp=2, max_model_len=8192),
]


@settings(max_examples=60)
@given(
    st.sampled_from(CASES),
    st.lists(st.tuples(st.integers(1, 700), st.integers(0, 5000)), max_size=2),
    st.integers(0, 100),
    st.integers(0, 4000),
)
def test_compiled_seconds_are_the_model_s_own(made, prefills, n, mean):
    assume(prefills or n)
    wanted = made.latency.step_time(prefills, n, n * mean).seconds
    if prefills:
        found = made.cost.mixed([Chunk(None, new, past, True) for new, past in prefills], n, n * mean)
    else:
        a, b, limit = made.cost.decode_line(n, n * mean)
        assert n * mean < limit
        found = a + b * n * mean
    assert found == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("made", CASES, ids=lambda made: made.label)
def test_a_neutral_calibration_changes_no_second(made):
    neutral = replace(made, calibration=replace(made.calibration, coefficients=Coefficients()))
    plain = replace(
        made, calibration=None, step_times="table" if made.latency.base == "operators" else "auto"
    )
    for step in (((), 7, 7000), (((300, 0),), 5, 5000), (((64, 100),), 0, 0)):
        assert neutral.latency.step_time(*step).seconds == plain.latency.step_time(*step).seconds
    assert neutral.latency.origin == "calibrated"
    assert plain.latency.origin != "calibrated"


def test_parts_still_sum_and_carry_the_error_of_their_kind():
    model = CASES[0].latency
    decode, prefill = model.step_time((), 8, 8000), model.step_time([(512, 0)])
    assert decode.error == pytest.approx(1.28 * 0.05)
    assert prefill.error == pytest.approx(1.28 * 0.10)
    assert {decode.origin, prefill.origin} == {"calibrated"}
    assert model.step_time((), 512, 512_000).error > model.step_time((), 128, 128_000).error > decode.error


def test_another_model_is_less_sure():
    calibration = CASES[0].calibration
    other = Deployment.of("qwen3-8b", "h100-sxm", calibration=calibration)
    assert other.latency.step_time((), 8, 8000).error > CASES[0].latency.step_time((), 8, 8000).error


def test_a_file_reads_back_as_it_was(tmp_path):
    path = tmp_path / "c.json"
    CASES[0].calibration.save(path)
    found = load_calibration(path)
    assert found.coefficients.to_dict() == pytest.approx(COEFFICIENTS.to_dict())
    assert replace(found, coefficients=COEFFICIENTS) == CASES[0].calibration
    found.save(tmp_path / "d.json")
    again = load_calibration(tmp_path / "d.json")
    assert again.coefficients.to_dict() == pytest.approx(COEFFICIENTS.to_dict())
    made = Deployment.of("llama-3.1-8b", "h100-sxm", calibration=str(path))
    assert made.latency.origin == "calibrated"


def edited(path, change):
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda raw: raw.pop("covariance"), "'covariance' is missing"),
        (lambda raw: raw["coefficients"].update(memory_factor=float("nan")), "memory_factor is nan"),
        (lambda raw: raw["coefficients"].update(memory_factor=-1), "outside 0.001 to 1000"),
        (lambda raw: raw["coefficients"].update(speed=1), "'speed'"),
        (lambda raw: raw.update(hasten_calibration=99), "no calibration of format 1"),
        (lambda raw: raw["errors"]["decode"].update(residual=-1), "below 0"),
        (lambda raw: raw.update(covariance=[[1.0]]), "covariance is not"),
    ],
)
def test_a_broken_file_is_refused(tmp_path, change, expected):
    path = tmp_path / "c.json"
    CASES[0].calibration.save(path)
    edited(path, change)
    with pytest.raises(InputError) as error:
        load_calibration(path)
    assert str(path) in str(error.value)
    assert expected in str(error.value)


def test_a_cut_file_and_none_are_refused(tmp_path):
    path = tmp_path / "c.json"
    with pytest.raises(InputError, match=r"c\.json"):
        load_calibration(path)
    CASES[0].calibration.save(path)
    path.write_text(path.read_text()[:100])
    with pytest.raises(InputError, match="not JSON"):
        load_calibration(path)


def test_it_belongs_to_one_device_and_engine():
    calibration = CASES[0].calibration
    with pytest.raises(InputError, match="is of h100-sxm, not l40s"):
        Deployment.of("llama-3.1-8b", "l40s", calibration=calibration)
    with pytest.raises(InputError, match="is of vllm"):
        Deployment.of("llama-3.1-8b", "h100-sxm", engine="sglang", calibration=calibration)
    with pytest.raises(InputError, match="corrects analytical step times"):
        Deployment.of("llama-3.1-8b", "h100-sxm", step_times="table", calibration=calibration)
