"""The list of commands, and the way from words on the command line to a function. Nothing loads before it is needed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, get_args

from lamella import __version__
from lamella.errors import InputError
from lamella.workflow import steps

if TYPE_CHECKING:
    from cyclopts import App

__all__ = ["COMMANDS", "build_app", "dispatch", "find_command", "root_help"]

# name -> (module:function, sentence)
COMMANDS: dict[str, tuple[str, str]] = {
    "new": ("lamella.cli.new:new", "make a project from mdoc files or a bare stack"),
    "run": ("lamella.cli.run:run", "do every enabled step that is not done yet"),
    "watch": ("lamella.cli.watch:watch", "process series as a microscope records them, and tell a running session"),
    "check": ("lamella.cli.check:check", "find everything that can be known wrong before hours are spent"),
    "status": ("lamella.cli.status:status", "show which steps are done, for which tilt series"),
    "report": ("lamella.cli.report:report", "write the page with pictures and numbers"),
    "select": ("lamella.cli.select:select", "choose the series that go on, by CTF resolution and residual"),
    "level": ("lamella.cli.level:level", "put the specimen level and in the middle of its tomogram"),
    "combine": ("lamella.cli.combine:combine", "make one tomogram of two tilt axes of one specimen"),
    "train": ("lamella.cli.train:train", "train one network to denoise several tomograms with"),
    "import": ("lamella.cli.exchange:import_", "take over the alignment of another program"),
    "export": ("lamella.cli.exchange:export", "write the alignment for another program"),
    "convert": ("lamella.cli.convert:convert", "crop, pad, bin, filter or rescale a stack or volume"),
    "simulate": ("lamella.cli.simulate:simulate", "write simulated raw data, with the truth beside it"),
    "acquire plan": ("lamella.cli.acquire:plan", "check targets, limits and dose of a session, and tell its time"),
    "acquire run": ("lamella.cli.acquire:run", "record the planned session"),
    "acquire resume": ("lamella.cli.acquire:resume", "go on with a session that was stopped"),
    "acquire report": ("lamella.cli.acquire:report", "write the page with pictures and numbers of a session"),
    "acquire feedback": ("lamella.cli.acquire:feedback", "tell a running session what processing measured"),
    "acquire replay": ("lamella.cli.acquire:replay", "try another predictor on a recorded session"),
    "acquire simulate": ("lamella.cli.acquire:simulate", "record a session on a simulated microscope, and score it"),
}

# steps whose command does more than the step -> module:function(step)
STEPS: dict[str, str] = {"ctf": "lamella.cli.ctf:ctf_function"}

_USAGE = """\
Usage: lamella COMMAND …

Cryo-electron tomography, from tilt series to averages of particles.

Commands:
{commands}

Steps of `lamella run`, each also a command:
{steps}

`lamella COMMAND --help` tells the rest; `lamella --version` the version.
"""


def root_help() -> str:
    """What `lamella --help` prints."""
    line = {step.name: step.summary for step in steps.LINE}
    commands = {name: text for name, (_, text) in COMMANDS.items()}
    commands |= {step.name: step.summary for step in steps.ASIDE}
    width = max(map(len, [*commands, *line]))
    return _USAGE.format(
        commands="\n".join(f"  {name:{width}}  {text}" for name, text in commands.items()),
        steps="\n".join(f"  {name:{width}}  {text}" for name, text in line.items()),
    )


def dispatch(tokens: Sequence[str]) -> int:
    """Do what the words say; returns the exit code.

    Raises
    ------
    InputError
        if there is no such command or option, a value is missing, or one too many: with the nearest name.
    """
    if not tokens or tokens[0] in ("--help", "-h", "help"):
        print(root_help(), end="")
        return 0
    if tokens[0] == "--version":
        print(f"lamella {__version__}")
        return 0
    name, rest = _split_name(tokens)
    if name in _groups() and (not rest or rest[0] in ("--help", "-h")):
        print(_group_help(name), end="")
        return 0
    function = find_command(name)
    if any(token in ("--help", "-h") for token in rest[: rest.index("--") if "--" in rest else None]):
        from lamella.cli.help import command_help

        print(command_help(name, function), end="")
        return 0
    from cyclopts import CycloptsError

    try:
        result = build_app(name, function)(rest, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        problem, _, near = _in_words(error).partition(" Did you mean ")
        mend = f"did you mean {near.strip('?. ')}?" if near else f"see `lamella {name} --help`"
        raise InputError(problem.rstrip(". "), mend=mend) from None
    return int(result or 0)


def _split_name(tokens: Sequence[str]) -> tuple[str, list[str]]:
    """The command's name, of one word or two, and the words after it."""
    if tokens[0] in _groups() and len(tokens) > 1 and not tokens[1].startswith("-"):
        return f"{tokens[0]} {tokens[1]}", list(tokens[2:])
    return tokens[0], list(tokens[1:])


def _groups() -> set[str]:
    """First words of commands that have two."""
    return {name.split()[0] for name in COMMANDS if " " in name}


def _group_help(group: str) -> str:
    commands = {name: text for name, (_, text) in COMMANDS.items() if name.startswith(f"{group} ")}
    width = max(map(len, commands))
    lines = "\n".join(f"  {name:{width}}  {text}" for name, text in commands.items())
    return f"Usage: lamella {group} COMMAND …\n\n{lines}\n\n`lamella {group} COMMAND --help` tells the rest.\n"


def find_command(name: str) -> Callable[..., Any]:
    """The function behind a command.

    Raises
    ------
    InputError
        if there is no such command; the nearest is offered.
    """
    line = {step.name: step for step in steps.all_steps()}
    if name in line:
        module, _, attribute = STEPS.get(name, "lamella.cli.step:step_function").partition(":")
        return getattr(import_module(module), attribute)(line[name])  # type: ignore[no-any-return]
    if name in COMMANDS:
        module, _, attribute = COMMANDS[name][0].partition(":")
        return getattr(import_module(module), attribute)  # type: ignore[no-any-return]
    near = get_close_matches(name, [*COMMANDS, *line], n=1)
    raise InputError(
        f"there is no command {name!r}", mend=f"did you mean {near[0]}?" if near else "see `lamella --help`"
    )


def build_app(name: str, function: Callable[..., Any]) -> App:
    """The parser of one command's options."""
    from cyclopts import App

    app = App(name=f"lamella {name}", version_flags=(), help_flags=())
    app.default(_with_parser_facts(function))
    return app


def _with_parser_facts(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, its annotations turned from our `Option` into the parser's own."""
    from cyclopts import Parameter

    from lamella.cli.options import Option

    parameters = []
    for entry in inspect.signature(function, eval_str=True).parameters.values():
        kind, *facts = get_args(entry.annotation)
        option = next(fact for fact in facts if isinstance(fact, Option))
        given = {name: value for name, value in vars(option).items() if value not in (None, False)}
        parameters.append(entry.replace(annotation=Annotated[kind, Parameter(**given)]))

    def call(*args: Any, **values: Any) -> Any:
        return function(*args, **values)

    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {entry.name: entry.annotation for entry in parameters}
    return call


def _in_words(error: Exception) -> str:
    lines = [line.strip(" │╭╮╰╯─") for line in str(error).splitlines()]
    text = " ".join(line for line in lines if line).rstrip(".")
    return text[:1].lower() + text[1:]
