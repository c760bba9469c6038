"""Worlds: what a simulated microscope, its stage, its grid and its faults are like, every number with its unit.

A world is a TOML file. The named ones (`WORLDS`) lie in the package. A pair of numbers is the range from which a seed
draws the size of an error: its sign or direction is drawn as well, so that no world leans to one side.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any, cast

import tomlkit
from pydantic import BaseModel, ValidationError
from tomlkit.items import AoT, Table

from lamella.acquire.world_tables import Range, World
from lamella.errors import InputError, SettingsError

__all__ = ["WORLDS", "Range", "World", "load_world", "wider_world", "world_text"]

WORLDS = ("rigid", "bisect", "pace", "faults")
"""The worlds that come with the package."""

_MOST_BYTES = 1_000_000


def load_world(name: str | Path, overrides: Mapping[str, Any] | None = None) -> World:
    """The world of a name, or of a TOML file.

    Parameters
    ----------
    name
        one of `WORLDS`, or the path of a TOML file.
    overrides
        values to change, by ``"table.field"``.

    Raises
    ------
    InputError
        if there is no such world or file, or it is no TOML.
    SettingsError
        if a value is none that the world's tables allow, or a field has no meaning.
    """
    tables = _parsed(str(name))
    for key, value in (overrides or {}).items():
        _set(tables, key, value)
    try:
        return World.model_validate(tables)
    except ValidationError as error:
        first = error.errors()[0]
        place = ": ".join(filter(None, (f"world {name}", ".".join(str(part) for part in first["loc"]))))
        raise SettingsError(f"{place}: {_sentence(first)}", mend=_mend(first["loc"], str(first["type"]))) from None


def world_text(world: World) -> str:
    """The world as the text of its TOML file: every parameter, with its unit and its meaning behind it."""
    document = tomlkit.document()
    for name, model in world:
        document[name] = _table_text(model) if isinstance(model, BaseModel) else _mapping_text(model)
    return tomlkit.dumps(document)


def wider_world(world: World, factor: float) -> World:
    """A world whose errors are drawn from ranges wider by a factor: each range [a, b] becomes [a / factor, factor · b].

    Errors of a single size grow by the factor. The grid's lattice, the targets, the times and the faults stay.
    """
    tables = world.model_dump()
    for table in ("stage", "optics", "grid"):
        for field, info in type(getattr(world, table)).model_fields.items():
            extra = cast("Mapping[str, Any]", info.json_schema_extra or {})
            if not extra.get("error"):
                continue
            value = tables[table][field]
            tables[table][field] = (
                (value[0] / factor, value[1] * factor) if isinstance(value, tuple) else value * factor
            )
    return World.model_validate(tables)


def _parsed(name: str) -> dict[str, Any]:
    """The tables of a named world or of a file, as they stand there."""
    if name in WORLDS:
        text = resources.files("lamella.acquire").joinpath("worlds", f"{name}.toml").read_text(encoding="utf-8")
        return tomllib.loads(text)
    path = Path(name)
    if not path.is_file():
        near = get_close_matches(name, WORLDS, n=1)
        raise InputError(
            f"there is no world {name!r}",
            mend=f"did you mean {near[0]}?" if near else f"name a TOML file, or one of {', '.join(WORLDS)}",
        )
    if path.stat().st_size > _MOST_BYTES:
        raise InputError(f"{path} is too large for a world", mend="name the TOML file of a world")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no TOML: {error}", mend="correct that line") from None


def _set(tables: dict[str, Any], key: str, value: Any) -> None:
    """Set ``table.field`` (or ``table.part.field``)."""
    *outer, field = key.split(".")
    if not outer:
        raise SettingsError(f"{key} names no field of a world", mend="write it as table.field, such as stage.wander")
    place = tables
    for part in outer:
        place = place.setdefault(part, {})
        if not isinstance(place, dict):
            raise SettingsError(f"{key} goes through {part}, which is no table", mend="write it as table.field")
    place[field] = value


def _sentence(error: Mapping[str, Any]) -> str:
    if error["type"] == "extra_forbidden":
        return "no such parameter"
    # A range's own parts are told by their place behind its name: 0 or 1.
    if error["type"] == "tuple_type" and error["loc"] == ("faults", "script"):
        return "not a list of faults, each a table [[faults.script]]"
    if error["type"] in ("tuple_type", "too_long") or (error["type"] == "missing" and error["loc"][-1] in (0, 1)):
        return "not a range of two numbers, [least, greatest]"
    return str(error["msg"]).removeprefix("Value error, ")


def _mend(place: tuple[int | str, ...], kind: str) -> str:
    """What to do about a bad entry of a world."""
    if kind != "extra_forbidden":
        return "correct the value in the world's file"
    table = World.model_fields.get(str(place[0])) if len(place) > 1 else None
    names = getattr(table.annotation, "model_fields", {}) if table else World.model_fields
    near = get_close_matches(str(place[-1]), list(names), n=1)
    return f"did you mean {near[0]}?" if near else f"choose of {', '.join(names)}"


def _mapping_text(entries: Mapping[str, Any]) -> Table:
    """A table of tables (presets), or of plain values (the session's settings)."""
    table = tomlkit.table()
    for key, value in entries.items():
        table[key] = _table_text(value) if isinstance(value, BaseModel) else _plain(value)
    return table


def _table_text(model: BaseModel) -> Table:
    """A table with each parameter's unit and meaning behind it; faults without what they leave open."""
    table = tomlkit.table()
    for key, info in type(model).model_fields.items():
        value = getattr(model, key)
        if key == "script":
            table[key] = _script_text(value)
            continue
        extra = cast("Mapping[str, Any]", info.json_schema_extra or {})
        table[key] = _plain(value)
        unit = f"{extra['unit']}: " if extra.get("unit") else ""
        table[key].comment(f"{unit}{info.description}")
    return table


def _script_text(faults: Sequence[BaseModel]) -> AoT | list[Any]:
    if not faults:
        return []
    script = tomlkit.aot()
    for fault in faults:
        script.append(tomlkit.item(fault.model_dump(exclude_defaults=True)))
    return script


def _plain(value: Any) -> Any:
    """Tuples as lists: what TOML can say."""
    return [_plain(part) for part in value] if isinstance(value, (tuple, list)) else value
