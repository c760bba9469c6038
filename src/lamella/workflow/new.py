"""Make a project from what an import understood: settings, raw tables and the notes. No image is copied."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lamella.errors import ImageError, InputError, OutputError, ProjectError
from lamella.formats.images import open_images, split_name
from lamella.formats.overrides import Imported
from lamella.records import TiltSeries
from lamella.workflow.ledger import Ledger
from lamella.workflow.project import Project
from lamella.workflow.record_name import RAW, RecordName, check_file_name
from lamella.workflow.settings_file import SettingsFile
from lamella.workflow.tables import write_record

__all__ = ["anchored", "check_new_folder", "check_series", "create_project"]


def check_new_folder(path: Path) -> Path:
    """The absolute path of a project to be made.

    Raises
    ------
    ProjectError
        if something is there already.
    """
    target = Path(os.path.abspath(path.expanduser()))
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        mend = "take another name"
        if (target / "lamella.toml").is_file():
            mend = f"it is a project: go on with `lamella run {path}`, or take another name"
        raise ProjectError(f"{path} exists and is not empty", mend=mend)
    return target


def create_project(
    path: Path, imported: Imported, motion: Mapping[str, Any] | None = None, *, empty: bool = False
) -> Project:
    """Make the folder of a project, whole or not at all.

    Parameters
    ----------
    path
        of the folder, which must not exist or be empty.
    imported
        the series, with image names relative to the present working directory or absolute, and what is to be told.
    motion
        settings of `motion` that the project begins with (see `references.settle_references`).
    empty
        whether it may have no tilt series: particles that were cut out elsewhere want none.

    Raises
    ------
    ProjectError
        if the folder is not empty, or two series have one name.
    ImageError
        if images are missing or their size is not what the record states.
    OutputError
        if the folder cannot be written.
    """
    target = check_new_folder(path)
    series = tuple(anchored(entry) for entry in imported.series)
    if series or not empty:
        check_series(series)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.new")
    try:
        temporary.mkdir(parents=True)
        draft = Project(temporary)
        write_record(draft, RAW, series)
        settings = SettingsFile.default(draft.settings_path)
        settings.change(RecordName("motion"), motion or {})
        settings.save()
        with Ledger(draft.ledger_path) as ledger:
            ledger.add_notes("raw", imported.notes)
        if target.is_dir():
            target.rmdir()
        temporary.rename(target)
    except OSError as error:
        raise OutputError(
            f"{target} cannot be made: {error.strerror}", mend="choose a folder that you may write to"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Project(target)


def anchored(series: TiltSeries) -> TiltSeries:
    """The record with absolute file names, so that the project may lie anywhere."""
    changes: dict[str, Any] = {}
    for field in ("images", "even_images", "odd_images", "movies"):
        names = getattr(series, field)
        if names is not None:
            changes[field] = _absolute(names)
    return replace(series, **changes)


def _absolute(names: Sequence[str]) -> tuple[str, ...]:
    anchored = []
    for name in names:
        _, file = split_name(name)
        anchored.append(name[: len(name) - len(file)] + os.path.abspath(file) if name.endswith(file) else name)
    return tuple(anchored)


def check_series(series: Sequence[TiltSeries]) -> None:
    """See whether series can be a raw record: names of their own, and images as they are said to be.

    Raises
    ------
    InputError
        if there is none, two have one name, or images are missing or of another size.
    """
    if not series:
        raise InputError("there is no tilt series in what was given", mend="check the pattern of --mdoc")
    names = [check_file_name(entry.name) for entry in series]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ProjectError(f"two tilt series are named {twice[0]}", mend="rename one of their files")
    for entry in series:
        if entry.images is None:
            continue
        images = open_images(entry.images, Path("/"))
        if images.shape != (len(entry), *entry.image_shape_px):
            raise ImageError(
                f"{entry.name}: images of {images.shape} where {(len(entry), *entry.image_shape_px)} are expected",
                mend="check the stack and its mdoc",
            )
