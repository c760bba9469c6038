"""Which steps `lamella run` does: those that are switched on and have something to begin with."""

from __future__ import annotations

from lamella.workflow import steps
from lamella.workflow.project import Project
from lamella.workflow.record_name import RecordName
from lamella.workflow.settings_file import SettingsFile
from lamella.workflow.tables import has_tables

__all__ = ["is_enabled", "why_no_particles"]

_NOTHING_TO_PICK_BY = "pick has neither a template nor coordinates"
_BEGINNINGS = (("pick", "template"), ("pick", "coordinates"))


def is_enabled(project: Project, settings: SettingsFile, name: RecordName) -> bool:
    """Whether `lamella run` does a step.

    A switch that says ``auto`` follows from the other settings: there is a first model to make only where no template
    was picked by and no `refine.reference` is given. Where nothing says what to pick by, and no particles were
    imported, the line ends before `pick`.
    """
    step = steps.find_step(name.step)
    enabled: object = settings.settings(name).enabled
    if "particles" in (step.takes, step.gives) and why_no_particles(project, settings):
        return False
    if enabled == "auto":
        return not _has_reference(settings)
    return bool(enabled)


def why_no_particles(project: Project, settings: SettingsFile) -> str:
    """Why there will be no particles, in words; empty where there will be some."""
    pick = RecordName("pick")
    if has_tables(project, pick):
        return ""
    if not settings.settings(pick).enabled:
        return "pick is off, and no particles were imported"
    return "" if _any_given(settings, _BEGINNINGS) else _NOTHING_TO_PICK_BY


def _has_reference(settings: SettingsFile) -> bool:
    """Whether refinement has something to begin from: its own reference, or orientations that a template gave."""
    by_template = getattr(settings.settings(RecordName("pick")), "method", "") == "template"
    names = (("refine", "reference"), ("pick", "template")) if by_template else (("refine", "reference"),)
    return _any_given(settings, names)


def _any_given(settings: SettingsFile, names: tuple[tuple[str, str], ...]) -> bool:
    return any(getattr(settings.settings(RecordName(step)), field) for step, field in names)
