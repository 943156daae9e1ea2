"""How tokens are chosen: every filter against its definition, and streams that nobody else can move."""

import math
from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.engine.engines import GREEDY, Harness, some_prompts

from hasten.engine.sampling import Chooser, SamplingParams, choose_all
from hasten.errors import InputError

LOGITS = torch.tensor([2.0, 1.0, 0.5, 0.0, -1.0, -3.0])
DRAWS = 4000


def frequencies(logits: torch.Tensor, answer: tuple[int, ...] = (), **params: Any) -> dict[int, float]:
    chooser = Chooser(SamplingParams(**params), [5], ends=(1,), seed=1)
    counts = Counter(chooser.choose(logits, answer).token for _ in range(DRAWS))
    return {token: count / DRAWS for token, count in counts.items()}


def near(found: dict[int, float], wanted: torch.Tensor) -> bool:
    """Within five standard errors for every token."""
    return all(
        abs(found.get(token, 0.0) - p) <= 5 * math.sqrt(p * (1 - p) / DRAWS) + 1e-9
        for token, p in enumerate(wanted.tolist())
    )


def cut(keep: int) -> torch.Tensor:
    kept = torch.softmax(LOGITS, 0) * (torch.arange(6) < keep)
    return kept / kept.sum()


@pytest.mark.parametrize(
    ("params", "wanted"),
    [
        ({}, torch.softmax(LOGITS, 0)),
        ({"temperature": 0.5}, torch.softmax(LOGITS / 0.5, 0)),
        ({"top_k": 2}, cut(2)),
        ({"top_k": 100}, cut(6)),
        ({"top_p": 0.6}, cut(2)),  # the first has 0.57
        ({"top_p": 0.5}, cut(1)),
        ({"min_p": 0.3}, cut(2)),  # 2.0 -> 1, 1.0 -> 0.37, 0.5 -> 0.22 of the largest
        ({"top_k": 3, "top_p": 0.99}, cut(3)),
        ({"logit_bias": {3: 100.0}}, torch.eye(6)[3]),
    ],
)
def test_frequencies_are_those_of_the_definition(params: dict[str, Any], wanted: torch.Tensor) -> None:
    assert near(frequencies(LOGITS, **params), wanted)


def test_penalties() -> None:
    plain = {"temperature": 1.0}
    answer = (0, 0, 2)
    less = LOGITS.clone()
    less[0] -= 0.5 + 2 * 0.4
    less[2] -= 0.5 + 0.4
    found = frequencies(LOGITS, answer, presence_penalty=0.5, frequency_penalty=0.4, **plain)
    assert near(found, torch.softmax(less, 0))
    repeated = LOGITS.clone()  # prompt token 5 and answer tokens 0, 2
    repeated[[0, 2]] /= 1.5
    repeated[5] *= 1.5
    assert near(frequencies(LOGITS, answer, repetition_penalty=1.5, **plain), torch.softmax(repeated, 0))


@pytest.mark.parametrize("top_p", [0.05, 0.9, 0.999])
@pytest.mark.parametrize("spread", [0.1, 1.0, 6.0])
def test_top_p_sorts_only_what_it_needs(spread: float, top_p: float) -> None:
    """The same tokens as with all 3,000 sorted, whether a few hold the mass or nearly all."""
    logits = spread * torch.randn(3000, generator=torch.Generator().manual_seed(4))
    chooser = Chooser(SamplingParams(top_p=top_p, seed=9), [0])
    stream = torch.Generator().manual_seed(9)
    values, order = torch.sort(logits, descending=True)
    weights = torch.softmax(values.double(), dim=-1)
    mass = weights[weights.cumsum(0) - weights < top_p].cumsum(0)
    for _ in range(50):
        at = float(torch.rand((), generator=stream, dtype=torch.float64)) * float(mass[-1])
        wanted = int(order[torch.searchsorted(mass, at, right=True)])
        assert chooser.choose(logits, []).token == wanted


def test_ends_are_forbidden_before_min_tokens() -> None:
    ending = torch.tensor([0.0, 9.0, 1.0])
    chooser = Chooser(SamplingParams(temperature=0.0, min_tokens=2), [0], ends=(1,))
    assert [chooser.choose(ending, answer).token for answer in ([], [2], [2, 2])] == [2, 2, 1]


def test_logprobs_are_of_the_model_not_of_the_filters() -> None:
    chooser = Chooser(SamplingParams(temperature=0.0, logprobs=2, logit_bias={4: 50.0}), [0])
    found = chooser.choose(LOGITS, [])
    scores = torch.log_softmax(LOGITS, 0)
    assert found.token == 4
    assert found.logprob == pytest.approx(float(scores[4]))
    assert [token for token, _ in found.top] == [0, 1]
    assert found.top[0][1] == pytest.approx(float(scores[0]))


@given(
    st.lists(st.floats(-20, 20), min_size=2, max_size=12),
    st.integers(0, 12),
    st.floats(0.01, 1.0),
    st.floats(0.0, 1.0),
    st.floats(0.05, 2.0),
)
def test_some_token_always_survives_the_filters(
    logits: list[float], top_k: int, top_p: float, min_p: float, temperature: float
) -> None:
    values = torch.tensor(logits)
    params = SamplingParams(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    token = Chooser(params, [0], seed=2).choose(values, []).token
    assert 0 <= token < len(logits)
    if top_k:
        assert float(values[token]) >= sorted(logits, reverse=True)[min(top_k, len(logits)) - 1] - 1e-5


def test_rows_choose_for_themselves() -> None:
    rows = torch.randn(8, 50, generator=torch.Generator().manual_seed(0))
    kinds = [GREEDY, SamplingParams(top_p=0.9), SamplingParams(top_k=5, logprobs=1), SamplingParams()]

    def choosers() -> list[Chooser]:
        return [Chooser(kinds[row % 4], [0], seed=row) for row in range(8)]

    together = choose_all(rows, choosers(), [[]] * 8)
    apart = [choose_all(rows[row : row + 1], [chooser], [[]])[0] for row, chooser in enumerate(choosers())]
    assert together == apart


def test_a_seed_gives_the_same_answer_in_any_company() -> None:
    prompts = some_prompts(6, seed=2)
    params = SamplingParams(temperature=1.2, top_p=0.95, seed=42, ignore_eos=True)
    alone = [Harness().answers([prompt], params=params)[0] for prompt in prompts]
    crowd = Harness(num_blocks=14, max_num_seqs=6, max_num_batched_tokens=16)
    assert crowd.answers(prompts, params=params) == alone
    assert crowd.engine.scheduler.num_preemptions > 0
    other = SamplingParams(temperature=1.2, top_p=0.95, seed=43, ignore_eos=True)
    assert Harness().answers(prompts[:1], params=other) != alone[:1]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("top_p", 0.0),
        ("top_k", -2),
        ("min_p", 1.5),
        ("repetition_penalty", 0.0),
        ("presence_penalty", 3.0),
        ("logprobs", 21),
        ("stop", ("",)),
        ("logit_bias", {1: 101.0}),
    ],
)
def test_values_out_of_range_are_refused(field: str, value: object) -> None:
    with pytest.raises(InputError, match=field):
        SamplingParams(**{field: value})  # type: ignore[arg-type]
