"""The record of one tilt series: everything that is known of its views, never a pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamella.errors import InputError
from lamella.geometry import TiltGeometry
from lamella.records.optics import Optics

__all__ = ["SESSION_DEFOCUS", "SESSION_SHIFTS", "SESSION_SHIFT_ERROR", "Defocus", "TiltSeries"]

Array = NDArray[np.float64]
Names = tuple[str, ...]

SESSION_SHIFTS = ("SessionXShiftAngst", "SessionYShiftAngst")
"""Scores: where the session that recorded the series measured the centre to be, Å; a start for `align`."""
SESSION_SHIFT_ERROR = "SessionShiftErrorAngst"
"""Score: standard error of those shifts, each way, Å."""
SESSION_DEFOCUS = "SessionDefocusAngst"
"""Score: the defocus that the session set, Å; a start for `ctf`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Defocus:
    """Defocus of the tomogram's centre voxel in each view; positive is underfocus.

    Attributes
    ----------
    u_ang, v_ang
        ``(n,)`` defocus along the two axes of the astigmatism, Å.
    angle_deg
        ``(n,)`` direction of u from the image's x axis.
    max_resolution_ang
        ``(n,)`` resolution to which the fit holds, Å, or None.
    phase_shift_deg
        ``(n,)`` additional phase shift (phase plate), or None where there is none.
    figure_of_merit
        ``(n,)`` correlation of the spectrum with the fit, 0…1, or None.
    """

    u_ang: Array
    v_ang: Array
    angle_deg: Array
    max_resolution_ang: Array | None = None
    phase_shift_deg: Array | None = None
    figure_of_merit: Array | None = None

    @property
    def mean_ang(self) -> Array:
        """``(n,)`` mean of u and v."""
        mean: Array = (self.u_ang + self.v_ang) / 2
        return mean

    def at_depth(self, depth_ang: ArrayLike, hand: int) -> tuple[Array, Array]:
        """Defocus (u, v), each ``(n, ...)``, at depths ``(n, ...)`` below the centre voxel, Å: hand × depth is added.

        The one place where depth becomes defocus; `TiltSeries.defocus_at` gives it for points of the specimen.
        """
        depth = np.asarray(depth_ang, dtype=np.float64)
        change = hand * depth
        column = (slice(None), *(None,) * (depth.ndim - 1))
        return self.u_ang[column] + change, self.v_ang[column] + change

    def joined(self, other: Defocus) -> Defocus:
        """The defocus of these views, then of another's; no phase shift stands for 0 where only one has any."""
        parts: dict[str, Any] = {}
        for entry in fields(Defocus):
            one, two = getattr(self, entry.name), getattr(other, entry.name)
            if entry.name == "phase_shift_deg" and (one is None) != (two is None):
                one = np.zeros(len(self.u_ang)) if one is None else one
                two = np.zeros(len(other.u_ang)) if two is None else two
            parts[entry.name] = _chain(one, two)
        return Defocus(**parts)


@dataclass(frozen=True, kw_only=True, eq=False)
class TiltSeries:
    """One tilt series, a row per view. Every sequence has one entry per view, in the same order.

    Attributes
    ----------
    name
        the series' name, used for files.
    pixel_size_ang
        of the tilt images.
    original_pixel_size_ang
        of the movies; the tilt images' where there are none.
    image_shape_px
        (height, width) of the tilt images.
    nominal_tilt_deg, nominal_axis_deg
        ``(n,)`` what the microscope said; the axis as `geometry` states it.
    images
        where each image is, as RELION writes it: ``000001@stack.mrc`` or ``image.mrc``; relative to the project's
        folder, or absolute. None while only movies exist.
    even_images, odd_images
        the same for the sums of even and odd frames.
    movies, frame_counts
        the frame files and their numbers of frames, or None for a bare stack.
    frame_turn
        the turn that brings the frames of these files to the hand of the images (see
        `lamella.formats.frame_turn.turn_image`): 0 … 7; `image_shape_px` and `images` are turned already.
    metadata
        per-movie tables (rlnMicrographMetadata), or None.
    pre_exposure
        ``(n,)`` dose in e/Å² that the specimen had before the view began; None where nobody stated a dose.
    place
        ``(n,)`` 1-based place of the view in the file that the user or `motion` made; what `clean.exclude` counts.
    optics, optics_group, hand, imaging
        constants of the microscope; the group's name; rlnTomoHand (+1 or −1); ``bright`` or ``dark`` field.
    geometry
        the projection model once `align` has run, else None.
    defocus
        once `ctf` has run, else None.
    thickness_ang
        of the specimen, where it was measured.
    scores
        further numbers per view, ``(n,)``, by the name of their column without ``lamella``: ``AlignResidualAngst``.
    quality
        numbers of the whole series, by the same rule.
    other_columns, other
        columns of a table that lamella has no use for, as text, by their full name (``rlnTomoNominalDefocus``), per
        view and per series: a record that came from another program goes back to it whole.
    """

    name: str
    pixel_size_ang: float
    image_shape_px: tuple[int, int]
    nominal_tilt_deg: Array
    nominal_axis_deg: Array
    images: Names | None = None
    even_images: Names | None = None
    odd_images: Names | None = None
    movies: Names | None = None
    frame_counts: NDArray[np.int64] | None = None
    frame_turn: int = 0
    metadata: Names | None = None
    pre_exposure: Array | None = None
    place: NDArray[np.int64] | None = None
    original_pixel_size_ang: float | None = None
    optics: Optics = field(default_factory=Optics)
    optics_group: str = "optics1"
    hand: int = -1
    imaging: Literal["bright", "dark"] = "bright"
    geometry: TiltGeometry | None = None
    defocus: Defocus | None = None
    thickness_ang: float | None = None
    scores: Mapping[str, Array] = field(default_factory=dict)
    quality: Mapping[str, float] = field(default_factory=dict)
    other_columns: Mapping[str, Names] = field(default_factory=dict)
    other: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(np.atleast_1d(self.nominal_tilt_deg))
        if n == 0:
            raise InputError(f"{self.name}: no view is left", mend="exclude fewer views")
        if not (np.isfinite(self.pixel_size_ang) and self.pixel_size_ang > 0):
            raise InputError(f"{self.name}: a pixel size of {self.pixel_size_ang} Å", mend="state it with --pixel-size")
        if self.hand not in (-1, 1):
            raise InputError(f"{self.name}: a hand of {self.hand}", mend="state +1 or -1")
        if self.frame_turn not in range(8):
            raise InputError(f"{self.name}: frames turned by {self.frame_turn}", mend="state a turn from 0 to 7")
        if self.place is None:
            object.__setattr__(self, "place", np.arange(1, n + 1))
        for name in _MAPPINGS:
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))
        columns: dict[str, Sized | None] = {name: getattr(self, name) for name in _PER_VIEW}
        for name, column in {**columns, **self.scores, **self.other_columns}.items():
            if column is not None and len(column) != n:
                raise InputError(
                    f"{self.name}: {len(column)} entries of {name} for {n} views", mend="give one per view"
                )

    def __len__(self) -> int:
        return len(self.nominal_tilt_deg)

    def __getstate__(self) -> dict[str, Any]:
        # Read-only mappings do not pickle; a worker gets plain ones.
        return {**self.__dict__, **{name: dict(getattr(self, name)) for name in _MAPPINGS}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state | {name: MappingProxyType(state[name]) for name in _MAPPINGS})

    @property
    def tilt_deg(self) -> Array:
        """``(n,)`` the best tilt angles known: solved ones where there are any, else the nominal ones."""
        return self.nominal_tilt_deg if self.geometry is None else self.geometry.y_tilt_deg

    @property
    def view_dose(self) -> Array | None:
        """``(n,)`` dose of each view in e/Å²: what the next one had more before it began; the last has the median.

        Where views are absent in between (`AcquisitionOrder` leaps), they had the same dose each. None where nobody
        stated a dose.
        """
        if self.pre_exposure is None:
            return None
        before = np.asarray(self.pre_exposure, np.float64)
        order = np.argsort(before, kind="stable")
        doses = np.zeros(len(before))
        if len(before) > 1:
            steps = np.diff(before[order])
            if "AcquisitionOrder" in self.scores:
                steps = steps / np.maximum(np.diff(self.scores["AcquisitionOrder"][order]), 1)
            doses[order] = np.append(steps, np.median(steps))
        return doses

    def defocus_at(self, points_ang: ArrayLike) -> tuple[Array, Array]:
        """Defocus (u, v), each ``(n, ...)`` in Å, of specimen points ``(..., 3)`` in every view.

        Raises
        ------
        InputError
            if the defocus or the geometry is not known.
        """
        if self.defocus is None or self.geometry is None:
            raise InputError(f"{self.name}: no defocus of its views is known", mend="run align and ctf first")
        return self.defocus.at_depth(self.geometry.depth_ang(points_ang), self.hand)

    def with_changes(self, **changes: Any) -> TiltSeries:
        """A copy with some fields replaced; mappings given are added to those that are there."""
        for name in _MAPPINGS:
            if name in changes:
                changes[name] = {**getattr(self, name), **changes[name]}
        return replace(self, **changes)

    def select(self, views: ArrayLike) -> TiltSeries:
        """The record of some views (indices or a mask), in the order given."""
        chosen = np.atleast_1d(np.asarray(views))
        chosen = np.flatnonzero(chosen) if chosen.dtype == bool else chosen.astype(np.int64)
        changes: dict[str, Any] = {name: _pick(getattr(self, name), chosen) for name in _PER_VIEW}
        for mapping in ("scores", "other_columns"):
            changes[mapping] = {name: _pick(column, chosen) for name, column in getattr(self, mapping).items()}
        if self.geometry is not None:
            changes["geometry"] = self.geometry.select(chosen)
        if self.defocus is not None:
            parts = {entry.name: _pick(getattr(self.defocus, entry.name), chosen) for entry in fields(Defocus)}
            changes["defocus"] = Defocus(**parts)
        return replace(self, **changes)

    def joined(self, later: TiltSeries, name: str) -> TiltSeries:
        """One series of the views of two that are described in one frame: these views, then those of a later series.

        Parameters
        ----------
        later
            whose `place` and `AcquisitionOrder` go on after this one's.
        name
            of the series of both.

        Notes
        -----
        Scores that only one of them has are NaN for the other's views; other columns, geometry and defocus that only
        one has are left out. What is true of the whole series (optics, `other`) is this one's; `quality` is of neither.
        """
        changes: dict[str, Any] = {entry: _chain(getattr(self, entry), getattr(later, entry)) for entry in _PER_VIEW}
        if self.place is not None and later.place is not None:
            changes["place"] = np.concatenate([self.place, later.place + self.place.max()])
        scores = {}
        last = np.nanmax(self.scores.get("AcquisitionOrder", np.zeros(1)))
        for entry in dict.fromkeys((*self.scores, *later.scores)):
            one = self.scores.get(entry, np.full(len(self), np.nan))
            two = later.scores.get(entry, np.full(len(later), np.nan))
            scores[entry] = np.concatenate([one, two + (last if entry == "AcquisitionOrder" else 0.0)])
        columns = {
            entry: (*self.other_columns[entry], *later.other_columns[entry])
            for entry in self.other_columns
            if entry in later.other_columns
        }
        for entry in ("geometry", "defocus"):
            one, two = getattr(self, entry), getattr(later, entry)
            changes[entry] = None if one is None or two is None else one.joined(two)
        return replace(self, name=name, scores=scores, quality={}, other_columns=columns, **changes)

    def sorted_by_tilt(self) -> TiltSeries:
        """The same views by rising nominal tilt angle."""
        return self.select(np.argsort(self.nominal_tilt_deg, kind="stable"))


def _pick(values: Any, chosen: NDArray[np.int64]) -> Any:
    if values is None:
        return None
    return tuple(values[i] for i in chosen) if isinstance(values, tuple) else values[chosen]


def _chain(one: Any, two: Any) -> Any:
    """The entries of two columns; None where one of them is absent."""
    if one is None or two is None:
        return None
    return (*one, *two) if isinstance(one, tuple) else np.concatenate([one, two])


_MAPPINGS = ("scores", "quality", "other_columns", "other")

_PER_VIEW = (
    "nominal_tilt_deg",
    "nominal_axis_deg",
    "images",
    "even_images",
    "odd_images",
    "movies",
    "frame_counts",
    "metadata",
    "pre_exposure",
    "place",
)
