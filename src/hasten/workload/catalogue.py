"""Where trace readers come from: the readers folder, installed packages, or one file of the user's."""

import importlib
import importlib.util
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from hasten.errors import InputError
from hasten.workload.heads import first_line
from hasten.workload.rows import Row, shortened
from hasten.workload.workload import Workload

ENTRY_POINTS = "hasten.readers"
_FOLDER = Path(__file__).parent / "readers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """One trace format: its name, how to recognise it, how to read it, what to do afterwards."""

    name: str
    detect: Callable[[str, str], bool]
    read: Callable[..., Iterator[Row]]
    adjust: Callable[..., Workload] | None
    place: str

    def options(self) -> dict[str, inspect.Parameter]:
        """The keyword options of `read` and `adjust` by name."""
        return {**_keywords(self.read), **(_keywords(self.adjust) if self.adjust else {})}

    def chosen(self, options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The options split into those of `read` and of `adjust`; raises InputError for any other."""
        known = self.options()
        for name in options:
            if name not in known:
                names = ", ".join(known) or "none"
                raise InputError(f"format {self.name} has no option {name!r}: its options are {names}")
        reading = _keywords(self.read)
        return (
            {name: value for name, value in options.items() if name in reading},
            {name: value for name, value in options.items() if name not in reading},
        )


def reader_names() -> list[str]:
    """Names of the built-in formats and of those installed packages offer."""
    return sorted(reader.name for reader in _all_readers())


def reader_for(path: Path, head: str, format: str | None) -> Reader:
    """The reader named `format` (or in the file ./format.py), else the one that recognises `head`.

    Raises InputError when no reader or more than one does, with the formats known and the first line seen.
    """
    if format is not None:
        return reader_named(format)
    readers = _all_readers()
    found = [reader for reader in readers if reader.detect(head, str(path))]
    if len(found) == 1:
        return found[0]
    seen = f"first line {shortened(first_line(head), 80)}"
    if found:
        names = ", ".join(sorted(reader.name for reader in found))
        raise InputError(f"{path}:1: {seen} fits several formats ({names}): choose one with format")
    names = ", ".join(sorted(reader.name for reader in readers))
    raise InputError(
        f"{path}:1: {seen} fits no known format ({names}): choose one with format, or rename columns"
    )


def reader_named(format: str) -> Reader:
    """The reader of that name, or the one in the Python file of that path."""
    if format.endswith(".py"):
        return _checked(_module_from(Path(format)), format)
    readers = _all_readers()
    for reader in readers:
        if reader.name == format:
            return reader
    names = ", ".join(sorted(reader.name for reader in readers))
    raise InputError(f"format = {format!r} is unknown: use one of {names}, or the path of a reader.py")


def _all_readers() -> list[Reader]:
    readers = []
    for file in sorted(_FOLDER.glob("*.py")):
        if not file.stem.startswith("_"):
            module = importlib.import_module(f"hasten.workload.readers.{file.stem}")
            readers.append(_checked(module, str(file)))
            if readers[-1].name != file.stem:
                raise InputError(
                    f"{file}: NAME = {readers[-1].name!r} differs from the file name: make them equal"
                )
    from importlib.metadata import entry_points  # 15 ms, which a shipped sample need not pay

    points = entry_points(group=ENTRY_POINTS)
    readers.extend(_checked(_loaded(point), f"entry point {point.value}") for point in points)
    places: dict[str, str] = {}
    for reader in readers:
        if reader.name in places:
            raise InputError(
                f"two readers are called {reader.name!r} ({places[reader.name]}, {reader.place})"
            )
        places[reader.name] = reader.place
    return readers


def _loaded(point: Any) -> Any:
    try:
        return point.load()
    except (Exception, SystemExit) as error:
        problem = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(
            f"entry point {point.name} = {point.value} can't be loaded ({problem}): mend or uninstall the package"
        ) from error


def _module_from(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"hasten_reader_{file.stem}", file)
    if not file.is_file() or spec is None or spec.loader is None:
        raise InputError(f"format = {str(file)!r}: no such reader file: check the path")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        problem = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{file}: can't be imported ({problem}): mend the reader") from error
    return module


def _checked(found: Any, place: str) -> Reader:
    """A Reader from a module or object that has the three names a reader needs."""
    for name, kind in (("NAME", "a text"), ("detect", "a function"), ("read", "a function")):
        value = getattr(found, name, None)
        if not (isinstance(value, str) if name == "NAME" else callable(value)):
            raise InputError(f"{place}: a reader needs {name} ({kind}): add it")
    return Reader(
        name=found.NAME,
        detect=found.detect,
        read=found.read,
        adjust=getattr(found, "adjust", None),
        place=place,
    )


def _keywords(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(function).parameters.values()
    return {item.name: item for item in parameters if item.kind is inspect.Parameter.KEYWORD_ONLY}
