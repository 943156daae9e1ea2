"""The command lines of an engine, found by the name that its profiles give it."""

from __future__ import annotations

import importlib
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hasten.delivery.offer import Offer, Pool
from hasten.errors import InputError
from hasten.profiles import EngineProfile

_FOLDER = Path(__file__).parent / "engines"


@dataclass(frozen=True)
class Engine:
    """How one engine is started: see `hasten.delivery.engines`."""

    program: tuple[str, ...]
    port: int
    backend: str
    args: Callable[[Offer, Pool], list[str]]
    extra: Callable[[Offer, Pool], dict[str, str]]
    environment: Callable[[Pool], dict[str, str]] = lambda pool: {}
    image_pattern: str = ""
    settings: Callable[[Offer, Pool], dict[str, Any]] | None = (
        None  # as keywords in Python, where it has them
    )

    def image(self, offer: Offer) -> str:
        """The container image of the version that was simulated."""
        return self.image_pattern.format(version=offer.profile.version)

    def command(self, offer: Offer, pool: Pool) -> str:
        """One line for a shell, without host and port."""
        return shlex.join([*self.program, *self.args(offer, pool)])


def engine_of(profile: EngineProfile) -> Engine:
    """The engine of a profile. Raises InputError when nobody knows how to start it."""
    name = profile.engine
    known = sorted(path.stem for path in _FOLDER.glob("*.py") if not path.stem.startswith("_"))
    if name not in known:
        raise InputError(
            f"no files can be written for engine {name}: they are for {', '.join(known)}; "
            "`hasten serve` starts our own"
        )
    found = importlib.import_module(f"hasten.delivery.engines.{name}")
    return Engine(
        found.PROGRAM,
        found.PORT,
        found.BACKEND,
        found.args,
        found.extra,
        environment=found.environment,
        image_pattern=found.IMAGE,
        settings=getattr(found, "settings", None),
    )
