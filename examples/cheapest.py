"""The cheapest deployment of an 8B model for chat traffic, and what it would take to carry more."""

import hasten as hs

work = hs.Workload.from_trace("azure-conv", rate=12, limit=4000)
slo = hs.SLO(ttft=0.5, tpot=0.05)  # seconds, at p99

plan = hs.plan("llama-3.1-8b", work, slo, devices=["h100-sxm", "l40s"], jobs=1)

best = plan.best
print(best.deployment.label, f"${best.deployment.price_per_hour:.2f}/h")
print(f"p99 TTFT {best.outcome.ttft * 1e3:.0f} ms, carries {best.capacity:.1f} req/s")
