"""Typed reading of a model's config.json: errors name the file, the field, its value and what is wanted."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hasten.errors import InputError

# An upper limit for each kind of count, far above any model: a larger number is a slip or a hostile file.
MAX_WIDTH = 2**24  # hidden sizes, vocabularies, feed-forward widths
MAX_COUNT = 2**14  # layers, heads, experts
MAX_TOKENS = 2**40

# A field nobody reads may still change the shape. It is refused when its name contains one of these words and
# it holds a number, true, a list or an object; null, false, 0 and text add no weights we would miss.
SHAPE_WORDS = (
    "conv", "depth", "dim", "expert", "head", "hidden", "interval", "latent", "layer", "lora", "mtp",
    "qk_norm", "rank", "size", "sparse", "state", "stride", "width", "window",
)  # fmt: skip

# Names that contain such a word but never change weights, cache or work.
HARMLESS = frozenset((
    "attention_dropout", "chunk_size_feed_forward", "cross_attention_hidden_size", "ep_size",
    "encoder_no_repeat_ngram_size", "hidden_dropout", "initializer_range", "layer_norm_eps",
    "no_repeat_ngram_size", "output_hidden_states", "qk_head_dim", "router_aux_loss_coef",
))  # fmt: skip

_MISSING: Any = object()


def shorten(value: object) -> str:
    """A value as it can stand in a one-line message."""
    text = repr(value) if not isinstance(value, (dict, list)) else f"a JSON {_KINDS[type(value)]}"
    return text if len(text) <= 40 else text[:37] + "..."


_KINDS: dict[type, str] = {dict: "object", list: "list"}


@dataclass
class Fields:
    """One JSON object of a configuration file, read field by field.

    `where` is the file as the user named it, `section` the path of this object inside it. Every name asked
    for is remembered, so that `refuse_unread` can find fields that nobody understood.
    """

    where: str
    values: Mapping[str, Any]
    section: str = ""
    read: set[str] = field(default_factory=set)

    def fail(self, name: str, problem: str) -> InputError:
        """An error about one field, for the caller to raise."""
        return InputError(f"{self.where}: {self.section}{name} {problem}")

    def has(self, name: str) -> bool:
        """Whether the field is present and not null."""
        self.read.add(name)
        return self.values.get(name) is not None

    def integer(
        self, name: str, default: Any = _MISSING, *, at_least: int = 1, at_most: int = MAX_WIDTH
    ) -> int:
        """A whole number in [at_least, at_most]; the default stands in for an absent or null field."""
        if not self.has(name):
            if default is _MISSING:
                raise self.fail(name, f"is missing: give a whole number of at least {at_least}")
            return int(default)
        return self._checked(name, self.values[name], at_least=at_least, at_most=at_most)

    def _checked(self, name: str, value: Any, *, at_least: int, at_most: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.fail(name, f"is {shorten(value)}: give a whole number of at least {at_least}")
        if value < at_least:
            raise self.fail(name, f"is {shorten(value)}: give at least {at_least}")
        if value > at_most:
            raise self.fail(name, f"is {shorten(value)}: the limit is {at_most}")
        return value

    def integers(self, name: str, *, at_least: int = 0, at_most: int = MAX_WIDTH) -> list[int]:
        """A list of whole numbers; empty when absent."""
        return [
            self._checked(f"{name}[{i}]", value, at_least=at_least, at_most=at_most)
            for i, value in enumerate(self._list(name))
        ]

    def strings(self, name: str) -> list[str]:
        """A list of strings; empty when absent."""
        found = self._list(name)
        for i, value in enumerate(found):
            if not isinstance(value, str):
                raise self.fail(f"{name}[{i}]", f"is {shorten(value)}: give a string")
        return found

    def _list(self, name: str) -> list[Any]:
        if not self.has(name):
            return []
        value = self.values[name]
        if not isinstance(value, list):
            raise self.fail(name, f"is {shorten(value)}: give a list")
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        """True or false."""
        if not self.has(name):
            return default
        value = self.values[name]
        if not isinstance(value, bool):
            raise self.fail(name, f"is {shorten(value)}: give true or false")
        return value

    def text(self, name: str, default: str = "") -> str:
        """A string."""
        if not self.has(name):
            return default
        value = self.values[name]
        if not isinstance(value, str):
            raise self.fail(name, f"is {shorten(value)}: give a string")
        return value

    def choice(self, name: str, options: Mapping[str, Any], default: Any = _MISSING) -> Any:
        """The option a string stands for."""
        if not self.has(name):
            if default is _MISSING:
                raise self.fail(name, f"is missing: give one of {', '.join(options)}")
            return default
        value = self.values[name]
        if not isinstance(value, str) or value not in options:
            raise self.fail(name, f"is {shorten(value)}: supported are {', '.join(options)}")
        return options[value]

    def inner(self, name: str) -> "Fields | None":
        """A nested object, or None when absent."""
        if not self.has(name):
            return None
        value = self.values[name]
        if not isinstance(value, dict):
            raise self.fail(name, f"is {shorten(value)}: give a JSON object")
        return Fields(self.where, value, f"{self.section}{name}.")

    def refuse_unread(self, harmless: Iterable[str] = ()) -> None:
        """Raise InputError for a field that nobody read and whose name and value could change the shape."""
        known = HARMLESS | self.read | set(harmless)
        for name, value in self.values.items():
            could_matter = (
                value is not None and value is not False and value != 0 and not isinstance(value, str)
            )
            if name in known or name.startswith("_") or not could_matter:
                continue
            if value not in ([], {}) and any(word in name for word in SHAPE_WORDS):
                raise self.fail(
                    name, f"is {shorten(value)}: this field could change the shape and is not understood; "
                    "remove it only if it doesn't"
                )  # fmt: skip
