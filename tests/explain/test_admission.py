"""Admission: who is turned away has no life to explain, who is held at the door is told from who queues."""

import numpy as np
import pytest
from tests.explain.laws import check_sums

from hasten.core.request import SLO
from hasten.deployment import Deployment
from hasten.explain.labels import ORDER
from hasten.explain.setup import Setup
from hasten.workload import Workload


@pytest.mark.parametrize(
    "policies",
    [
        {"admit": "slo_gate"},
        {"route": "pd_serve:slots=2,wait=0.01"},
        {"admit": "slo_gate:factor=4", "route": "pd_serve:slots=2"},
    ],
)
def test_labels_sum_whoever_guards_the_door(policies: dict[str, str]) -> None:
    """A crowd before two replicas, with so little room that some are preempted."""
    rng = np.random.default_rng(3)
    work = Workload(
        arrival=np.cumsum(rng.exponential(0.02, 80)),
        prompt_tokens=rng.integers(50, 900, 80),
        output_tokens=rng.integers(20, 200, 80),
    )
    served = Deployment.of(
        "llama-3.1-8b", "l40s", replicas=2, kv_cache_tokens=2048, max_model_len=1200, watermark=0.0
    )
    report, found, log = Setup(
        deployment=served, work=work, policies=policies, slo=SLO(ttft=0.15)
    ).attributed()
    check_sums(found)
    assert len(found.records) == int(report.records.is_ok.sum()) > 0
    held = found.to_first[:, ORDER["queue_admission"]]
    waited = [log.placed[each] for each in found.records.id.tolist()] - found.records.arrival
    np.testing.assert_allclose(held, waited, atol=1e-12)
    assert bool((held > 0.0).any()) == ("route" in policies)
    if "admit" in policies:
        assert (~report.records.is_ok).any()
