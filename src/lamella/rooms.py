"""How a room opens its doors: public names load their modules when they are first asked for.

`import lamella.tilts` must stay light (the command line reads settings from there), and `lamella.tilts.align` must be
the function although a module of that name holds it, whoever imported that module first.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

__all__ = ["open_room"]


class _Room(ModuleType):
    """A package whose public names are loaded late, and are never hidden by a module of the same name."""

    _doors: Mapping[str, str]

    def __getattr__(self, name: str) -> Any:
        if name not in self._doors:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{self.__name__}.{self._doors[name]}"), name)
        super().__setattr__(name, value)
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        # The import system sets a finished submodule on its package: a public name of that kind stays the function.
        if isinstance(value, ModuleType) and name in self._doors:
            value = getattr(value, name)
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._doors})


def open_room(package: str, doors: Mapping[str, str]) -> list[str]:
    """Make a package load its public names late.

    Parameters
    ----------
    package
        ``__name__`` of the package.
    doors
        public name -> module inside the package that defines it.

    Returns
    -------
    names
        the public names, for ``__all__``.
    """
    room = sys.modules[package]
    room.__dict__["_doors"] = dict(doors)
    room.__class__ = _Room
    return sorted(doors)
