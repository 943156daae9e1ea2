"""A script that measures the running deployment around the predicted point, with `vllm bench serve`."""

from __future__ import annotations

import math

from hasten.delivery.engine import Engine
from hasten.delivery.offer import Offer


def files(offer: Offer, engine: Engine) -> dict[str, str]:
    """benchmark.sh: 5 % below, at and 5 % above the predicted concurrency."""
    at = offer.concurrency
    below, above = max(1, math.floor(0.95 * at)), math.ceil(1.05 * at)
    rate = offer.request_rate
    arrivals = f"--request-rate {rate:g} " if math.isfinite(rate) else ""
    prompts = max(200, 10 * above)
    return {
        "benchmark.sh": f"""#!/usr/bin/env bash
# Measures the deployment at {below}, {at} and {above} requests at once: 5 % around what was predicted.
# Needs `vllm bench serve` on this machine and the deployment at $URL. Compare the files with prediction.json, or
# let `hasten compare --measured` join them.
set -euo pipefail
url=${{URL:-http://127.0.0.1:{engine.port}}}
for concurrency in {below} {at} {above}; do
  vllm bench serve --backend openai --base-url "$url" --model {offer.model_id} \\
    --dataset-name random --random-input-len {offer.mean_prompt} --random-output-len {offer.mean_output} --ignore-eos \\
    --num-prompts {prompts} {arrivals}--max-concurrency "$concurrency" \\
    --percentile-metrics ttft,tpot,itl,e2el --metric-percentiles 50,90,95,99 \\
    --save-result --save-detailed --result-filename "measured-$concurrency.json"
done
"""
    }
