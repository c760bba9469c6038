"""Records that no step of the line makes, since they look at several series, or at one in another frame.

`lamella select`, `lamella level` and `lamella combine` make them, each in a module of its own, which has
``is_outdated(project, record)`` and ``make_again(project, record, ledger, run)``. A step that reads such a record has
it made again first where what it was made from has changed.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from lamella.workflow.ledger import Ledger
from lamella.workflow.project import Project
from lamella.workflow.record_name import DERIVED, RecordName

__all__ = ["is_derived", "is_outdated", "make_again"]


def is_derived(name: RecordName) -> bool:
    """Whether a record is of this kind."""
    return name.step in DERIVED


def is_outdated(project: Project, name: RecordName) -> bool:
    """Whether what a record of this kind was made from has changed since."""
    return bool(_module(name).is_outdated(project, name))


def make_again(project: Project, name: RecordName, ledger: Ledger, run: int) -> str:
    """Make a record of this kind again as it was made, where it is outdated.

    Returns
    -------
    what was done, in words; empty where nothing had to be.
    """
    return str(_module(name).make_again(project, name, ledger, run))


def _module(name: RecordName) -> ModuleType:
    return import_module(f"lamella.workflow.{DERIVED[name.step]}")
