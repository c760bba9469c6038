"""The rows of RELION's tables of particles: what each column means to a record of particles, as they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError
from lamella.formats.relion_tilt_series import NAME, OPTICS
from lamella.formats.star import StarTable
from lamella.formats.voxels import from_voxels
from lamella.records import ParticleImages, Particles, Tomogram

__all__ = ["ParticleTables"]

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

AXES = "XYZ"
CENTRED = tuple(f"rlnCenteredCoordinate{axis}Angst" for axis in AXES)
CORNERED = tuple(f"rlnCoordinate{axis}" for axis in AXES)
ORIGIN = tuple(f"rlnOrigin{axis}Angst" for axis in AXES)
SUBTOMOGRAM = tuple(f"rlnTomoSubtomogram{angle}" for angle in ("Rot", "Tilt", "Psi"))
ANGLES = tuple(f"rlnAngle{angle}" for angle in ("Rot", "Tilt", "Psi"))
PRIORS = ("rlnAngleTiltPrior", "rlnAnglePsiPrior")
PARTICLE, CLASS, HALF = "rlnTomoParticleName", "rlnClassNumber", "rlnRandomSubset"
VISIBLE, IMAGE, WEIGHT = "rlnTomoVisibleFrames", "rlnImageName", "rlnCtfImage"
GROUP, GROUP_NAME = "rlnOpticsGroup", "rlnOpticsGroupName"
STACKS, PREMULTIPLIED, DIMENSIONS = (
    "rlnTomoSubTomosAre2DStacks",
    "rlnCtfDataAreCtfPremultiplied",
    "rlnImageDimensionality",
)
BINNING, PIXEL, SIZE = "rlnTomoSubtomogramBinning", "rlnImagePixelSize", "rlnImageSize"
SERIES_PIXEL = "rlnTomoTiltSeriesPixelSize"
RADIUS = "rlnSphereRadius"
OWN = "lamella"
RADIUS_SCORE = "SphereRadiusAngst"

_KNOWN = {NAME, *CENTRED, *ORIGIN, *SUBTOMOGRAM, *ANGLES, *PRIORS, PARTICLE, CLASS, HALF, VISIBLE, IMAGE, WEIGHT, GROUP}
_KNOWN_OPTICS = {GROUP, GROUP_NAME, SERIES_PIXEL, PREMULTIPLIED, DIMENSIONS, BINNING, PIXEL, SIZE, *OPTICS}
_PICTURES = (SERIES_PIXEL, PIXEL, SIZE, BINNING, PREMULTIPLIED, DIMENSIONS)
_ABSENT = {"None", "<NA>", ""}
_SAME_PIXEL = 1e-3
_WARP = ".tomostar"


@dataclass(frozen=True, kw_only=True)
class ParticleTables:
    """The tables of one file of particles.

    Attributes
    ----------
    rows
        a row per particle.
    optics, general
        RELION's further blocks, where the file has them.
    where
        the file, for messages.
    voxel_size_ang
        of the pixels that coordinates from the corner are in, where they are not what the format has them in.
    places_only
        whether pictures and visible views are left out, with the checks that they ask for: the particles are put into
        another record's tomograms, whose views may be others.
    """

    rows: StarTable
    optics: StarTable | None
    general: StarTable | None
    where: str
    voxel_size_ang: float | None = None
    places_only: bool = False

    @classmethod
    def of(
        cls,
        tables: Mapping[str, StarTable],
        where: str,
        voxel_size_ang: float | None = None,
        *,
        places_only: bool = False,
    ) -> ParticleTables:
        """The tables of particles among those of a file.

        Raises
        ------
        FormatError
            if there are none, or they have no coordinates.
        """
        named = [tables[name] for name in ("particles", "") if name in tables]
        rows = next((one for one in [*named, *tables.values()] if NAME in one and _has_place(one)), None)
        if rows is None and any(NAME in one for one in named):
            raise FormatError(
                f"{where}: no coordinates of the particles ({CENTRED[0]} or {CORNERED[0]}, with y and z)",
                mend="write them with RELION 5 or lamella",
            )
        if rows is None:
            raise FormatError(
                f"{where}: there is no table of particles ({NAME} and coordinates)",
                mend="give a particles.star or an optimisation set",
            )
        return cls(
            rows=rows,
            optics=tables.get("optics"),
            general=tables.get("general"),
            where=where,
            voxel_size_ang=voxel_size_ang,
            places_only=places_only,
        )

    def members(self, tomograms: Sequence[Tomogram]) -> tuple[Particles, ...]:
        """The particles of each tomogram, those without any too.

        Raises
        ------
        FormatError
            if particles are in another tomogram, in optics groups that differ, or a column does not fit.
        """
        names = np.array(self.rows.text(NAME))
        unknown = sorted(set(names.tolist()) - {one.name for one in tomograms})
        if unknown:
            raise FormatError(
                f"{self.where}: particles in {unknown[0]}, which is none of the tomograms",
                mend="give the tomograms that the particles were picked in",
            )
        halves = self._halves()
        return tuple(self._member(np.flatnonzero(names == one.name), one, halves) for one in tomograms)

    def _member(self, rows: Rows, tomogram: Tomogram, halves: NDArray[np.int64] | None) -> Particles:
        optics = self._optics(rows, tomogram)
        priors = self._numbers(PRIORS, rows)
        classes = self._integers(CLASS, rows)
        own = [label for label in self.rows.columns if label.startswith(OWN) and not self.rows.is_text(label)]
        centred = all(label in self.rows for label in CENTRED)
        read = _KNOWN | (set() if centred else {*CORNERED, RADIUS})
        other = [label for label in self.rows.columns if label not in read and label not in own]
        scores = {label.removeprefix(OWN): self.rows.numbers(label)[rows] for label in own}
        if not centred and RADIUS in self.rows:
            scores[RADIUS_SCORE] = self.rows.numbers(RADIUS)[rows] * self._corner_pixel_ang(tomogram, optics)
        return Particles(
            tomogram=tomogram,
            coordinates_ang=self._places(rows, tomogram, optics),
            origin_ang=self._numbers(ORIGIN, rows),
            subtomogram_deg=self._numbers(SUBTOMOGRAM, rows),
            angles_deg=self._numbers(ANGLES, rows),
            prior_deg=priors,
            names=self._words(PARTICLE, rows),
            classes=None if classes is None else np.maximum(classes, 1),
            half_set=None if halves is None else halves[rows],
            visible=None if self.places_only else self._visible(rows, tomogram),
            images=None if self.places_only else self._images(rows, optics),
            scores=scores,
            other_columns={label: self._words(label, rows) or () for label in other},
            optics_columns={label: value for label, value in optics.items() if label not in _KNOWN_OPTICS},
        )

    def _numbers(self, labels: Sequence[str], rows: Rows) -> Array | None:
        if any(label not in self.rows for label in labels):
            return None
        columns: Array = np.stack([self.rows.numbers(label)[rows] for label in labels], axis=-1)
        return columns.reshape(-1, len(labels))

    def _integers(self, label: str, rows: Rows) -> Rows | None:
        return self.rows.integers(label)[rows] if label in self.rows else None

    def _words(self, label: str, rows: Rows) -> tuple[str, ...] | None:
        if label not in self.rows:
            return None
        column = self.rows.text(label)
        return tuple(column[row] for row in rows)

    def _halves(self) -> Rows | None:
        """Half sets of all rows; None where they were not split yet (RELION's 0)."""
        if HALF not in self.rows:
            return None
        halves = self.rows.integers(HALF)
        split = np.isin(halves, (1, 2))
        if not split.any():
            return None
        if not split.all():
            raise FormatError(
                f"{self.where}: row {int(np.argmin(split)) + 1} has {HALF} {halves[np.argmin(split)]}, others 1 and 2",
                mend="give every particle a half set, or none",
            )
        return halves

    def _optics(self, rows: Rows, tomogram: Tomogram) -> dict[str, str]:
        """The row of the optics group of a tomogram's particles."""
        if self.optics is None or not len(rows):
            return {}
        index = [0]
        if GROUP in self.rows:
            known = self.optics.integers(GROUP).tolist()
            wanted = dict.fromkeys(self.rows.integers(GROUP)[rows].tolist())
            lost = [group for group in wanted if group not in known]
            if lost:
                raise FormatError(
                    f"{self.where}: particles of {tomogram.name} in optics group {lost[0]}, which is not in the table",
                    mend="add the group to data_optics",
                )
            index = [known.index(group) for group in wanted]
        groups = [{label: column[place] for label, column in self.optics.columns.items()} for place in index]
        if self.places_only:
            return groups[0]
        for label in self.optics.columns:
            if label not in (GROUP, GROUP_NAME) and len({group[label] for group in groups}) > 1:
                values = " and ".join(dict.fromkeys(group[label] for group in groups))
                raise FormatError(
                    f"{self.where}: particles of {tomogram.name} are in optics groups with {label} {values}",
                    mend="one tomogram's particles have one pixel size and box: extract them again together",
                )
        self._check_pixel(groups[0], tomogram)
        return groups[0]

    def _check_pixel(self, optics: Mapping[str, str], tomogram: Tomogram) -> None:
        if SERIES_PIXEL not in optics:
            return
        stated, pixel = _number(optics, SERIES_PIXEL, self.where), tomogram.tilt_series.pixel_size_ang
        if abs(stated - pixel) > _SAME_PIXEL * pixel:
            raise FormatError(
                f"{self.where}: {SERIES_PIXEL} {stated:g} Å, but the tilt images of {tomogram.name} have {pixel:g} Å",
                mend="give the tomograms that the particles were picked in",
            )

    def _places(self, rows: Rows, tomogram: Tomogram, optics: Mapping[str, str]) -> Array:
        centred = self._numbers(CENTRED, rows)
        if centred is not None:
            return centred
        corner = self._numbers(CORNERED, rows)
        assert corner is not None  # looked for when the tables were chosen
        pixel = self._corner_pixel_ang(tomogram, optics)
        if pixel == tomogram.voxel_size_ang:
            return from_voxels(tomogram, corner)
        return corner * pixel - np.array(tomogram.size_px) * tomogram.tilt_series.pixel_size_ang / 2

    def _corner_pixel_ang(self, tomogram: Tomogram, optics: Mapping[str, str]) -> float:
        """Unit of coordinates from the corner, Å.

        Picks, which have no optics, count voxels of the tomogram that they were made in; RELION 4 counts pixels of the
        tilt images, Warp those of the particles' pictures.
        """
        if self.voxel_size_ang is not None:
            return self.voxel_size_ang
        if self.optics is None:
            return tomogram.voxel_size_ang
        if tomogram.name.endswith(_WARP) and PIXEL in optics:
            return _number(optics, PIXEL, self.where)
        if SERIES_PIXEL in optics:
            return _number(optics, SERIES_PIXEL, self.where)
        return tomogram.tilt_series.pixel_size_ang

    def _visible(self, rows: Rows, tomogram: Tomogram) -> NDArray[np.bool_] | None:
        lists, views = self._words(VISIBLE, rows), len(tomogram.tilt_series)
        if lists is None:
            return None
        marks = [[entry.strip() for entry in text.strip("[] ").split(",")] for text in lists]
        for row, entries in zip(rows.tolist(), marks, strict=True):
            if len(entries) != views or not set(entries) <= {"0", "1"}:
                found = f"{len(entries)} entries" if len(entries) != views else "something else than 0 and 1"
                raise FormatError(
                    f"{self.where}: row {row + 1} has {found} in {VISIBLE} for the {views} views of {tomogram.name}",
                    mend="give the tomograms.star of these particles",
                )
        return np.array([[entry == "1" for entry in entries] for entries in marks], dtype=bool).reshape(-1, views)

    def _images(self, rows: Rows, optics: Mapping[str, str]) -> ParticleImages | None:
        names = self._words(IMAGE, rows)
        if not names or not optics or _ABSENT & set(names):
            return None
        stacks = self.general is not None and STACKS in self.general and self.general.integers(STACKS)[0] == 1
        if DIMENSIONS in optics:
            stacks = round(_number(optics, DIMENSIONS, self.where)) == 2
        return ParticleImages(
            names=names,
            kind="stack" if stacks else "volume",
            pixel_size_ang=_number(optics, PIXEL, self.where),
            box_px=round(_number(optics, SIZE, self.where)),
            premultiplied=round(_number(optics, PREMULTIPLIED, self.where)) == 1 if PREMULTIPLIED in optics else False,
            weights=self._words(WEIGHT, rows),
        )


def _has_place(table: StarTable) -> bool:
    return any(all(label in table for label in labels) for labels in (CENTRED, CORNERED))


def _number(optics: Mapping[str, str], label: str, where: str) -> float:
    value = optics.get(label, "")
    try:
        number = float(value)
    except ValueError:
        number = np.nan
    if not np.isfinite(number) or number < 0:
        raise FormatError(
            f"{where}: {label} of an optics group is {value or 'missing'}", mend="correct the table data_optics"
        )
    return number
