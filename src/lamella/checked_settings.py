"""Settings from values that a user gave; what is wrong in them is said in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from lamella.errors import SettingsError
from lamella.setting_facts import setting_facts

__all__ = ["nearest", "validate"]

Model = TypeVar("Model", bound=BaseModel)


def validate(model: type[Model], values: Mapping[str, Any], where: str) -> Model:
    """The model made of the values.

    Parameters
    ----------
    model
        class of the settings.
    values
        by the settings' names.
    where
        that the values stand in, as its user knows it.

    Raises
    ------
    SettingsError
        that names the place, the setting and its bounds.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise _settings_error(model, error, where) from None


def _settings_error(model: type[BaseModel], error: ValidationError, where: str) -> SettingsError:
    first = error.errors(include_url=False)[0]
    if not first["loc"]:
        return SettingsError(f"{where}: {_reason(first)}", mend="change one of them")
    name = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        return SettingsError(f"{where} has no setting {name!r}", mend=nearest(name, list(model.model_fields)))
    facts = {entry.name: entry for entry in setting_facts(model)}.get(name)
    value = first["input"]
    limits = facts.limits or facts.type if facts else ""
    return SettingsError(
        f"{where} {name} = {value!r}: {_reason(first)}",
        mend=f"give {limits}" + (f" (default {facts.default})" if facts and facts.default else ""),
    )


def _reason(entry: Any) -> str:
    message = str(entry["msg"]).removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def nearest(name: str, known: Sequence[str]) -> str:
    """What to do about a name that is none: the one that was meant, or all that there are."""
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
