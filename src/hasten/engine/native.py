"""The compiled kernels: built once per machine with the compiler that is there, reached through ctypes.

No compiler, or a CPU that the kernels don't know, is no error: the engine then runs on torch's own operators.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).with_name("kernels.cpp")
COMPILERS = ("g++", "clang++", "c++")
# No -ffast-math: the order of sums is what makes a row independent of its company.
FLAGS = (
    *("-std=c++20", "-O3", "-march=native", "-fopenmp", "-fPIC", "-shared"),
    *("-fno-math-errno", "-fno-trapping-math", "-w"),
)
BUILD_SECONDS = 300
MAX_HEAD_DIM = 256  # what the kernels' buffers hold

FP32, FP16, BF16, INT8 = range(4)  # `Kind` in kernels.cpp
PANELS = {FP32: 32, FP16: 64, BF16: 64, INT8: 64}  # output columns that lie together there


class Matrix(ctypes.Structure):
    """A weight matrix [out, in], laid out as kernels.cpp says."""

    _fields_ = (
        ("kind", ctypes.c_int32),
        ("out", ctypes.c_int32),
        ("columns", ctypes.c_int32),
        ("unused", ctypes.c_int32),
        ("data", ctypes.c_void_p),
        ("scale", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
    )


class Layer(ctypes.Structure):
    """One decoder layer."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("input_norm", "inner_norm", "q_norm", "k_norm")),
        *((name, Matrix) for name in ("qkv", "attended", "gate_up", "down")),
        ("window", ctypes.c_int64),
    )


class Model(ctypes.Structure):
    """A decoder."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("hidden", "inner", "heads", "kv_heads", "head_dim")),
        *((name, ctypes.c_int32) for name in ("num_layers", "kv_kind", "threads")),
        ("eps", ctypes.c_float),
        ("embedding_kind", ctypes.c_int32),
        ("embedding", ctypes.c_void_p),
        ("layers", ctypes.POINTER(Layer)),
        ("norm", ctypes.c_void_p),
        ("head", Matrix),
        ("cos", ctypes.c_void_p),
        ("sin", ctypes.c_void_p),
    )


class Step(ctypes.Structure):
    """One step."""

    _fields_ = (
        *(
            (name, ctypes.c_int64)
            for name in ("tokens", "decodes", "spans", "rows", "num_slots", "whole_groups")
        ),
        *((name, ctypes.c_void_p) for name in ("ids", "positions", "slots", "wanted", "table", "entry")),
        ("table_width", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("span", "keys", "values", "logits", "largest")),
    )


class Kernels(NamedTuple):
    """The library, or why there is none."""

    library: ctypes.CDLL | None
    reason: str  # of its absence; with a library: what compiled it


@cache
def kernels() -> Kernels:
    """The compiled kernels for this machine, built on first use: about 10 seconds, then kept in the user's cache."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return Kernels(None, f"no kernels for {platform.machine()}")
    compiler = next((found for name in COMPILERS if (found := shutil.which(name))), None)
    if compiler is None:
        return Kernels(None, "no C++ compiler")
    target = _cache() / f"kernels-{_key(compiler)}.so"
    try:
        if not target.exists():
            _build(compiler, target)
        library = ctypes.CDLL(str(target))
    except (OSError, subprocess.SubprocessError) as error:
        reason = " ".join(str(error).split())[:200]
        return Kernels(None, f"{Path(compiler).name} can't build them ({reason})")
    library.hasten_linear.restype = None
    library.hasten_step.restype = ctypes.c_int64
    return Kernels(library, Path(compiler).name)


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "hasten"


def _key(compiler: str) -> str:
    """Changes with source, flags, compiler and what the CPU can do."""
    parts = [SOURCE.read_bytes(), " ".join(FLAGS).encode(), compiler.encode()]
    parts.append(str(Path(compiler).resolve().stat().st_mtime_ns).encode())
    cpu = Path("/proc/cpuinfo")
    if cpu.exists():
        lines = cpu.read_text(encoding="utf-8", errors="replace").splitlines()
        parts.append(next((line for line in lines if line.startswith("flags")), "").encode())
    else:
        parts.append(platform.processor().encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _build(compiler: str, target: Path) -> None:
    """Compile beside `target`, then move: several processes may do so at once."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, made = tempfile.mkstemp(suffix=".so", dir=target.parent)
    os.close(handle)
    try:
        subprocess.run(
            [compiler, *FLAGS, str(SOURCE), "-o", made],
            check=True,
            capture_output=True,
            timeout=BUILD_SECONDS,
        )
        os.replace(made, target)
    finally:
        Path(made).unlink(missing_ok=True)
