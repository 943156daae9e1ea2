"""Short and long prompts apart, in cases small enough to follow by hand."""

import random

import pytest

from hasten.core.limits import Limits
from hasten.core.request import Request
from hasten.core.view import ClusterView, ReplicaView
from hasten.errors import InputError
from hasten.policies import load_policy
from policies.play import calls, play, steps

SPEC = "laps:boundary=10,long_chunk=40"


def test_short_prompts_never_share_a_step_with_a_new_long_one() -> None:
    arriving = calls((0, 0, 0, 0), (100, 5, 5, 5), (1, 1, 1, 1))
    apart = play(arriving, schedule=SPEC)
    assert [steps(apart, id, "first_token") for id in (1, 2, 3)] == [1, 1, 1]
    assert steps(apart, 0, "first_token") == 4  # 40, 40 and 20 tokens after them


def test_a_long_prompt_lets_short_ones_pass_and_is_not_forgotten() -> None:
    """It is chunked; who comes meanwhile runs in the next step, beside one token of it."""
    arriving = calls((0, 0.005), (100, 5), (1, 1))
    outcome = play(arriving, Limits(1000), schedule=SPEC)
    assert steps(outcome, 1, "first_token") == 2
    assert steps(outcome, 0, "first_token") == 4
    hurried = play(arriving, Limits(1000), schedule=SPEC + ",patience=0")
    assert steps(hurried, 0, "first_token") == 3


def test_one_long_prompt_at_a_time() -> None:
    outcome = play(calls((0, 0), (80, 80), (1, 1)), schedule=SPEC)
    assert [steps(outcome, id, "first_token") for id in (0, 1)] == [2, 4]


def test_a_window_fills_a_batch() -> None:
    spec = SPEC + ",window=0.1,depth=3"
    waited = play(calls((0, 0.05), (5, 5), (1, 1)), schedule=spec)
    assert [waited.rows[id].scheduled for id in (0, 1)] == [pytest.approx(0.1)] * 2
    full = play(calls((0, 0.02, 0.04), (5, 5, 5), (1, 1, 1)), schedule=spec)
    assert [full.rows[id].scheduled for id in range(3)] == [pytest.approx(0.04)] * 3


def test_routes_by_class_and_moves_a_replica_to_the_longer_queue() -> None:
    class Loaded(ReplicaView):
        tokens = 0

        @property
        def queued_tokens(self) -> int:
            return self.tokens

        def cached_tokens(self, request: Request) -> int:
            return 0

    replicas = [Loaded(index, []) for index in range(4)]
    view = ClusterView(list(replicas), random.Random(0), None)
    router = load_policy("route", "laps:boundary=10,period=1")
    short, long = Request(0, 0.0, 5, 1), Request(1, 0.0, 500, 1)
    assert router.choose(short, view) == 0
    assert router.choose(long, view) == 1
    replicas[0].tokens = 1000
    assert router.choose(short, view) == 0  # no change of sides within a period
    view.now = 2.0
    assert router.choose(short, view) == 1  # the next replica has joined the short side
    assert router.choose(long, view) == 2


@pytest.mark.parametrize("spec", ["laps:boundary=0", "laps:long_chunk=0", "laps:window=-1"])
def test_impossible_parameters_are_refused(spec: str) -> None:
    with pytest.raises(InputError, match="it must be"):
        load_policy("schedule", spec)
