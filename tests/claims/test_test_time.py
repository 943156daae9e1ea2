"""Samples side by side: barriers, p-values and deadlines, against cases that can be worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hasten.claims import atts, latency_aware_tts
from hasten.deployment import Deployment
from hasten.errors import InputError
from hasten.plan.branches import Drafting, answer_seconds, best_under

STEPS = atts.Steps(draft=0.01, target=0.04, score=0.1)
scores = st.lists(st.floats(-5, 5), min_size=1, max_size=40)


@given(scores, st.floats(-5, 5))
def test_a_p_value_counts_who_scored_as_well(seen: list[float], score: float) -> None:
    expected = (sum(score <= each for each in seen) + 1) / (len(seen) + 1)
    assert atts.p_value(score, sorted(seen)) == expected


def test_no_barrier_is_the_longest_sample_and_a_barrier_the_longest_of_each_round() -> None:
    """Two samples, two rounds: 100 and 300 tokens, 200 and 100; the second round of the first is continued by 50."""
    pieces = atts.Pieces(np.array([[[100.0, 300.0], [200.0, 100.0]]]), np.array([[[0.0, 50.0], [0.0, 0.0]]]))
    assert atts.asynchronous(pieces, STEPS) == pytest.approx(4.0 + 0.2 + 2.0)
    assert atts.with_barrier(pieces, STEPS) == pytest.approx(2.0 + 3.0 + 0.2 + 2.0)
    assert atts.target_alone(pieces, STEPS) == pytest.approx(450 * 0.04)


@given(st.integers(0, 50), st.integers(1, 20), st.floats(0, 1.2))
def test_a_barrier_never_helps(seed: int, samples: int, sigma: float) -> None:
    pieces = atts.draw(seed, samples, atts.Shape(sigma=sigma))
    assert atts.with_barrier(pieces, STEPS) >= atts.asynchronous(pieces, STEPS) * (1 - 1e-12)


def test_questions_solved_are_a_beta_mean() -> None:
    chances = np.random.default_rng(0).beta(latency_aware_tts.EASY, latency_aware_tts.HARD, 200_000)
    for branches in (1, 4, 64):
        assert latency_aware_tts.solved(branches) == pytest.approx(
            float(np.mean(1 - (1 - chances) ** branches)), abs=4e-3
        )


def test_an_answer_costs_its_steps() -> None:
    target = Deployment.of("qwen2.5-7b", "h100-sxm")
    drafting = Drafting(deployment=Deployment.of("qwen2.5-0.5b", "h100-sxm"), acceptance=0.5)
    assert drafting.tokens(2) == 1.75
    prompt = target.latency.step_time([(100, 0)]).seconds
    step = target.latency.step_time([(1, 150)] * 4).seconds
    assert answer_seconds(target, 4, prompt=100, output=100) == pytest.approx(prompt + 100 * step)
    verify = target.latency.step_time([(3, 150)] * 4).seconds
    draft = drafting.deployment.latency.step_time([(1, 150)] * 4).seconds
    drafted = answer_seconds(target, 4, prompt=100, output=100, depth=2, drafting=drafting)
    assert drafted == pytest.approx(prompt + 100 / 1.75 * (verify + 2 * draft))


def test_the_best_choice_fits_deadline_and_memory() -> None:
    """A 32B model leaves room for 16 samples of 1,500 tokens on 80 GB, however long they may take."""
    target = Deployment.of("qwen2.5-32b", "h100-sxm")
    found = best_under(target, 1e9, float, prompt=256, output=1500, branches=(1, 8, 16, 32))
    assert found is not None
    assert found.branches == 16
    one = answer_seconds(target, 1, prompt=256, output=1500)
    assert best_under(target, 0.99 * one, float, prompt=256, output=1500, branches=(1, 8)) is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"prompt": 0}, "prompt is 0"), ({"output": 0}, "output is 0"), ({"depth": 2}, "depth is 2")],
)
def test_impossible_answers_are_refused(settings: dict[str, int], message: str) -> None:
    target = Deployment.of("qwen2.5-0.5b", "h100-sxm")
    with pytest.raises(InputError, match=message):
        answer_seconds(target, 1, **({"prompt": 10, "output": 10} | settings))  # type: ignore[arg-type]


def test_an_impossible_acceptance_is_refused() -> None:
    with pytest.raises(InputError, match="acceptance is 1"):
        Drafting(deployment=Deployment.of("qwen2.5-0.5b", "h100-sxm"), acceptance=1.0)
