"""Small workloads and plans for the tests of this folder."""

from hasten.core.request import SLO
from hasten.plan import Plan, plan
from hasten.workload import Workload, parse_workload

LOOSE = SLO(ttft=1.0, tpot=0.05)
DEVICES = ("l40s", "h100-sxm")


def work(rate: float = 12.0, num: int = 240, seed: int = 1) -> Workload:
    """Poisson arrivals of short chats."""
    return parse_workload(
        f"poisson:rate={rate},prompt=lognormal:400:0.5:2000,output=uniform:2:80,n={num}", seed=seed
    )


def planned(slo: SLO = LOOSE, **options) -> Plan:
    """A plan for that traffic on one process; the options of `plan` and `work` by name."""
    given = {"devices": DEVICES, "tp": (1, 2), "jobs": 1, **options}
    traffic = given.pop("work", None) or work()
    return plan("llama-3.1-8b", traffic, slo, **given)
