"""Prefill and decode on replicas of their own: what is served where, and the link that KV crosses between them."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from functools import cached_property

from hasten.deployment import KV_DTYPES, Deployment
from hasten.errors import InputError
from hasten.hardware import Link, load_link
from hasten.latency.messages import MESSAGES, num_messages
from hasten.models import ModelShape
from hasten.profiles import EngineProfile


@dataclass(frozen=True)
class Disaggregated:
    """Prompts are computed by `prefill`, answers by `decode`; the pools may differ in device, split and settings.

    A request's KV crosses `link` between: each replica has a link of its own per device. `messages` is one of
    MESSAGES; each message costs the link's latency. Raises InputError when the pools serve different models or keep
    KV in different types or block sizes.

    Sources: DistServe (OSDI 2024), P/D-Serve (arXiv:2408.08147), vLLM's NixlConnector (the decode side pulls).
    """

    prefill: Deployment
    decode: Deployment
    link: Link
    _: KW_ONLY
    messages: str = "layer"

    def __post_init__(self) -> None:
        first, second = self.prefill, self.decode
        if first.model != second.model:
            raise InputError(
                f"prefill serves {first.model.name}, decode serves {second.model.name}: KV fits one model only"
            )
        if first.kv_dtype != second.kv_dtype:
            raise InputError(
                f"kv_dtype is {first.kv_dtype} for prefill, {second.kv_dtype} for decode: make them equal"
            )
        if self.messages not in MESSAGES:
            raise InputError(f"messages {self.messages!r} is unknown: use one of {', '.join(MESSAGES)}")
        if first.limits.block_size != second.limits.block_size:
            raise InputError(
                f"KV blocks hold {first.limits.block_size} tokens for prefill, {second.limits.block_size} for decode: "
                "give both the same block_size"
            )
        if second.host_kv_bytes:
            raise InputError(
                "the decode pool gets its KV from the prefill pool: give host_kv_bytes to that one only"
            )
        for name, pool in (("prefill", first), ("decode", second)):
            if pool.parallelism.is_lockstep:
                raise InputError(
                    f"{name} pool {pool.label}: ranks that step together can't be disaggregated yet: use dp 1"
                )

    @classmethod
    def of(
        cls, prefill: Deployment, decode: Deployment, link: str | Link, *, messages: str = "layer"
    ) -> Disaggregated:
        """The two pools over a link given by name, file or object."""
        return cls(prefill, decode, link if isinstance(link, Link) else load_link(link), messages=messages)

    @property
    def model(self) -> ModelShape:
        """What both pools serve."""
        return self.prefill.model

    @property
    def profile(self) -> EngineProfile:
        """The engine of the prefill pool."""
        return self.prefill.profile

    @cached_property
    def kv_bytes_per_token(self) -> float:
        """Bytes of KV per token, over all layers and devices."""
        return float(self.prefill.model.kv_bytes_per_token(KV_DTYPES[self.prefill.kv_dtype]))

    def transfer_seconds(self, tokens: int) -> float:
        """Seconds to move the KV of `tokens` tokens over idle links.

        messages * latency + bytes / (bandwidth of the links of the pool with fewer devices per replica).
        """
        layers = self.prefill.model.num_layers
        blocks = -(-tokens // self.prefill.limits.block_size)
        messages = num_messages(self.messages, layers=layers, blocks=blocks)
        lanes = min(self.prefill.parallelism.devices, self.decode.parallelism.devices)
        size = tokens * self.kv_bytes_per_token
        return messages * self.link.latency + size / (lanes * self.link.reached_bandwidth)

    @property
    def devices(self) -> int:
        """Devices of both pools."""
        return self.prefill.devices + self.decode.devices

    @property
    def price_per_hour(self) -> float | None:
        """Dollars per hour of both pools; None when one has no price."""
        prices = self.prefill.price_per_hour, self.decode.price_per_hour
        return None if None in prices else sum(price for price in prices if price is not None)

    @property
    def kv_text(self) -> str:
        """Room for KV in one replica of each pool, in tokens."""
        return f"{self.prefill.kv_text} (prefill) and {self.decode.kv_text} (decode)"

    @property
    def label(self) -> str:
        """Short name, such as ``2 x [h100-sxm tp1] prefill + 1 x [h100-sxm tp2] decode over infiniband-ndr``."""
        return f"{self.prefill.label} prefill + {self.decode.label} decode over {self.link.name}"
