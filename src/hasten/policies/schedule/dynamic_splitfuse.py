"""Every step the same number of tokens."""

from dataclasses import dataclass

from hasten.policies.schedule.sarathi import Sarathi


@dataclass
class DynamicSplitfuse(Sarathi):
    """Split long prompts and compose short ones, so that every step has the same number of tokens.

    Paper: "DeepSpeed-FastGen: High-throughput Text Generation for LLMs via MII and DeepSpeed-Inference", 2024,
        arXiv:2401.08671.
    Differs: the number of tokens is a parameter, not found by profiling; the last step of a queue may be shorter.
    Needs: nothing.
    Use when: throughput within limits on both prompt and token latency is wanted; take the knee of the device's
        tokens-per-second curve.
    Avoid when: gaps between tokens must be as short as they can: a smaller budget (sarathi) keeps them shorter.
    """

    tokens: int = 2048  # prompt and decode tokens in a step
