"""Decode steps of a CUDA device as captured graphs: one launch instead of some twenty per layer.

A graph holds a number of sequences and a width of contexts. It is captured when a step first needs it and replayed on
the same memory from then on. A step runs in the smallest that holds it; rows and columns that are left over read and
write one slot that no block owns. Steps that prefill, larger batches, and shapes that can't be captured run eagerly.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

import torch
from torch import Tensor

from hasten.engine.model import Decoder, KVCache, StepInput
from hasten.engine.sampling import largest

SIZES = (1, 2, 4, *range(8, 257, 8))
"""Sequences of graphs: every eighth, as other engines have it."""

NARROWEST = 128
"""Least width of a graph in tokens; further widths are 1, 1.5, 2, 3, 4, 6, ... times it."""

WARM_UPS = 2
"""Runs before a capture, in which libraries choose their kernels and take their memory."""

Run = Callable[[], Tensor]
Capture = Callable[[Run], Run]
"""Turns a function on fixed memory into one that repeats it."""


def size_for(count: int) -> int | None:
    """Sequences of the smallest graph for `count` of them; None: there is none so large."""
    place = bisect_left(SIZES, count)
    return SIZES[place] if place < len(SIZES) else None


def width_for(tokens: int) -> int:
    """Width of the narrowest graph that reads `tokens` of every sequence: at most half more than asked for."""
    width = NARROWEST
    while width < tokens:
        width *= 2
    return max(width * 3 // 4, NARROWEST) if tokens <= width * 3 // 4 else width


class FixedStep:
    """Memory of a decode step of `size` sequences, `width` slots for each; nobody owns the slot `spare`."""

    def __init__(self, size: int, width: int, spare: int, *, device: torch.device) -> None:
        self._spare = spare
        self._used = (0, 0)  # rows and columns that hold a step

        def whole(value: int, *shape: int) -> Tensor:
            return torch.full(shape, value, dtype=torch.int64, device=device)

        self.input = StepInput(
            whole(0, size),
            whole(0, size),
            whole(spare, size),
            torch.arange(size, device=device),
            num_decodes=size,
            decode_slots=whole(spare, size, width),
        )

    def fill(self, step: StepInput) -> None:
        """Put a step of decodes in, and padding where the one before was larger."""
        table, fixed = self.input.decode_slots, self.input
        step = step.on(fixed.tokens.device)
        if table is None or step.decode_slots is None:
            raise ValueError("a step that decodes needs decode_slots")
        (rows, columns), (had, wide) = step.decode_slots.shape, self._used
        for memory, given in ((fixed.tokens, step.tokens), (fixed.positions, step.positions)):
            memory[:rows].copy_(given)
            memory[rows:had].zero_()
        fixed.slots[:rows].copy_(step.slots)
        fixed.slots[rows:had].fill_(self._spare)
        table[:rows, :columns].copy_(step.decode_slots)
        table[:rows, columns:wide].fill_(self._spare)
        table[rows:had, :wide].fill_(self._spare)
        self._used = (rows, columns)


class GraphedDecoder:
    """A decoder whose decode steps are replayed. Same interface and results; logits last until the next call.

    `capture` makes the graphs (default: CUDA's). `failure` says why no more are made, if one could not be.
    """

    def __init__(self, decoder: Decoder, capture: Capture | None = None) -> None:
        self.config = decoder.config
        self.dtype_name = decoder.dtype_name
        self.kernels = f"{decoder.kernels}, decodes as graphs"
        self.failure: str | None = None
        self._decoder = decoder
        self._capture = capture or cuda_capture()
        self._graphs: dict[tuple[int, int], tuple[FixedStep, Run]] = {}
        self._cache: KVCache | None = None  # the one that the graphs work on

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self._decoder.device

    @property
    def kv_dtype(self) -> torch.dtype:
        """The type of activations and KV."""
        return self._decoder.kv_dtype

    def cache(self, num_blocks: int, block_size: int) -> KVCache:
        """KV memory of `num_blocks` blocks, and the slot for padding behind them."""
        return KVCache(self.config, num_blocks * block_size + 1, dtype=self.kv_dtype, device=self.device)

    @torch.inference_mode()
    def forward(self, step: StepInput, cache: KVCache) -> Tensor:
        """Compute one step."""
        whole = step.rows.numel() == step.num_decodes > 0 and not step.chunks
        size = size_for(step.num_decodes) if whole else None
        if size is None or step.decode_slots is None:
            return self._decoder.forward(step, cache)
        if cache is not self._cache:
            self._graphs.clear()
            self._cache = cache
        shape = size, width_for(step.decode_slots.shape[1])
        if shape not in self._graphs and (self.failure is not None or not self._captured(shape, cache)):
            return self._decoder.forward(step, cache)
        fixed, replay = self._graphs[shape]
        fixed.fill(step)
        return replay()[: step.num_decodes]

    def largest(self, step: StepInput, cache: KVCache) -> list[int]:
        """Compute one step: the token of each row's largest logit."""
        return largest(self.forward(step, cache))

    def _captured(self, shape: tuple[int, int], cache: KVCache) -> bool:
        """Make a graph of `shape`, on padding alone. False: it can't be had, and `failure` says why."""
        fixed = FixedStep(*shape, cache.keys.shape[2] - 1, device=self.device)
        try:
            self._graphs[shape] = fixed, self._capture(lambda: self._decoder.forward(fixed.input, cache))
        except RuntimeError as error:  # out of memory too
            self.failure = " ".join(str(error).split())[:200] or type(error).__name__
            return False
        return True


def cuda_capture() -> Capture:
    """Captures into CUDA graphs that share one pool of memory: of two, only one may be in use."""
    pool = torch.cuda.graph_pool_handle()

    def capture(run: Run) -> Run:
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UPS):
                run()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            logits = run()

        def replay() -> Tensor:
            graph.replay()
            return logits

        return replay

    return capture
