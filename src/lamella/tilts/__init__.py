"""From raw tilt images to a solved geometry: clean, align."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.rooms import open_room

if TYPE_CHECKING:
    from lamella.tilts.align import AlignResult, align
    from lamella.tilts.align_settings import AlignSettings
    from lamella.tilts.clean import CleanResult, clean
    from lamella.tilts.clean_settings import CleanSettings
    from lamella.tilts.compare import geometry_error
    from lamella.tilts.outliers import erase_outliers
    from lamella.tilts.solve import solve

__all__ = [
    "AlignResult",
    "AlignSettings",
    "CleanResult",
    "CleanSettings",
    "align",
    "clean",
    "erase_outliers",
    "geometry_error",
    "solve",
]

open_room(
    __name__,
    {
        "AlignResult": "align",
        "AlignSettings": "align_settings",
        "CleanResult": "clean",
        "CleanSettings": "clean_settings",
        "align": "align",
        "clean": "clean",
        "erase_outliers": "outliers",
        "geometry_error": "compare",
        "solve": "solve",
    },
)
