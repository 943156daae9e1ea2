"""All files of an offer, written together or not at all."""

from __future__ import annotations

import importlib
import os
import shutil
import tempfile
from pathlib import Path

from hasten.delivery.engine import engine_of
from hasten.delivery.offer import Offer
from hasten.errors import InputError

_TARGETS = Path(__file__).parent / "targets"
MARK = "prediction.json"  # a folder that holds it was written here before


def files_of(offer: Offer) -> dict[str, str]:
    """Texts by file name, sorted. Raises InputError for an engine that nobody knows how to start."""
    engine = engine_of(offer.profile)
    made: dict[str, str] = {}
    for path in sorted(_TARGETS.glob("*.py")):
        if not path.stem.startswith("_"):
            made |= importlib.import_module(f"hasten.delivery.targets.{path.stem}").files(offer, engine)
    return dict(sorted(made.items()))


def check_folder(folder: Path, *, overwrite: bool = False) -> None:
    """Raise InputError now for a folder that could not be written later."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file: name a folder")
    if folder.is_dir() and any(folder.iterdir()):
        if not overwrite:
            raise InputError(f"{folder}: is not empty: name another folder, or add --overwrite")
        if not (folder / MARK).is_file():
            raise InputError(
                f"{folder}: holds files, but no {MARK}: nothing that was delivered, so it stays as it is"
            )
    if not folder.parent.is_dir():
        raise InputError(f"{folder}: folder {folder.parent} does not exist: create it or name another")


def write(offer: Offer, folder: Path, *, overwrite: bool = False) -> list[str]:
    """Write every file of `offer` into `folder`, all or none; returns their names.

    A folder with files in it is left alone unless `overwrite` says so, and then only if it was delivered before:
    the files of that delivery are replaced, others stay. Raises InputError.
    """
    check_folder(folder, overwrite=overwrite)
    made = files_of(offer)
    try:
        staged = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    except OSError as error:
        raise InputError(f"{folder}: can't be written ({error.strerror}): check the folder") from None
    try:
        if folder.is_dir():
            shutil.copytree(folder, staged, dirs_exist_ok=True)
        for name, text in made.items():
            (staged / name).write_text(text, encoding="utf-8")
            (staged / name).chmod(0o755 if name.endswith(".sh") else 0o644)
        staged.chmod(0o755)
        _exchange(staged, folder)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    return list(made)


def _exchange(staged: Path, folder: Path) -> None:
    """Put `staged` in the place of `folder`."""
    if not folder.is_dir():
        os.rename(staged, folder)
        return
    old = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.")) / "old"
    os.rename(folder, old)
    try:
        os.rename(staged, folder)
    except BaseException:
        os.rename(old, folder)
        raise
    shutil.rmtree(old.parent)
