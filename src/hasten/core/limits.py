"""What an engine allows in one step, and the rules by which it admits and preempts."""

from dataclasses import dataclass

from hasten.errors import InputError

ADMISSIONS = ("fits_now", "expected_output", "max_output")
PREEMPTIONS = ("newest", "fewest_generated")


@dataclass(frozen=True)
class Limits:
    """Scheduler limits of one replica. Tokens and KV blocks as plain numbers.

    admission: `fits_now` asks that the known sequence (or its first chunk) fits the free blocks; `expected_output`
    adds a share of every running request's remaining cap (SGLang); `max_output` reserves prompt and cap in full
    (TensorRT-LLM, GUARANTEED_NO_EVICT). preemption: who loses its KV first when blocks run out.

    Raises InputError when a limit is out of range.
    """

    num_blocks: int
    block_size: int = 16
    max_num_seqs: int = 256
    max_num_batched_tokens: int = 8192
    max_model_len: int = 131072
    prefix_caching: bool = True
    chunked_prefill: bool = True
    mixed_steps: bool = True  # a step may hold prefill chunks and decodes
    long_prefill_token_threshold: int = 0  # 0: none
    reserve_full_sequence: bool = True  # admit only if every known token fits now
    watermark_blocks: int = 0  # kept free at admission
    admission: str = "fits_now"
    preemption: str = "newest"
    new_token_ratio: float = 0.7  # expected_output: share of the remaining cap that is reserved, at first
    min_token_ratio: float = 0.098
    ratio_decay_steps: int = 600
    clip_max_tokens: int = 4096

    def __post_init__(self) -> None:
        for name in ("num_blocks", "block_size", "max_num_seqs", "max_num_batched_tokens", "max_model_len"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}: it must be at least 1")
        if self.max_num_seqs > self.max_num_batched_tokens:
            raise InputError(
                f"max_num_seqs {self.max_num_seqs} exceeds max_num_batched_tokens {self.max_num_batched_tokens}: "
                "every running sequence needs a token per step; lower the first or raise the second"
            )
        if self.admission not in ADMISSIONS:
            raise InputError(f"admission {self.admission!r} is unknown: use one of {', '.join(ADMISSIONS)}")
        if self.preemption not in PREEMPTIONS:
            raise InputError(
                f"preemption {self.preemption!r} is unknown: use one of {', '.join(PREEMPTIONS)}"
            )
