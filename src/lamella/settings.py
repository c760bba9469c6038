"""The one way to declare a setting.

A step's settings are one pydantic class; each field has a type, a unit, bounds, a default and a sentence. The command
line, the TOML table, the web form and the reference page are made from it and from nothing else.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["StepSettings", "setting"]


class StepSettings(BaseModel):
    """Base of every step's settings: frozen, strict about unknown names, defaults checked too."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    enabled: bool = Field(default=True, description="whether `lamella run` does this step")


def setting(default: Any, description: str, *, unit: str = "", file: bool = False, **bounds: Any) -> Any:
    """Declare one setting.

    Parameters
    ----------
    default
        the value that holds where nothing is said.
    description
        one sentence for `--help`, the TOML comment and the reference page.
    unit
        the unit of the value (``"Å"``, ``"deg"``, ``"px"``), empty for pure numbers.
    file
        whether it names a file: on a command line a relative name starts from the working folder, and is kept whole.
    bounds
        pydantic's own: ``ge``, ``gt``, ``le``, ``lt``, ``min_length``.
    """
    return Field(default=default, description=description, json_schema_extra={"unit": unit, "file": file}, **bounds)
