"""One decode step and one prompt of an 8B model on several devices: seconds, what they go into, and the price."""

import hasten as hs

for device in ("l4", "l40s", "a100-sxm-80g", "h100-sxm", "mi300x"):
    seen = hs.predict(hs.Deployment.of("llama-3.1-8b", device), batch=8, context=1024, prompt=1024)
    step, prompt = seen.decode.time, seen.prefill.time
    print(
        f"{device:13s} decode {step.seconds * 1e3:5.1f} ms, {step.weights / step.seconds:3.0%} of it weights; "
        f"prompt {prompt.seconds * 1e3:5.0f} ms; {step.origin}, error {step.error:.0%}"
    )
