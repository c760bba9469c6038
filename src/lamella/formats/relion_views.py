"""The table of one tilt series in RELION-5: a row per view.

Which column is which field of the record stands in the tables below. A column that they do not know is kept as text and
written back; what RELION has no word for is a ``lamella…`` column. RELION's columns have our meaning (see
`lamella.geometry`), so no number is converted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError
from lamella.formats.relion_field import field_from_relion, relion_spline
from lamella.formats.star import StarTable, number_text, vector_text
from lamella.geometry import ImageField, TiltGeometry
from lamella.records import Defocus, TiltSeries

__all__ = ["Deformation", "view_columns", "view_fields"]

Columns = dict[str, tuple[str, ...]]
Array = NDArray[np.float64]

TEXT = {
    "rlnMicrographMovieName": "movies",
    "rlnMicrographName": "images",
    "rlnMicrographNameEven": "even_images",
    "rlnMicrographNameOdd": "odd_images",
    "rlnMicrographMetadata": "metadata",
}
GEOMETRY = {
    "rlnTomoXTilt": "x_tilt_deg",
    "rlnTomoYTilt": "y_tilt_deg",
    "rlnTomoZRot": "z_rot_deg",
    "rlnTomoXShiftAngst": "x_shift_ang",
    "rlnTomoYShiftAngst": "y_shift_ang",
    "lamellaMagnification": "magnification",
}
DEFOCUS = {
    "rlnDefocusU": "u_ang",
    "rlnDefocusV": "v_ang",
    "rlnDefocusAngle": "angle_deg",
    "rlnCtfMaxResolution": "max_resolution_ang",
    "rlnPhaseShift": "phase_shift_deg",
    "rlnCtfFigureOfMerit": "figure_of_merit",
}
STAGE, AXIS, DOSE = "rlnTomoNominalStageTiltAngle", "rlnTomoNominalTiltAxisAngle", "rlnMicrographPreExposure"
FRAMES, PLACE, SCALE = "rlnTomoTiltMovieFrameCount", "lamellaPlace", "rlnCtfScalefactor"
NODES, COEFFICIENTS = "lamellaFieldNodesAngst", "rlnTomoDeformationCoefficients"
KNOWN = {*TEXT, *GEOMETRY, *DEFOCUS, STAGE, AXIS, DOSE, FRAMES, PLACE, SCALE, NODES, COEFFICIENTS}

_OWN = "lamella"
_RELION4 = "rlnTomoProjX"
_SAME_SCALE = 1e-4  # a CTF scale this close to cos(tilt) is that, written with few digits


class Deformation:
    """What the global table says of a series' local field: how to read the numbers in its rows.

    Parameters
    ----------
    kind, grid
        RELION's type of deformation, and nodes along x and y.
    own_grid, own_half_width_ang
        nodes along x and y and half width (x, y) of lamella's own field; None where the table has none.
    """

    def __init__(
        self,
        kind: str,
        grid: tuple[int, int],
        own_grid: tuple[int, int] | None,
        own_half_width_ang: tuple[float, float] | None,
    ) -> None:
        self.kind, self.grid = kind, grid
        self.own_grid, self.own_half_width_ang = own_grid, own_half_width_ang

    def field(self, table: StarTable, image_shape: tuple[int, int], pixel_ang: float) -> ImageField | None:
        """The local field of a series' rows; None where there is none.

        Our own columns hold it exactly. Where RELION's say something else than they did when ours were written, RELION
        has solved the deformations anew, and its are taken.
        """
        coefficients = np.stack(table.vectors(COEFFICIENTS)) if COEFFICIENTS in table and self.kind else None
        own = None
        if NODES in table and self.own_grid is not None and self.own_half_width_ang is not None:
            shape = (len(table), 2, self.own_grid[1], self.own_grid[0])
            nodes = np.concatenate(table.vectors(NODES))
            if nodes.size != np.prod(shape):
                raise FormatError(
                    f"{table.where}: {nodes.size} numbers in {NODES}", mend=f"there must be {np.prod(shape)}"
                )
            own = ImageField(nodes.reshape(shape), self.own_half_width_ang)
        if coefficients is None or own is None:
            return own if coefficients is None else self._relions(coefficients, image_shape, pixel_ang, table.where)
        if 0 in image_shape:
            return own
        grid, expected = relion_spline(own, image_shape, pixel_ang, self.grid)
        unchanged = grid == self.grid and np.allclose(expected, coefficients, rtol=0, atol=1e-4)
        return own if unchanged else self._relions(coefficients, image_shape, pixel_ang, table.where)

    def _relions(
        self, coefficients: Array, image_shape: tuple[int, int], pixel_ang: float, where: str
    ) -> ImageField | None:
        if 0 in image_shape and np.any(coefficients):
            raise FormatError(
                f"{where}: image deformations without the images: their grid spans an image of unknown size",
                mend="put the tilt images where the table names them",
            )
        return field_from_relion(self.kind, self.grid, coefficients, image_shape, pixel_ang)


def view_columns(series: TiltSeries, coefficients: Array | None) -> Columns:
    """The columns of a series' table, in the order in which they are written.

    Parameters
    ----------
    series
        the record.
    coefficients
        ``(n, numbers)`` RELION's deformation coefficients of the views, or None to write none.
    """
    n = len(series)
    columns: Columns = {}
    for label, name in TEXT.items():
        if (names := getattr(series, name)) is not None:
            columns[label] = tuple(names)
        if label == "rlnMicrographMovieName" and series.frame_counts is not None:
            columns[FRAMES] = tuple(str(int(count)) for count in series.frame_counts)
    columns |= {STAGE: _texts(series.nominal_tilt_deg), AXIS: _texts(series.nominal_axis_deg)}
    if series.pre_exposure is not None:
        columns[DOSE] = _texts(series.pre_exposure)
    if series.defocus is not None:
        for label, name in DEFOCUS.items():
            if (values := getattr(series.defocus, name)) is not None:
                columns[label] = _texts(values)
    geometry = series.geometry
    if geometry is not None:
        columns |= {label: _texts(getattr(geometry, name)) for label, name in GEOMETRY.items()}
        if series.defocus is not None:
            columns[SCALE] = _texts(np.cos(np.deg2rad(geometry.y_tilt_deg)))
        if geometry.field is not None:
            columns[NODES] = tuple(vector_text(nodes.reshape(-1)) for nodes in geometry.field.nodes_ang)
    if coefficients is not None:
        columns[COEFFICIENTS] = tuple(vector_text(numbers) for numbers in coefficients)
    places = series.place if series.place is not None else np.arange(1, n + 1)
    columns[PLACE] = tuple(str(int(place)) for place in places)
    columns |= {_OWN + name: _texts(values) for name, values in series.scores.items()}
    return columns | {label: tuple(column) for label, column in series.other_columns.items()}


def view_fields(
    table: StarTable, deformation: Deformation, image_shape: tuple[int, int], pixel_ang: float
) -> dict[str, Any]:
    """Fields of the record that a series' table states, by their names.

    Raises
    ------
    FormatError
        if the table is RELION-4's, has no rows, lacks the nominal angles, or holds a value that is no number.
    """
    if _RELION4 in table:
        raise FormatError(
            f"{table.where}: projection matrices as RELION-4 wrote them",
            mend="open the project in RELION 5, which writes angles and shifts",
        )
    if len(table) == 0:
        raise FormatError(f"{table.where}: no view in table {table.name!r}", mend="check the table")
    fields: dict[str, Any] = {name: table.text(label) for label, name in TEXT.items() if label in table}
    fields["nominal_tilt_deg"] = table.numbers(
        STAGE if STAGE in table or "rlnTomoYTilt" not in table else "rlnTomoYTilt"
    )
    fields["nominal_axis_deg"] = table.numbers(AXIS if AXIS in table or "rlnTomoZRot" not in table else "rlnTomoZRot")
    if DOSE in table:
        fields["pre_exposure"] = table.numbers(DOSE)
    if FRAMES in table:
        fields["frame_counts"] = table.integers(FRAMES)
    if PLACE in table:
        fields["place"] = table.integers(PLACE)
    fields["geometry"] = _geometry(table, deformation, image_shape, pixel_ang)
    if all(label in table for label in list(DEFOCUS)[:3]):
        fields["defocus"] = Defocus(**{name: table.numbers(label) for label, name in DEFOCUS.items() if label in table})
    return fields | _unknown(table, fields)


def _geometry(
    table: StarTable, deformation: Deformation, image_shape: tuple[int, int], pixel_ang: float
) -> TiltGeometry | None:
    """The five columns, of which RELION takes the x tilt for 0 where it is missing."""
    if not all(label in table for label in list(GEOMETRY)[1:5]):
        return None
    terms = {name: table.numbers(label) for label, name in GEOMETRY.items() if label in table}
    return TiltGeometry.from_angles(**terms, field=deformation.field(table, image_shape, pixel_ang))


def _unknown(table: StarTable, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Our own further numbers, and the columns that nobody here knows."""
    scores: dict[str, Array] = {}
    other: Columns = {}
    for label, column in table.columns.items():
        if label in KNOWN:
            continue
        if label.startswith(_OWN):
            try:
                scores[label.removeprefix(_OWN)] = table.numbers(label)
                continue
            except FormatError:
                pass  # text of a later version of lamella: kept as it is
        other[label] = column
    if SCALE in table:
        geometry = fields.get("geometry")
        usual = None if geometry is None else np.cos(np.deg2rad(geometry.y_tilt_deg))
        if usual is None or np.abs(table.numbers(SCALE) - usual).max() > _SAME_SCALE:
            other[SCALE] = table.text(SCALE)  # refined by RELION
    missing = [label for label in DEFOCUS if label in table and fields.get("defocus") is None]
    missing += [label for label in GEOMETRY if label in table and fields.get("geometry") is None]
    return {"scores": scores, "other_columns": other | {label: table.text(label) for label in missing}}


def _texts(values: NDArray[Any]) -> tuple[str, ...]:
    return tuple(number_text(value) for value in values)
