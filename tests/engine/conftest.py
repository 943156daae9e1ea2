"""Everything here needs torch; without it the modules are skipped, and say so."""

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import pytest

NEEDED = ("torch", "safetensors", "tokenizers", "jinja2")
MISSING = [name for name in NEEDED if find_spec(name) is None]

if not MISSING:
    import torch

    torch.set_num_threads(1)


class Skipped(pytest.File):
    """A test module that can't even be imported here."""

    def collect(self) -> Iterable[pytest.Item]:
        pytest.skip(
            f"the engine needs {', '.join(MISSING)}: install the extra `engine`", allow_module_level=True
        )


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.File | None:
    """Put a skip in the place of every module when the engine can't run."""
    return Skipped.from_parent(parent, path=module_path) if MISSING else None
