"""Parallel sizes: what is allowed, and what they add up to."""

import pytest

from hasten.errors import InputError
from hasten.latency import Parallelism
from hasten.models import load_model


def test_devices_are_the_product_of_tp_pp_and_dp():
    assert Parallelism(4, 2, dp=3, ep=12).devices == 24
    assert Parallelism().devices == 1


def test_label_names_only_what_is_parallel():
    assert Parallelism().label == "tp1"
    assert Parallelism(4, 2).label == "tp4 pp2"
    assert Parallelism(dp=2, ep=2).label == "dp2 ep2"


def test_only_ranks_that_share_experts_run_in_lockstep():
    assert Parallelism(2, dp=4, ep=8).is_lockstep
    assert not Parallelism(2, dp=4).is_lockstep
    assert not Parallelism(8, ep=8).is_lockstep


@pytest.mark.parametrize("sizes", [{"tp": 0}, {"pp": -1}, {"dp": 1.5}, {"ep": True}, {"tp": "2"}])
def test_sizes_are_whole_numbers_of_devices(sizes):
    with pytest.raises(InputError, match="whole number"):
        Parallelism(**sizes)


@pytest.mark.parametrize(("tp", "dp", "ep"), [(4, 1, 2), (4, 2, 4), (1, 2, 3)])
def test_expert_parallelism_spans_all_ranks_or_none(tp, dp, ep):
    with pytest.raises(InputError, match=f"give 1 or tp x dp = {tp * dp}"):
        Parallelism(tp, dp=dp, ep=ep)


@pytest.mark.parametrize(
    ("model", "sizes", "named"),
    [
        ("llama-3.1-8b", {"tp": 3}, "32 attention heads"),
        ("llama-3.1-8b", {"pp": 33}, "32 layers"),
        ("llama-3.1-8b", {"tp": 2, "ep": 2}, "experts"),
        ("mixtral-8x7b", {"dp": 16, "ep": 16}, "8 experts"),
    ],
)
def test_a_model_that_cannot_be_split_says_what_to_change(model, sizes, named):
    with pytest.raises(InputError, match=named):
        Parallelism(**sizes).check(load_model(model))
