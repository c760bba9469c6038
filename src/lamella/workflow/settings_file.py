"""``lamella.toml``: every step's settings, one table per step, comments kept as the user left them."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import tomlkit
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from tomlkit.items import Item, Table

from lamella.checked_settings import nearest, validate
from lamella.errors import ProjectError, SettingsError
from lamella.formats.atomic import atomic_path
from lamella.setting_facts import setting_facts
from lamella.workflow import steps
from lamella.workflow.record_name import RecordName
from lamella.workflow.run_settings import RunSettings

if TYPE_CHECKING:
    from lamella.settings import StepSettings

__all__ = ["SettingsFile", "parse_value", "settings_table", "written_value"]

_HEADER = """\
Settings of this project, one table per step; `lamella STEP --help` tells the same.
A step whose settings changed is done again by the next `lamella run`, and so is what follows from it.
"""


class SettingsFile:
    """The settings of one project, read once and checked as a whole.

    Parameters
    ----------
    path
        of ``lamella.toml``.
    document
        what it holds.
    """

    def __init__(self, path: Path, document: tomlkit.TOMLDocument) -> None:
        self.path = path
        self.document = document

    @classmethod
    def default(cls, path: Path) -> SettingsFile:
        """Every setting at its default, with its unit, bounds and sentence as a comment."""
        document = tomlkit.document()
        for line in _HEADER.strip().splitlines():
            document.add(tomlkit.comment(line))
        document.add("run", settings_table(RunSettings))
        for step in steps.LINE:
            document.add(step.name, settings_table(step.settings_class(), step.summary))
        return cls(path, document)

    @classmethod
    def read(cls, path: Path) -> SettingsFile:
        """Read and check the file.

        Raises
        ------
        ProjectError
            if there is no such file.
        SettingsError
            if it is no TOML, or a table, name or value in it is wrong: which one, its bounds, and the nearest name.
        """
        try:
            document = tomlkit.parse(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ProjectError(
                f"{path.parent}: there is no lamella.toml", mend="make a project with `lamella new`"
            ) from None
        except (tomlkit.exceptions.TOMLKitError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path}: {error}", mend="mend the TOML") from None
        found = cls(path, document)
        found.check()
        return found

    def check(self) -> None:
        """Raise `SettingsError` for the first thing that is wrong in the file."""
        known = ["run", *(step.name for step in steps.all_steps())]
        for name, table in self.document.items():
            if name not in known:
                raise SettingsError(f"{self.path.name}: there is no step [{name}]", mend=nearest(name, known))
            if not isinstance(table, Mapping):
                raise SettingsError(f"{self.path.name}: {name} is not a table", mend=f"write [{name}] and its settings")
        self.run_settings()
        for record in self.records():
            self.settings(record)
            self.input_of(record)

    def records(self) -> Iterator[RecordName]:
        """The steps of the line, and those aside that have a table, each followed by its labelled tables."""
        for step in steps.all_steps():
            if step in steps.ASIDE and step.name not in self.document:
                continue
            yield RecordName(step.name)
            for key, value in self.document.get(step.name, {}).items():
                if isinstance(value, Mapping):
                    yield RecordName(step.name, key)

    def run_settings(self, instead: Mapping[str, Any] | None = None) -> RunSettings:
        """The table ``[run]``, with other values in place of some of it for this once."""
        where = "--" if instead else f"{self.path.name}: [run]"
        return validate(RunSettings, _plain(self.document.get("run", {})) | dict(instead or {}), where)

    def settings(self, record: RecordName) -> StepSettings:
        """The settings of a step, or of one of its labelled reruns."""
        values = _plain(self._find(record))
        values.pop("input", None)
        return validate(steps.find_step(record.step).settings_class(), values, f"{self.path.name}: [{record}]")

    def input_of(self, record: RecordName) -> RecordName | None:
        """The record that a table names as its input, or None where the line decides."""
        value = self._find(record).get("input")
        if value is None:
            return None
        try:
            return RecordName.parse(str(value))
        except ProjectError as error:
            raise SettingsError(f"{self.path.name}: [{record}] input: {error.problem}", mend=error.mend) from None

    def has(self, record: RecordName) -> bool:
        """Whether the file has a table of that name."""
        return record.label is None or isinstance(self.document.get(record.step, {}).get(record.label), Mapping)

    def change(self, record: RecordName, values: Mapping[str, Any], source: RecordName | None = None) -> list[str]:
        """Set some values of a table, making a labelled one first where it is missing.

        A labelled table begins as a copy of the step's own, whole, so that later changes there do not reach it.

        Returns
        -------
        list of str
            what changed, as ``align.method = "patches"``.
        """
        wanted = dict(values) | ({"input": str(source)} if source else {})
        changed = _change(self._table_for_writing(record), str(record), wanted)
        self.check()
        return changed

    def change_run(self, values: Mapping[str, Any]) -> list[str]:
        """Set some values of the table ``[run]``; what changed, as `change` tells it."""
        if "run" not in self.document:
            self.document.add("run", settings_table(RunSettings))
        changed = _change(cast(Table, self.document["run"]), "run", values)
        self.check()
        return changed

    def save(self) -> None:
        """Write the file, whole or not at all."""
        with atomic_path(self.path) as temporary:
            Path(temporary).write_text(tomlkit.dumps(self.document), encoding="utf-8")

    def _find(self, record: RecordName) -> Mapping[str, Any]:
        table = self.document.get(record.step, {})
        if record.label is not None:
            table = table.get(record.label)
            if not isinstance(table, Mapping):
                labels = [
                    key for key, value in self.document.get(record.step, {}).items() if isinstance(value, Mapping)
                ]
                raise ProjectError(
                    f"{self.path.name} has no table [{record}]",
                    mend=f"make it with `lamella {record.step} PROJECT --as {record.label}`"
                    + (f", or take one of {', '.join(labels)}" if labels else ""),
                )
            return cast(Mapping[str, Any], table)
        return {key: value for key, value in table.items() if not isinstance(value, Mapping)}

    def _table_for_writing(self, record: RecordName) -> Table:
        if record.step not in self.document:
            step = steps.find_step(record.step)
            self.document.add(step.name, settings_table(step.settings_class(), step.summary))
        table = self.document[record.step]
        if record.label is None:
            return cast(Table, table)
        if not self.has(record):
            if record.label in steps.find_step(record.step).settings_class().model_fields or record.label == "input":
                raise SettingsError(
                    f"{record.label} is the name of a setting of {record.step}", mend="take another label"
                )
            labelled = tomlkit.table()
            settings = self.settings(RecordName(record.step))
            for name, value in settings.model_dump(mode="json", exclude={"enabled"}).items():
                if value is not None:
                    labelled.add(name, value)
            cast(Table, table)[record.label] = labelled
        return cast(Table, cast(Table, table)[record.label])


def parse_value(settings: type[BaseModel], name: str, text: str, where: str) -> Any:
    """The value of a setting from what was written on a command line.

    Numbers, ``true``, ``false`` and lists are written as in TOML; words need no quotes; a list may also be written
    ``1,5,7``. The name of a file is made absolute, since a project's own names start from its folder.

    Raises
    ------
    SettingsError
        if there is no such setting (the nearest is named), or the value is out of its bounds (they are named).
    """
    if name not in settings.model_fields:
        raise SettingsError(f"{where} has no setting {name!r}", mend=nearest(name, list(settings.model_fields)))
    field = settings.model_fields[name]
    if text.strip().lower() in ("", "none") and field.get_default() is None:
        return None
    if text and isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("file"):
        return os.path.abspath(Path(text).expanduser())
    annotation: Any = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
    adapter: TypeAdapter[Any] = TypeAdapter(annotation, config=ConfigDict(allow_inf_nan=False))
    for candidate in _readings(text):
        try:
            return adapter.validate_python(candidate)
        except ValidationError:
            continue
    # None fits: let the class say what is wrong.
    validate(settings, {name: next(_readings(text))}, where)
    raise SettingsError(f"{where}: {name} = {text!r} cannot be read", mend="see --help")


def written_value(text: str) -> Any:
    """A value as its words read where no setting says of what kind it is: as TOML, or else as text."""
    return next(_readings(text))


def _readings(text: str) -> Iterator[Any]:
    for written in (text, f"[{text}]"):
        try:
            yield tomllib.loads(f"value = {written}")["value"]
        except tomllib.TOMLDecodeError:
            continue
    yield text
    yield [part.strip() for part in re.split(r"[,\s]+", text.strip())]


def settings_table(model: type[BaseModel], summary: str = "", values: Mapping[str, Any] | None = None) -> Table:
    """A table of every setting, with its unit, bounds and sentence as a comment.

    Parameters
    ----------
    model
        the class of the settings.
    summary
        a comment at its beginning.
    values
        in place of the defaults, as JSON has them.
    """
    table = tomlkit.table()
    stated = model.model_construct().model_dump(mode="json") | dict(values or {})
    if summary:
        table.add(tomlkit.comment(summary))
    for facts, name in zip(setting_facts(model), model.model_fields, strict=True):
        words = facts.description + (f" [{facts.limits}]" if facts.limits else "")
        if stated[name] is None:
            table.add(tomlkit.comment(f"{name} =      # {words}"))
        else:
            table.add(name, stated[name])
            _item(table, name).comment(words)
    return table


def _change(table: Table, title: str, values: Mapping[str, Any]) -> list[str]:
    """Put values into a table; what changed."""
    changed = []
    for name, value in values.items():
        value = list(value) if isinstance(value, tuple) else value
        now = _unwrap(table[name]) if name in table else None
        if now != value:
            _put(table, name, value)
            changed.append(f"{title}.{name} = {'(not set)' if value is None else tomlkit.item(value).as_string()}")
    return changed


def _put(table: Table, name: str, value: Any) -> None:
    if value is None:
        table.pop(name, None)
        return
    if name in table:
        comment = _item(table, name).trivia.comment
        table[name] = value
        if comment:
            _item(table, name).comment(comment.lstrip("# "))
        return
    # A new value goes before the labelled tables that follow.
    table.add(name, value)


def _item(table: Table, name: str) -> Item:
    return cast(Item, table.value.item(name))


def _plain(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _unwrap(value) for key, value in table.items() if not isinstance(value, Mapping)}


def _unwrap(value: Any) -> Any:
    return value.unwrap() if hasattr(value, "unwrap") else value
