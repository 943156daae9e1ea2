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
    sets of sequences, ``ep`` spreads the experts: 1 (every rank holds all experts, each split ``tp``
    ways) or ``tp * dp`` (whole experts spread over all ranks, which then step together), as in vLLM's
    ``--enable-expert-parallel``.

    Raises InputError for a size below 1 or any other ``ep``.
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
        if self.ep not in (1, self.tp * self.dp):
            raise InputError(
                f"expert parallel size ep is {self.ep} with tp {self.tp} and dp {self.dp}: "
                f"give 1 or tp x dp = {self.tp * self.dp}"
            )

    @property
    def devices(self) -> int:
        """Devices of one replica."""
        return self.tp * self.pp * self.dp

    @property
    def is_lockstep(self) -> bool:
        """True when the data-parallel ranks share experts, so that no rank can step alone."""
        return self.dp > 1 and self.ep > 1

    @property
    def label(self) -> str:
        """Sizes above 1 in plan notation, such as ``tp4 pp2``; ``tp1`` when all are 1."""
        sizes = (("tp", self.tp), ("pp", self.pp), ("dp", self.dp), ("ep", self.ep))
        return " ".join(f"{name}{size}" for name, size in sizes if size > 1) or "tp1"

    def check(self, model: ModelShape) -> None:
        """Raise InputError when the model can't be split this way; the message names the size to change."""
        model.check_parallelism(self.tp, self.pp, self.ep)
