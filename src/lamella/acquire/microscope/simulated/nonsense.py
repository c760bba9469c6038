"""Answers that no microscope should give, for a session that must survive them; and a wrong peak of a correlation."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lamella.acquire.microscope.port import Landmarks, Picture, Pixels, Status

__all__ = ["displaced_picture", "spoiled_picture", "spoiled_status"]

Array = NDArray[np.float64]


def spoiled_status(status: Status) -> Status:
    """A state whose angle is no number."""
    return replace(status, tilt_deg=float("nan"))


def spoiled_picture(picture: Picture, answer: Literal["status", "shape", "counts"]) -> Picture:
    """A picture with a content of a wrong shape, or with counts that are no number."""
    if answer == "counts":
        return replace(picture, mean_counts=float("nan"))
    if isinstance(picture.content, Pixels):
        return replace(picture, content=Pixels(image=picture.content.image[:, :0]))
    places = np.concatenate([picture.content.places_um, picture.content.places_um[:, :1]], axis=1)
    return replace(picture, content=replace(picture.content, places_um=places))


def displaced_picture(picture: Picture, by_um: Array) -> Picture:
    """A picture that looks displaced by a whole step of a lattice: a correlation took the neighbouring hole's peak.

    Pixels are rolled, `by_um` taken along rows and columns: the same mistake, whatever the camera's turn.
    """
    content = picture.content
    if isinstance(content, Landmarks):
        return replace(picture, content=replace(content, places_um=content.places_um + by_um))
    steps = np.round(by_um[::-1] / (picture.preset.pixel_size_ang * 1e-4)).astype(int)
    rolled = np.roll(content.image, (int(steps[0]), int(steps[1])), axis=(0, 1))
    return replace(picture, content=Pixels(image=rolled))
