"""What can be told of a setting: its type, unit, bounds, default and sentence, read from its pydantic field.

The comments in ``lamella.toml``, the help of the command line and the reference page are all made from this.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

__all__ = ["SettingFacts", "setting_facts"]

_SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


@dataclass(frozen=True, kw_only=True)
class SettingFacts:
    """One setting in words.

    Attributes
    ----------
    name, description, unit
        as declared; `unit` is empty for pure numbers and words.
    type, choices
        in words (``number or "auto"``), and the words that may be chosen from, if any.
    bounds
        ``"> 0, ≤ 10"``, or empty.
    default
        as it would stand in ``lamella.toml``; empty where nothing is set.
    is_flag, is_list
        whether it is a plain yes or no, and whether it takes several values.
    """

    name: str
    description: str
    unit: str
    type: str
    choices: tuple[str, ...]
    bounds: str
    default: str
    is_flag: bool
    is_list: bool

    @property
    def limits(self) -> str:
        """Unit, choices and bounds in one phrase; empty where there is nothing to say."""
        parts = [f"in {self.unit}" if self.unit else "", " | ".join(self.choices), self.bounds]
        return ", ".join(part for part in parts if part)


def setting_facts(settings: type[BaseModel]) -> Iterator[SettingFacts]:
    """Facts of every setting of a class, in the order in which they are declared."""
    for name, field in settings.model_fields.items():
        yield _facts(name, field)


def _facts(name: str, field: FieldInfo) -> SettingFacts:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    kinds = tuple(_kinds(field.annotation))
    return SettingFacts(
        name=name,
        description=field.description or "",
        unit=str(extra.get("unit", "")),
        type=_type_in_words(field.annotation),
        choices=_choices(field.annotation),
        bounds=_bounds(field),
        default=value_text(field.get_default(call_default_factory=True)),
        is_flag=kinds == (bool,),
        is_list=any(kind in (tuple, list) for kind in kinds),
    )


def value_text(value: Any) -> str:
    """A value as it would stand in ``lamella.toml``."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(value_text(entry) for entry in value) + "]"
    if isinstance(value, (int, float)):
        return f"{value:g}" if isinstance(value, float) and not value.is_integer() else str(value)
    return f'"{value}"'


def _kinds(annotation: Any) -> Iterator[Any]:
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        for entry in get_args(annotation):
            if entry is not type(None):
                yield from _kinds(entry)
    elif origin is Literal:
        yield str
    elif hasattr(annotation, "__metadata__"):
        yield from _kinds(get_args(annotation)[0])
    else:
        yield origin or annotation


def _choices(annotation: Any) -> tuple[str, ...]:
    if get_origin(annotation) is Literal:
        return tuple(str(entry) for entry in get_args(annotation))
    if get_origin(annotation) in (Union, types.UnionType):
        parts = [entry for entry in get_args(annotation) if entry is not type(None)]
        words = [choice for entry in parts for choice in _choices(entry)]
        numbers = [_type_in_words(entry) for entry in parts if not _choices(entry)]
        return (*words, *numbers) if words else ()
    return ()


def _type_in_words(annotation: Any) -> str:
    names = {bool: "yes or no", int: "whole number", float: "number", str: "text"}
    origin = get_origin(annotation)
    if origin is Literal:
        return "one of " + ", ".join(f'"{entry}"' for entry in get_args(annotation))
    if origin in (Union, types.UnionType):
        parts = [_type_in_words(entry) for entry in get_args(annotation) if entry is not type(None)]
        return " or ".join(parts)
    if hasattr(annotation, "__metadata__"):
        return _type_in_words(get_args(annotation)[0])
    if origin in (tuple, list):
        inner = [entry for entry in get_args(annotation) if entry is not Ellipsis]
        if origin is tuple and Ellipsis not in get_args(annotation):
            return ", ".join(_type_in_words(entry) for entry in inner)
        return "list of " + " or ".join(_type_in_words(entry) for entry in inner).replace("number", "numbers")
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)).lower())


def _bounds(field: FieldInfo) -> str:
    parts = []
    for sign, text in _SIGNS.items():
        for rule in _rules(field):
            bound = getattr(rule, sign, None)
            if bound is not None:
                parts.append(f"{text} {bound:g}" if isinstance(bound, (int, float)) else f"{text} {bound}")
    return ", ".join(dict.fromkeys(parts))


def _rules(field: FieldInfo) -> Iterator[Any]:
    yield from field.metadata
    for entry in get_args(field.annotation):
        yield from getattr(entry, "__metadata__", ())
