"""How one replica's model is spread over devices."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING

from hasten.errors import InputError

if TYPE_CHECKING:
    from hasten.models.shape import ModelShape


@dataclass(frozen=True)
class Parallelism:
    """Parallel sizes of one replica, in devices.

    ``tp`` splits every matrix, ``pp`` splits the layers into stages, ``dp`` repeats attention for separate
    sets of sequences, ``ep`` spreads the experts. ``ep`` is 1 (each expert is split ``tp`` ways), a divisor
    of ``tp`` (experts are spread inside a rank) or ``tp * dp`` (experts are spread over all ranks, which then
    run in lock-step).

    Raises InputError for a size below 1 or an ``ep`` that is none of the above.
    """

    tp: int = 1
    pp: int = 1
    _: KW_ONLY
    dp: int = 1
    ep: int = 1

    def __post_init__(self) -> None:
        for name in ("tp", "pp", "dp", "ep"):
            size = getattr(self, name)
            if not isinstance(size, int) or isinstance(size, bool) or size < 1:
                raise InputError(f"parallel size {name} is {size!r}: give a whole number of at least 1")
        if self.tp % self.ep and self.ep != self.tp * self.dp:
            raise InputError(
                f"expert parallel size ep is {self.ep} with tp {self.tp} and dp {self.dp}: "
                f"give 1, a divisor of tp, or tp x dp = {self.tp * self.dp}"
            )

    @property
    def devices(self) -> int:
        """Devices of one replica."""
        return self.tp * self.pp * self.dp

    @property
    def is_lockstep(self) -> bool:
        """True when the data-parallel ranks share experts, so that no rank can step alone."""
        return self.dp > 1 and self.ep > self.tp

    @property
    def expert_shards(self) -> int:
        """Devices over which one expert's matrices are split."""
        return max(1, self.tp // self.ep)

    @property
    def label(self) -> str:
        """Sizes above 1 in plan notation, such as ``tp4 pp2``; ``tp1`` when all are 1."""
        sizes = (("tp", self.tp), ("pp", self.pp), ("dp", self.dp), ("ep", self.ep))
        return " ".join(f"{name}{size}" for name, size in sizes if size > 1) or "tp1"

    def check(self, model: ModelShape) -> None:
        """Raise InputError when the model can't be split this way; the message names the size to change.

        KV heads are either divided by ``tp`` or repeated when ``tp`` is a multiple of their number. Matrix
        widths need not divide: engines pad them, and a padded slice is priced as the exact share.
        """
        if self.pp > model.num_layers:
            raise InputError(f"{model.name} has {model.num_layers} layers, fewer than pp {self.pp}: lower pp")
        for group in model.layers:
            heads, kv_heads = group.attention.heads, group.attention.kv_heads
            if heads % self.tp:
                raise InputError(
                    f"{model.name} has {heads} attention heads, not divisible by tp {self.tp}: "
                    "choose another tp"
                )
            if group.attention.kind != "mla" and kv_heads % self.tp and self.tp % kv_heads:
                raise InputError(
                    f"{model.name} has {kv_heads} KV heads: tp {self.tp} does not fit that number: "
                    "choose another tp"
                )
            experts = group.ffn.experts
            if experts and experts % self.ep:
                raise InputError(
                    f"{model.name} has {experts} experts, not divisible by ep {self.ep}: choose another ep"
                )
        if self.ep > 1 and not any(group.ffn.experts for group in model.layers):
            raise InputError(f"{model.name} has no experts: use ep 1, not {self.ep}")
