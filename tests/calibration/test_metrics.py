"""Scrapes of /metrics: a simulated server's own sums and counts give its step times back."""

from dataclasses import replace

import numpy as np
import pytest

from hasten.calibration import calibrate
from hasten.calibration.metrics import difference, is_scrape, read_scrapes, scrapes_samples
from hasten.calibration.model import blank
from hasten.calibration.reading import read_files
from hasten.deployment import Deployment
from hasten.errors import InputError
from hasten.latency.calibration import Coefficients
from hasten.sim.run import simulate
from hasten.workload.arrivals import Poisson
from hasten.workload.lengths import Uniform
from hasten.workload.synthetic import synthesise

PLAIN = Deployment.of("llama-3.1-8b", "h100-sxm", step_times="analytical", prefix_caching=False)
TRUTH = replace(
    PLAIN,
    calibration=replace(blank(PLAIN), coefficients=Coefficients(memory=1.3, compute=1.2, step_seconds=1e-3)),
)
HISTOGRAMS = (
    "inter_token_latency_seconds",
    "time_to_first_token_seconds",
    "request_prefill_time_seconds",
    "request_prompt_tokens",
    "request_generation_tokens",
)


def served(rate, seed=0):
    """What a server at this load adds to its histograms: (sum, count) by name, and its steps."""
    work = synthesise(
        Poisson(rate), prompt=Uniform(200, 1200), output=Uniform(100, 300), num_requests=200, seed=seed
    )
    report = simulate(TRUTH, work.replaced(max_tokens=work.output_tokens))
    rows = report.records
    decoding = rows.finish - rows.first_token
    sums = {
        "inter_token_latency_seconds": (decoding.sum(), (rows.output_tokens - 1).sum()),
        "time_to_first_token_seconds": ((rows.first_token - rows.arrival).sum(), len(rows)),
        "request_prefill_time_seconds": ((rows.first_token - rows.scheduled).sum(), len(rows)),
        "request_prompt_tokens": (rows.prompt_tokens.sum(), len(rows)),
        "request_generation_tokens": (rows.output_tokens.sum(), len(rows)),
        "iteration_tokens_total": (
            rows.prompt_tokens.sum() + rows.output_tokens.sum(),
            sum(each.steps for each in report.stats.replicas),
        ),
    }
    return {name: np.array(values, dtype=float) for name, values in sums.items()}


def page(sums):
    lines = ["# HELP vllm:num_requests_running running", "# TYPE vllm:num_requests_running gauge"]
    lines.append('vllm:num_requests_running{engine="0",model_name="m"} 3.0')
    for name, (total, count) in sums.items():
        lines.append(f'vllm:{name}_bucket{{engine="0",le="+Inf",model_name="m"}} {count}')
        lines.append(f'vllm:{name}_count{{engine="0",model_name="m"}} {count}')
        lines.append(f'vllm:{name}_sum{{engine="0",model_name="m"}} {total}')
        lines.append(f'vllm:{name}_created{{engine="0",model_name="m"}} 1.7e+09')
    return "\n".join(lines) + "\n"


def added(*parts):
    return {name: sum(part[name] for part in parts) for name in parts[0]}


WARM, SLOW, FAST = served(1.0, 1), served(4.0, 2), served(12.0, 3)
PAGES = [page(WARM), page(added(WARM, SLOW)), page(added(WARM, SLOW, FAST))]


def test_differences_of_scrapes_give_the_decode_time_back(tmp_path):
    paths = [tmp_path / f"{name}.prom" for name in ("c", "a", "b")]  # order is found from the counters
    for path, text in zip(paths, PAGES, strict=True):
        path.write_text(text)
    read = read_files(paths, PLAIN)
    assert len(read.samples) == 4
    found = calibrate(PLAIN, read.samples)
    fitted = replace(PLAIN, calibration=found.calibration).latency
    for n in (4, 16):
        step = ((), n, 900 * n)
        true, before = (each.latency.step_time(*step).seconds for each in (TRUTH, PLAIN))
        assert fitted.step_time(*step).seconds == pytest.approx(true, rel=0.05)
        assert before < 0.85 * true


def test_one_scrape_is_a_note():
    samples, notes = scrapes_samples([("m", PAGES[1])], PLAIN)
    assert len(samples) == 2
    assert "since the server started" in notes[0]


def test_pages_in_one_file_are_scrapes_one_after_the_other():
    one = "".join(f"# time_s {at}\n{each}" for at, each in enumerate((PAGES[0], PAGES[0], *PAGES[1:])))
    found, notes = scrapes_samples([("m", one)], PLAIN)  # nothing was served between the first two
    apart, _ = scrapes_samples([(name, text) for name, text in zip("abc", PAGES, strict=True)], PLAIN)
    assert [each.seconds for each in found] == [each.seconds for each in apart]
    assert notes == []


def test_a_gauge_that_nobody_has_set_is_left_out():
    text = PAGES[1].replace('model_name="m"} 3.0', 'model_name="m"} NaN')
    assert "num_requests_running" not in read_scrapes(text, "m")[0]


def test_without_a_count_of_steps_the_gauge_tells_the_batch():
    text = "\n".join(line for line in PAGES[1].splitlines() if "iteration_tokens" not in line)
    samples, _ = scrapes_samples([("m", text)], PLAIN)
    assert samples[0].steps[0][0].decodes == 3


def test_pages_are_recognised_and_summed_over_engines():
    assert is_scrape(PAGES[0])
    assert not is_scrape('{"vllm": 1}')
    two = PAGES[0] + PAGES[0].replace('engine="0"', 'engine="1"')
    (only,) = read_scrapes(two, "m")
    assert only["request_prompt_tokens_count"] == 400


BAD = {
    "cut": (PAGES[0] + 'vllm:request_prompt_tokens_sum{engine="0', ["line", "is the page cut?"]),
    "nan": (PAGES[0] + "vllm:request_prompt_tokens_sum NaN", ["line", "nan", "from 0 up"]),
    "negative": (PAGES[0] + "vllm:request_prompt_tokens_sum -4", ["-4"]),
    "a word": (PAGES[0] + "vllm:request_prompt_tokens_sum many", ["'many' is no number"]),
    "nothing served": (page(dict.fromkeys(HISTOGRAMS, (0.0, 0.0))), ["no tokens between the scrapes"]),
}


@pytest.mark.parametrize("case", BAD)
def test_pages_that_can_t_be(case):
    text, expected = BAD[case]
    with pytest.raises(InputError) as error:
        scrapes_samples([("m", text)], PLAIN)
    for part in expected:
        assert part in str(error.value)


def test_a_restart_between_scrapes_is_refused():
    (before,), (after,) = read_scrapes(PAGES[1], "a"), read_scrapes(PAGES[2], "b")
    with pytest.raises(InputError, match="restarted"):
        difference(after, before, "b to a")
