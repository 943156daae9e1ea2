"""Prometheus metrics under the names of vLLM, so that dashboards and scalers that know those read ours."""

from __future__ import annotations

import bisect
from collections.abc import Iterable

from hasten.engine.driver import Engine
from hasten.engine.sequence import LENGTH, STOP, Output

TTFT = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75,
    1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560,
)  # fmt: skip
PER_TOKEN = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80,
)  # fmt: skip
LATENCY = (
    0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680,
)  # fmt: skip
TOKENS = tuple(lead * 10**power for power in range(5) for lead in (1, 2, 5))

_HISTOGRAMS = {
    "time_to_first_token_seconds": (TTFT, "Arrival to first token (s)."),
    "inter_token_latency_seconds": (PER_TOKEN, "Gap between output tokens of a request (s)."),
    "request_time_per_output_token_seconds": (PER_TOKEN, "Mean gap between output tokens of a request (s)."),
    "e2e_request_latency_seconds": (LATENCY, "Arrival to last token (s)."),
    "request_queue_time_seconds": (LATENCY, "Drained by the engine to first scheduled (s)."),
    "request_prefill_time_seconds": (LATENCY, "First scheduled to first token (s)."),
    "request_decode_time_seconds": (LATENCY, "First to last token (s)."),
    "request_inference_time_seconds": (LATENCY, "First scheduled to last token (s)."),
    "request_prompt_tokens": (TOKENS, "Prompt tokens of a request."),
    "request_generation_tokens": (TOKENS, "Output tokens of a request."),
    "request_params_max_tokens": (TOKENS, "Output tokens that a request allowed."),
}


class Histogram:
    """Counts of values up to each bound."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Count `value`."""
        self._counts[bisect.bisect_left(self._bounds, value)] += 1
        self._sum += value

    def lines(self, name: str, labels: str) -> Iterable[str]:
        """In the exposition format."""
        total = 0
        ends = [*(f"{float(bound)}" for bound in self._bounds), "+Inf"]
        for end, count in zip(ends, self._counts, strict=True):
            total += count
            yield f'{name}_bucket{{{labels},le="{end}"}} {total}'
        yield f"{name}_count{{{labels}}} {total}"
        yield f"{name}_sum{{{labels}}} {self._sum}"


class Metrics:
    """Everything `/metrics` shows. Fed in the event loop, output by output."""

    def __init__(self, engine: Engine, model: str) -> None:
        self._engine = engine
        escaped = model.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        self._labels = f'model_name="{escaped}",engine="0"'
        self._histograms = {name: Histogram(bounds) for name, (bounds, _) in _HISTOGRAMS.items()}
        self._last: dict[int, float] = {}  # request -> when its last token came (s)
        self._ends = dict.fromkeys((STOP, LENGTH, "abort", "error"), 0)
        self._prompt_tokens = 0
        self._generation_tokens = 0

    def saw(self, output: Output) -> None:
        """Count what one step brought to one request."""
        request = output.sequence.request
        if output.sampled is not None:
            self._generation_tokens += 1
            last = self._last.get(request.id)
            if last is None:
                self._prompt_tokens += request.prompt_tokens
                self._histograms["time_to_first_token_seconds"].add(output.at - request.arrival)
            else:
                self._histograms["inter_token_latency_seconds"].add(output.at - last)
            self._last[request.id] = output.at
        if output.finish is not None:
            self._last.pop(request.id, None)
            self._ends[output.finish] = self._ends.get(output.finish, 0) + 1
            if output.finish in (STOP, LENGTH):
                self._served(output)

    def _served(self, output: Output) -> None:
        request, end = output.sequence.request, output.at
        tokens = len(output.sequence.tokens) - request.prompt_tokens
        values = {
            "e2e_request_latency_seconds": end - request.arrival,
            "request_queue_time_seconds": request.scheduled - request.drained,
            "request_prefill_time_seconds": request.first_token - request.scheduled,
            "request_decode_time_seconds": end - request.first_token,
            "request_inference_time_seconds": end - request.scheduled,
            "request_prompt_tokens": request.prompt_tokens,
            "request_generation_tokens": tokens,
            "request_params_max_tokens": request.max_tokens,
        }
        if tokens > 1:
            values["request_time_per_output_token_seconds"] = (end - request.first_token) / (tokens - 1)
        for name, value in values.items():
            self._histograms[name].add(value)

    def render(self) -> str:
        """All metrics in Prometheus' text format."""
        scheduler = self._engine.scheduler
        pool = scheduler.pool
        labels = self._labels
        lines: list[str] = []

        def single(name: str, kind: str, text: str, values: dict[str, float]) -> None:
            lines.extend((f"# HELP vllm:{name} {text}", f"# TYPE vllm:{name} {kind}"))
            lines.extend(f"vllm:{name}{{{labels}{extra}}} {value}" for extra, value in values.items())

        single("num_requests_running", "gauge", "Requests that hold a slot.", {"": len(scheduler.running)})
        single("num_requests_waiting", "gauge", "Requests in the queue.", {"": len(scheduler.waiting)})
        used = 1.0 - pool.free / pool.num_blocks
        single("kv_cache_usage_perc", "gauge", "Share of KV blocks held by requests, 0 to 1.", {"": used})
        sizes = f',num_gpu_blocks="{pool.num_blocks}",block_size="{pool.block_size}"'
        single("cache_config_info", "gauge", "Sizes of the KV cache.", {sizes: 1.0})
        single("prompt_tokens_total", "counter", "Prompt tokens of requests.", {"": self._prompt_tokens})
        single("generation_tokens_total", "counter", "Output tokens.", {"": self._generation_tokens})
        single("num_preemptions_total", "counter", "Preemptions.", {"": scheduler.num_preemptions})
        hits, computed = scheduler.prompt_tokens_cached, scheduler.prompt_tokens_scheduled
        single("prefix_cache_queries_total", "counter", "Prompt tokens looked up.", {"": hits + computed})
        single("prefix_cache_hits_total", "counter", "Prompt tokens found cached.", {"": hits})
        sources = {',source="local_cache_hit"': hits, ',source="local_compute"': computed}
        single("prompt_tokens_by_source_total", "counter", "Prompt tokens by origin.", dict(sources))
        ends = {f',finished_reason="{reason}"': float(count) for reason, count in self._ends.items()}
        single("request_success_total", "counter", "Requests that ended, by reason.", ends)
        for name, histogram in self._histograms.items():
            lines.extend((f"# HELP vllm:{name} {_HISTOGRAMS[name][1]}", f"# TYPE vllm:{name} histogram"))
            lines.extend(histogram.lines(f"vllm:{name}", labels))
        return "\n".join(lines) + "\n"
