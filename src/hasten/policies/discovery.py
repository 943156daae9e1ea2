"""Finding policies: by name in the role's folder, by entry point in other packages, by path, or as an instance.

Nothing is imported before it is asked for: names are file names.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from hasten.core.policy import AdmitPolicy, CachePolicy, LengthPredictor, RoutePolicy, SchedulingPolicy
from hasten.errors import InputError
from hasten.policies import parameters

BASES: dict[str, type] = {
    "admit": AdmitPolicy,
    "route": RoutePolicy,
    "schedule": SchedulingPolicy,
    "cache": CachePolicy,
    "length": LengthPredictor,
}
FOLDER = Path(__file__).parent
_FILE_PREFIX = "hasten_policy_"
_FILE_MODULE = re.compile(_FILE_PREFIX + r"[0-9a-f]{16}_(?P<stem>.+)")
_PATH = re.compile(r"(?P<file>.+\.py)(?::(?P<parameters>.*))?", re.DOTALL)


def roles() -> tuple[str, ...]:
    """The decisions that a policy can make, in the order in which a request meets them."""
    return tuple(BASES)


def policy_names(role: str) -> list[str]:
    """Names of all policies of `role`, sorted: built in, and offered by other packages.

    Raises InputError for an unknown role, or when two sources claim one name.
    """
    return sorted(_sources(role))


def load_policy(role: str, spec: Any) -> Any:
    """The policy that `spec` means: an instance of the role's base (returned as it is), a name, a path to a file.

    "sjf", "static:batch_size=8,wait=inf", "./mine.py", "./mine.py:reserve=0.1". Raises InputError for whatever is
    wrong with it: unknown name or parameter, value out of range, a file without exactly one policy.
    """
    base = _base(role)
    if isinstance(spec, base):
        return spec
    if not isinstance(spec, str | Path):
        hint = (
            f"make one: {spec.__name__}()" if isinstance(spec, type) else "pass an instance, a name or a path"
        )
        raise InputError(f"{spec!r} is no {role} policy (a {base.__name__}): {hint}")
    cls, text = find_class(role, str(spec))
    return parameters.make(cls, text, f"{role} policy {name_of(cls)}")


def role_of(policy: Any) -> str:
    """The role of an instance, a path or a name.

    Raises InputError when it has none, or when a name stands in several roles.
    """
    if not isinstance(policy, str | Path):
        found = [role for role, base in BASES.items() if isinstance(policy, base)]
        if len(found) == 1:
            return found[0]
        bases = ", ".join(base.__name__ for base in BASES.values())
        raise InputError(f"{policy!r} is no policy: it must be an instance of one of {bases}")
    path = _PATH.fullmatch(str(policy))
    if path is not None:
        module = _load_file(Path(path["file"]))
        found = [role for role, base in BASES.items() if _public(module, base)]
        if len(found) != 1:
            raise InputError(
                f"{path['file']}: {'no policy' if not found else 'policies of roles ' + ', '.join(found)} in it: "
                "one public class that subclasses one role's base is needed"
            )
        return found[0]
    name = str(policy).partition(":")[0]
    found = [role for role in BASES if name in _sources(role)]
    if len(found) != 1:
        known = parameters.closest_first(
            name, sorted({name for role in BASES for name in policy_names(role)})
        )
        trouble = (
            f"stands in roles {', '.join(found)}: choose one with --role"
            if found
            else f"is unknown: {', '.join(known)}"
        )
        raise InputError(f"policy {name!r} {trouble}")
    return found[0]


def name_of(cls: type) -> str:
    """The file name of a policy in the folders or loaded by path; else the name of its class."""
    if cls.__module__.startswith("hasten.policies."):
        return cls.__module__.rpartition(".")[2]
    path = _FILE_MODULE.fullmatch(cls.__module__)
    return cls.__name__ if path is None else path["stem"]


def find_class(role: str, spec: str) -> tuple[type, str]:
    """The class that `spec` names in `role`, and the text of its parameters. Raises InputError."""
    path = _PATH.fullmatch(spec)
    if path is not None:
        return _only_class(_load_file(Path(path["file"])), _base(role), path["file"]), path[
            "parameters"
        ] or ""
    name, _, text = spec.partition(":")
    name = name.strip()
    sources = _sources(role)
    if name not in sources:
        known = ", ".join(parameters.closest_first(name, sorted(sources)))
        raise InputError(f"{role} policy {name!r} is unknown: use one of {known}, or a path ending in .py")
    source = sources[name]
    if isinstance(source, EntryPoint):
        return _from_entry_point(source, _base(role)), text
    module = importlib.import_module(f"hasten.policies.{role}.{name}")
    return _only_class(module, _base(role), str(source)), text


def _base(role: str) -> type:
    if role not in BASES:
        raise InputError(f"role {role!r} is unknown: use one of {', '.join(BASES)}")
    return BASES[role]


def _sources(role: str) -> dict[str, Path | EntryPoint]:
    """Where each name of `role` comes from."""
    _base(role)
    found: dict[str, Path | EntryPoint] = {
        path.stem: path for path in sorted((FOLDER / role).glob("*.py")) if not path.stem.startswith("_")
    }
    for point in _offered(role, tuple(sys.path)):
        other = found.get(point.name)
        if isinstance(other, EntryPoint) and other.value == point.value:
            continue  # one installation seen twice
        if other is not None:
            theirs = other.value if isinstance(other, EntryPoint) else other
            raise InputError(
                f"{role} policy {point.name!r} exists twice, in {theirs} and in {point.value}: rename or uninstall one"
            )
        found[point.name] = point
    return found


@functools.lru_cache(maxsize=32)
def _offered(role: str, path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """Entry points of the packages installed on `path`, which is sys.path: reading them all takes milliseconds."""
    return tuple(entry_points(group=f"hasten.policies.{role}"))


def _public(module: ModuleType, base: type) -> list[type]:
    """Public subclasses of `base` that `module` defines itself."""
    return [
        value
        for name, value in vars(module).items()
        if inspect.isclass(value)
        and issubclass(value, base)
        and value.__module__ == module.__name__
        and name == value.__name__
        and not name.startswith("_")
    ]


def _only_class(module: ModuleType, base: type, where: str) -> type:
    found = _public(module, base)
    if len(found) != 1:
        names = ", ".join(cls.__name__ for cls in found)
        trouble = (
            f"{len(found)} policies ({names}) in one file"
            if found
            else f"no public subclass of {base.__name__}"
        )
        raise InputError(
            f"{where}: {trouble}: define exactly one, and begin the names of others with an underscore"
        )
    return found[0]


def _from_entry_point(point: EntryPoint, base: type) -> type:
    try:
        loaded = point.load()
    except Exception as error:
        raise InputError(
            f"policy {point.name!r} of {point.value} can't be loaded: {type(error).__name__}: {error}"
        ) from error
    if isinstance(loaded, ModuleType):
        return _only_class(loaded, base, point.value)
    if inspect.isclass(loaded) and issubclass(loaded, base):
        return loaded
    raise InputError(f"policy {point.name!r}: {point.value} is no subclass of {base.__name__}")


def _load_file(path: Path) -> ModuleType:
    """Run the file as a module. Its name holds a hash of path and text, so that an edited file is loaded anew."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: can't be read: {error.strerror}") from error
    digest = hashlib.sha256(str(path.resolve()).encode() + b"\0" + text).hexdigest()[:16]
    name = f"{_FILE_PREFIX}{digest}_{path.stem}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path}: is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # pickle and dataclasses look classes up here
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        del sys.modules[name]
        raise InputError(f"{path}:{error.lineno}: {error.msg}") from error
    except (Exception, SystemExit) as error:  # a script that ends itself is no policy either
        del sys.modules[name]
        raise InputError(f"{path}: importing it fails: {type(error).__name__}: {error}") from error
    return module
