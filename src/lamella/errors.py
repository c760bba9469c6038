"""Every error that lamella raises on purpose.

::

    LamellaError
    ├── InputError            what the user gave cannot be used; the command line ends with exit code 2
    │   ├── FormatError       a file cannot be read as what it claims to be
    │   ├── ImageError        pixels that no stage can work with (NaN, constant, wrong size)
    │   ├── GeometryError     angles, axes or shifts that contradict each other
    │   ├── SettingsError     a setting that does not exist, or a value out of its bounds
    │   └── ProjectError      a project folder that lacks what a step needs
    └── StageError            work that failed although its input was sound; exit code 1
        ├── PostconditionError   a step's own check of its result failed
        ├── OutputError       a result could not be written (disk full, no permission)
        └── MicroscopeError   a microscope did not do, or did not answer, what it was asked
            ├── PassingFault  it may the next time: a busy stage, a time-out, a refill of nitrogen, a lost connection
            └── LimitError    it never will: beyond the range of the stage, the image shift or the lens

A message is one sentence that says what is wrong and where, and one that says what to do next:
``raise FormatError("angles.tlt: 40 angles for 41 images", mend="add the missing line or crop the stack")``.
"""

from __future__ import annotations

__all__ = [
    "FormatError",
    "GeometryError",
    "ImageError",
    "InputError",
    "Interruption",
    "LamellaError",
    "LimitError",
    "MicroscopeError",
    "OutputError",
    "PassingFault",
    "PostconditionError",
    "ProjectError",
    "SettingsError",
    "StageError",
]


class LamellaError(Exception):
    """Base of every error that lamella raises on purpose.

    Parameters
    ----------
    problem
        what is wrong, and where.
    mend
        what the user can do about it.
    """

    exit_code = 1

    def __init__(self, problem: str, *, mend: str = "") -> None:
        self.problem = problem
        self.mend = mend
        super().__init__(f"{problem}; {mend}" if mend else problem)

    def __reduce__(self) -> tuple[object, ...]:
        # A keyword-only argument needs help to cross a process border.
        return (_rebuild, (type(self), self.problem, self.mend))


def _rebuild(kind: type[LamellaError], problem: str, mend: str) -> LamellaError:
    return kind(problem, mend=mend)


class InputError(LamellaError):
    """What the user gave cannot be used."""

    exit_code = 2


class FormatError(InputError):
    """A file cannot be read as what it claims to be."""


class ImageError(InputError):
    """Pixels that no stage can work with."""


class GeometryError(InputError):
    """Angles, axes or shifts that contradict each other."""


class SettingsError(InputError):
    """A setting that does not exist, or a value out of its bounds."""


class ProjectError(InputError):
    """A project folder that lacks what a step needs."""


class StageError(LamellaError):
    """Work that failed although its input was sound."""


class PostconditionError(StageError):
    """A step's own check of its result failed."""


class OutputError(StageError):
    """A result could not be written."""


class MicroscopeError(StageError):
    """A microscope did not do, or did not answer, what it was asked."""


class PassingFault(MicroscopeError):
    """A fault that may be gone when the same is asked again."""


class Interruption(PassingFault):
    """The session was stopped here, and goes on later: the microscope may have drifted meanwhile."""


class LimitError(MicroscopeError):
    """Asked beyond the range of the stage, the image shift or the lens."""
