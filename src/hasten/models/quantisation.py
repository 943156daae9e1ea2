"""How a checkpoint stores its weights: bits per weight, scales, and the modules left alone."""

import re
from dataclasses import KW_ONLY, dataclass
from functools import lru_cache

from hasten.models.layers import Linear


@dataclass(frozen=True, slots=True)
class Quantisation:
    """Storage of quantised weights, in bits.

    Norms, embeddings and routers are never quantised; the output head only when `lm_head` is set. An operator
    keeps its type when one of its modules matches an entry of `excluded` (see `matches`), or none matches
    `targets`.
    """

    method: str
    weight_bits: float
    _: KW_ONLY
    activation_bits: float = 16
    kv_bits: float | None = None  # None: the cache has the model's own type
    group_size: int = 0  # weights that share a scale; 0: one scale per output channel
    scale_bits: float = 0  # bits of scale and zero point per group
    excluded: tuple[str, ...] = ()
    targets: tuple[str, ...] = ("Linear",)
    lm_head: bool = False

    def covers(self, linear: Linear, layer: int) -> bool:
        """Whether the operator of layer number `layer` is stored quantised."""
        if linear.is_router:
            return False
        paths = [f"model.layers.{layer}.{module}" for module in linear.modules]
        if any(matches(path, self.excluded) for path in paths):
            return False
        return "Linear" in self.targets or any(matches(path, self.targets) for path in paths)

    def bytes_of(self, linear: Linear) -> float:
        """Bytes of the operator's quantised matrices and their scales, without biases."""
        groups = linear.weights / self.group_size if self.group_size else linear.copies * linear.n_out
        return (linear.weights * self.weight_bits + groups * self.scale_bits) / 8


def matches(path: str, entries: tuple[str, ...]) -> bool:
    """Whether a module path is named by an entry of an ignore or target list.

    An entry is a run of whole path components (`lm_head`, `model.layers.0`, `self_attn.q_proj`), in which `*`
    stands for any text, or `re:` and a regular expression matched from the start of the path.
    """
    names, patterns = _matcher(entries)
    return not names.isdisjoint(_runs(path)) or any(each.search(path) for each in patterns)


def pattern_error(entry: str) -> str:
    """Why an entry can't be matched; empty when it can."""
    try:
        _matcher((entry,))
    except (re.error, OverflowError, RecursionError) as error:
        return f"not a regular expression ({error})"
    return "" if entry.strip(".") else "an empty name"


@lru_cache(maxsize=64)
def _matcher(entries: tuple[str, ...]) -> tuple[frozenset[str], list[re.Pattern[str]]]:
    """Plain names, to be looked up, and expressions for all others."""
    plain = frozenset(each.strip(".") for each in entries if "*" not in each and not each.startswith("re:"))
    others = [each for each in entries if "*" in each or each.startswith("re:")]
    return plain, [re.compile(_expression(each)) for each in others]


def _expression(entry: str) -> str:
    if entry.startswith("re:"):
        return r"\A(?:" + entry[3:] + ")"
    return r"(?:\A|\.)" + re.escape(entry.strip(".")).replace(r"\*", ".*") + r"(?:\.|\Z)"


@lru_cache(maxsize=4096)
def _runs(path: str) -> frozenset[str]:
    """Every run of neighbouring components of a path."""
    parts = path.split(".")
    ends = range(1, len(parts) + 1)
    return frozenset(".".join(parts[start:end]) for end in ends for start in range(end))
