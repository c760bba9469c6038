"""Options made from settings classes: every setting becomes one option, and its help comes from its field."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from lamella.errors import InputError
from lamella.setting_facts import SettingFacts, setting_facts

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["Json", "Option", "ProjectPath", "given_settings", "split_assignment", "with_options"]


@dataclass(frozen=True, kw_only=True)
class Option:
    """What an annotation says of one word on the command line; free of the parser, so that help is quick.

    Attributes
    ----------
    name
        as it is written, ``--pixel-size``; None: made from the argument's name.
    help
        one sentence; what follows a line's end begins a line of its own.
    negative
        empty where there is no ``--no-…``; None: flags have one.
    consume_multiple
        whether several values may follow.
    allow_leading_hyphen
        whether the value may begin with a minus.
    """

    help: str
    name: str | None = None
    negative: str | None = None
    consume_multiple: bool = False
    allow_leading_hyphen: bool = False


ProjectPath = Annotated[Path, Option(help="the project's folder")]
Json = Annotated[bool, Option(name="--json", negative="", help="end with one line of JSON")]


def with_options(
    function: Callable[..., Any],
    settings: type[BaseModel],
    *,
    leave_out: Sequence[str] = (),
    describe: str | None = None,
) -> Callable[..., Any]:
    """A function for the command line that has one option more for every setting.

    Parameters
    ----------
    function
        takes what it declares, and as its last argument ``given``: the settings that were given, as a dictionary of
        texts (or of bool for flags).
    settings
        the class whose fields become options.
    leave_out
        fields that do not.
    describe
        the sentence that the command's help begins with.
    """
    own = [entry for entry in inspect.signature(function, eval_str=True).parameters.values() if entry.name != "given"]
    facts = [entry for entry in setting_facts(settings) if entry.name not in leave_out]
    options = [_option(entry) for entry in facts]
    positional = [entry for entry in own if entry.kind is not inspect.Parameter.KEYWORD_ONLY]
    keywords = [entry for entry in own if entry.kind is inspect.Parameter.KEYWORD_ONLY]

    def call(*args: Any, **values: Any) -> Any:
        given = {entry.name: values.pop(f"set_{entry.name}", None) for entry in facts}
        return function(*args, given={name: value for name, value in given.items() if value is not None}, **values)

    call.__signature__ = inspect.Signature([*positional, *options, *keywords])  # type: ignore[attr-defined]
    call.__annotations__ = {entry.name: entry.annotation for entry in (*positional, *options, *keywords)}
    call.__doc__ = describe or function.__doc__
    call.__name__ = function.__name__
    return call


def _option(facts: SettingFacts) -> inspect.Parameter:
    words = facts.description + (f" [{facts.limits}]" if facts.limits else "")
    words += f" (default: {facts.default.strip(chr(34))})" if facts.default.strip('[]"') else ""
    name = "--" + facts.name.replace("_", "-")
    kind: Any
    if facts.is_flag:
        kind = Annotated[bool | None, Option(name=name, help=words)]
    elif facts.is_list:
        kind = Annotated[list[str] | None, Option(name=name, help=words, consume_multiple=True, negative="")]
    else:
        kind = Annotated[str | None, Option(name=name, help=words, allow_leading_hyphen=True)]
    return inspect.Parameter(f"set_{facts.name}", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)


def given_settings(settings: type[BaseModel], given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The values of options, read and checked one by one.

    Raises
    ------
    SettingsError
        if a value is out of its bounds; they are named.
    """
    from lamella.workflow.settings_file import parse_value

    values = {}
    for name, value in given.items():
        text = ",".join(value) if isinstance(value, list) else value
        values[name] = value if isinstance(value, bool) else parse_value(settings, name, text, where)
    return values


def split_assignment(text: str, example: str) -> tuple[str, str]:
    """Take ``NAME=VALUE`` apart.

    Raises
    ------
    InputError
        if there is no equals sign.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise InputError(f"--set {text} has no value", mend=f"write it as --set {example}")
    return name.strip(), value.strip()
