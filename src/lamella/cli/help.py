"""`lamella COMMAND --help`, made from the command's own signature; plain text, and quick, since nothing heavy loads."""

from __future__ import annotations

import inspect
import shutil
import textwrap
from collections.abc import Callable
from typing import Any, get_args

from lamella.cli.options import Option

__all__ = ["command_help"]

_KIND = inspect.Parameter


def command_help(name: str, function: Callable[..., Any], width: int | None = None) -> str:
    """The help of one command.

    Parameters
    ----------
    name
        of the command.
    function
        whose parameters are annotated with `Option`.
    width
        of the text in characters; None: the terminal's.
    """
    width = width or min(max(shutil.get_terminal_size((100, 24)).columns, 60), 120)
    parameters = list(inspect.signature(function, eval_str=True).parameters.values())
    positional = [entry for entry in parameters if entry.kind is not _KIND.KEYWORD_ONLY]
    options = [entry for entry in parameters if entry.kind is _KIND.KEYWORD_ONLY]
    usage = " ".join(["lamella", name, *(_in_usage(entry) for entry in positional), "[OPTIONS]" if options else ""])
    parts = [f"Usage: {usage.strip()}", _paragraphs(inspect.getdoc(function) or "", width)]
    if positional:
        parts.append(_table("Arguments", [(_placeholder(entry), _words(entry)) for entry in positional], width))
    if options:
        rows = [(_option(entry), _words(entry)) for entry in options]
        parts.append(_table("Options", [*rows, ("-h, --help", "show this help")], width))
    return "\n\n".join(part for part in parts if part) + "\n"


def _facts(entry: inspect.Parameter) -> Option | None:
    return next((fact for fact in get_args(entry.annotation)[1:] if isinstance(fact, Option)), None)


def _words(entry: inspect.Parameter) -> str:
    facts = _facts(entry)
    words, line, more = (facts.help if facts else "").partition("\n")
    if entry.kind is _KIND.KEYWORD_ONLY and entry.default is _KIND.empty:
        words += " (required)"
    elif entry.default not in (None, _KIND.empty, False, True, ()):
        words += f" (default: {entry.default})"
    return (words.strip() + line + more).strip()


def _placeholder(entry: inspect.Parameter) -> str:
    name = entry.name.strip("_").replace("_", "-").upper()
    return f"{name} …" if entry.kind is _KIND.VAR_POSITIONAL else name


def _in_usage(entry: inspect.Parameter) -> str:
    """An argument that may be left out stands in brackets."""
    name = _placeholder(entry)
    return name if entry.default is _KIND.empty else f"[{name}]"


def _option(entry: inspect.Parameter) -> str:
    facts = _facts(entry)
    name = facts.name if facts and facts.name else "--" + entry.name.strip("_").replace("_", "-")
    inner = get_args(entry.annotation)[0] if get_args(entry.annotation) else entry.annotation
    kinds = {inner, *get_args(inner)}
    if bool in kinds:
        return name if facts and facts.negative == "" else f"{name}, --no-{name.removeprefix('--')}"
    many = any(getattr(kind, "__origin__", None) is list for kind in kinds)
    return f"{name} {'VALUE …' if many else 'VALUE'}"


def _paragraphs(text: str, width: int) -> str:
    text = text.partition("\nParameters\n---")[0].strip()
    return "\n\n".join(textwrap.fill(" ".join(part.split()), width) for part in text.split("\n\n"))


def _table(title: str, rows: list[tuple[str, str]], width: int) -> str:
    left = min(max(len(name) for name, _ in rows), 32) + 4
    lines = [f"{title}:"]
    for name, words in rows:
        head = f"  {name}".ljust(left)
        filled = [part for line in words.splitlines() for part in textwrap.wrap(line, max(width - left, 30))] or [""]
        if len(head) > left:
            lines.append(head)
            head = " " * left
        lines.append((head + filled[0]).rstrip())
        lines += [" " * left + line for line in filled[1:]]
    return "\n".join(lines)
