"""Compile the hot path with mypyc, in place: the same source, the same results to the bit, several times faster.

    pip install -e .[compiled]
    python scripts/compile.py            # needs a C compiler; writes extension modules beside the sources
    python scripts/compile.py --clean    # removes them: plain Python again

Only the sans-I/O core, the virtual-time driver and the compiled step costs are taken. Policies stay interpreted, so
that anyone can write one; plain Python stays the reference. Step costs written in plain Python can't derive from the
compiled ones: `hasten accuracy`, which scales costs, and costs of your own need a tree that is not compiled.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src"
INTERPRETED = {"__init__.py", "policy.py", "run.py"}  # subclassed by users, or only wiring
LEAVE_NO_TRACE = ("*.so", "*.pyd")


def modules() -> list[Path]:
    """Source files to compile."""
    folders = (SOURCE / "hasten" / "core", SOURCE / "hasten" / "sim")
    found = [
        path for folder in folders for path in sorted(folder.glob("*.py")) if path.name not in INTERPRETED
    ]
    return [*found, SOURCE / "hasten" / "latency" / "compiled.py"]


def clean() -> int:
    """Remove every extension module under src; return how many there were."""
    built = [path for pattern in LEAVE_NO_TRACE for path in SOURCE.rglob(pattern)]
    for path in built:
        path.unlink()
    return len(built)


def build() -> None:
    """Compile in a temporary folder and copy the extension modules beside the sources, all or none."""
    clean()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(
            SOURCE, folder / "src", ignore=shutil.ignore_patterns("__pycache__", "*.npz", "*.json")
        )
        files = [str(Path("src") / path.relative_to(SOURCE)) for path in modules()]
        (folder / "setup.py").write_text(
            "from setuptools import setup\n"
            "from mypyc.build import mypycify\n"
            f"setup(name='hasten-compiled', package_dir={{'': 'src'}}, packages=[],\n"
            f"      ext_modules=mypycify(['--ignore-missing-imports', '--follow-imports=silent', *{files!r}],\n"
            "                           opt_level='3'))\n"
        )
        command = [sys.executable, "setup.py", "build_ext", "--build-lib", "built"]
        environment = {
            **os.environ,
            "MYPYPATH": "src",
            "CFLAGS": os.environ.get("CFLAGS", "") + " -ffp-contract=off",
        }
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(f"compile: mypyc or the C compiler failed\n{done.stdout}\n{done.stderr}")
        for path in (folder / "built").rglob("*"):
            if path.suffix in {".so", ".pyd"}:
                shutil.copy2(path, SOURCE / path.relative_to(folder / "built"))


def main() -> None:
    """Build or clean."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clean", action="store_true", help="remove the extension modules")
    if parser.parse_args().clean:
        print(f"removed {clean()} extension modules")
    else:
        build()
        print(f"compiled {len(modules())} modules; `python scripts/compile.py --clean` undoes it")


if __name__ == "__main__":
    main()
