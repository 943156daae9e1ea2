"""The repository's scripts and benchmarks as modules; their folders are no packages."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]


def load(name: str, folder: str = "scripts") -> ModuleType:
    """<folder>/<name>.py as a module. It finds its neighbours, as when it is run by its path."""
    known = f"hasten_{folder}_{name}"
    if known not in sys.modules:
        place = ROOT / folder
        if str(place) not in sys.path:
            sys.path.append(str(place))
        spec = importlib.util.spec_from_file_location(known, place / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[known] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
    return sys.modules[known]
