"""When nothing holds: why, how close it came, and what would help."""

import pytest
from tests.plan.build import LOOSE, planned, work

from hasten.core.request import SLO
from hasten.plan.table import render


def test_a_limit_below_physics_is_known_without_a_simulation():
    found = planned(SLO(ttft=1e-3, tpot=0.05))
    assert not found
    assert found.rows == ()
    miss = found.nearest_miss
    assert miss.check.name == "TTFT p99"
    assert miss.check.value > miss.check.limit == 1e-3
    assert miss.outcome is None
    strains = [float(each.reason.split("TTFT p99 ")[1].split(" ms")[0]) for each in found.rejected]
    assert miss.check.value * 1e3 == pytest.approx(min(strains), rel=1e-3)
    assert "more replicas can't help" in render(found)


def test_too_few_devices_are_told_from_too_slow_ones():
    found = planned(SLO(ttft=1.0, tpot=0.05), work=work(120.0), max_devices=1, devices=("l40s",))
    assert not found
    assert found.nearest_miss.needs_replicas > 1
    enough = found.nearest_miss.needs_replicas + 1
    assert planned(LOOSE, work=work(120.0), max_devices=enough, devices=("l40s",), tp=(1,))
    assert "Raise --max-devices" in render(found)


def test_a_model_that_fits_nowhere_names_the_gap():
    from hasten.plan import plan

    found = plan("llama-3.1-70b", work(1.0, 40), LOOSE, devices=["l40s"], tp=(1, 2), pp=(1,), jobs=1)
    assert not found
    assert found.nearest_miss is None
    assert len(found.rejected) == 2
    assert all("GiB more than" in each.reason for each in found.rejected)
    assert "NOTHING FITS" in render(found)


def test_splits_that_can_t_be_are_rejected_with_the_reason():
    found = planned(tp=(1, 3), devices=("l40s",))
    (other,) = found.rejected
    assert other.label == "[l40s tp3]"
    assert "tp 3 does not divide the 32 attention heads" in other.reason


def test_a_device_without_a_price_is_left_out_and_named():
    from dataclasses import replace

    from hasten.hardware import load_device

    free = replace(load_device("l40s"), name="mine", price=None)
    found = planned(devices=[free, "h100-sxm"], tp=(1,))
    assert [(each.label, "no price" in each.reason) for each in found.rejected] == [("mine", True)]
    assert found


def test_a_request_longer_than_the_cache_is_named():
    found = planned(
        devices=("l40s",),
        tp=(1,),
        settings={"kv_cache_tokens": 1024, "max_model_len": 8192},
        work=work(2.0, 60),
    )
    assert not found
    assert "no room" in found.rejected[0].reason


def test_slow_but_endless_backlogs_do_not_pass_as_a_good_pace():
    only_pace = SLO(tpot=10.0)
    found = planned(only_pace, work=work(400.0, 1500), devices=("l40s",), tp=(1,), max_devices=1)
    assert not found
    assert found.nearest_miss.check.name == "backlog"
