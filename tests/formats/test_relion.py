"""RELION-5's tables: real ones, ours, and the geometry that they mean."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import starfile

from lamella.errors import FormatError, InputError
from lamella.formats import FormatWarning
from lamella.formats.mrc import write_mrc
from lamella.formats.relion import (
    read_tilt_series,
    read_tilt_table,
    read_tomograms,
    write_tilt_series,
    write_tilt_table,
    write_tomograms,
)
from lamella.formats.relion_exchange import export_series, import_series
from lamella.formats.relion_field import field_from_relion, relion_displacement, spline_coefficients
from lamella.formats.star import StarTable, read_star, vector_text, write_star
from lamella.geometry import ImageField, TiltGeometry
from lamella.records import Defocus, Optics, TiltSeries, Tomogram

pytestmark = pytest.mark.filterwarnings("ignore:.*the size of the tilt images is unknown")

SHAPE = (96, 128)


def made_series(rng: np.random.Generator, name: str = "TS_1", *, field: ImageField | None = None) -> TiltSeries:
    """A record with something in every field."""
    n = 5
    tilts = np.linspace(-60, 60, n)
    terms = {key: rng.normal(0, 100, n) for key in ("x_shift_ang", "y_shift_ang")}
    magnification = rng.normal(1, 1e-3, n)
    return TiltSeries(
        name=name,
        pixel_size_ang=1.35,
        original_pixel_size_ang=0.675,
        image_shape_px=SHAPE,
        nominal_tilt_deg=tilts,
        nominal_axis_deg=np.full(n, 85.0),
        images=tuple(f"{i + 1:06d}@motion/{name}.mrcs" for i in range(n)),
        even_images=tuple(f"{i + 1:06d}@motion/{name}_even.mrcs" for i in range(n)),
        odd_images=tuple(f"{i + 1:06d}@motion/{name}_odd.mrcs" for i in range(n)),
        movies=tuple(f"frames with space/{name}_{i}.tif" for i in range(n)),
        frame_counts=np.arange(8, 8 + n),
        frame_turn=5,
        metadata=tuple(f"motion/{name}/{i}.star" for i in range(n)),
        pre_exposure=np.arange(n) * 3.1,
        place=np.array([1, 2, 3, 5, 6]),
        optics=Optics(voltage_kv=300, spherical_aberration_mm=0.01, amplitude_contrast=0.07),
        optics_group="shift_1",
        hand=1,
        imaging="dark",
        geometry=TiltGeometry.from_angles(
            tilts + rng.normal(0, 0.1, n),
            84.9 + rng.normal(0, 0.1, n),
            x_tilt_deg=1.25,
            field=field,
            magnification=magnification / magnification.mean(),
            **terms,
        ),
        defocus=Defocus(
            u_ang=rng.normal(4e4, 1e3, n),
            v_ang=rng.normal(4e4, 1e3, n),
            angle_deg=rng.uniform(-90, 90, n),
            max_resolution_ang=rng.uniform(5, 20, n),
            phase_shift_deg=rng.uniform(40, 120, n),
            figure_of_merit=rng.uniform(0, 0.3, n),
        ),
        thickness_ang=1834.25,
        scores={"AlignResidualAngst": rng.random(n), "AcquisitionOrder": np.arange(1, n + 1.0)},
        quality={"AlignResidualAngst": 3.25},
        other_columns={"rlnTomoNominalDefocus": ("-4.0",) * n, "rlnCtfImage": tuple("abcde")},
        other={"rlnEtomoDirectiveFile": "x/TS.edf"},
    )


def smooth_field(rng: np.random.Generator, half: tuple[float, float], n: int = 5) -> ImageField:
    return ImageField(rng.normal(0, 4, (n, 2, 4, 5)), half)


def assert_same(one: TiltSeries, other: TiltSeries) -> None:
    """Every field, float64 numbers to the bit."""
    for name in (
        "name",
        "pixel_size_ang",
        "original_pixel_size_ang",
        "image_shape_px",
        "images",
        "even_images",
        "odd_images",
        "movies",
        "metadata",
        "optics",
        "optics_group",
        "hand",
        "imaging",
        "frame_turn",
        "thickness_ang",
    ):
        assert getattr(one, name) == getattr(other, name), name
    for name in ("nominal_tilt_deg", "nominal_axis_deg", "frame_counts", "pre_exposure", "place"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), name)
    for name in ("quality", "other", "other_columns"):
        assert dict(getattr(one, name)) == dict(getattr(other, name)), name
    assert set(one.scores) == set(other.scores)
    for name, values in one.scores.items():
        np.testing.assert_array_equal(values, other.scores[name])
    assert (one.geometry is None, one.defocus is None) == (other.geometry is None, other.defocus is None)
    if one.geometry is not None and other.geometry is not None:
        for term in ("x_tilt_deg", "y_tilt_deg", "z_rot_deg", "x_shift_ang", "y_shift_ang", "magnification"):
            np.testing.assert_array_equal(getattr(one.geometry, term), getattr(other.geometry, term), term)
        assert (one.geometry.field is None) == (other.geometry.field is None)
        if one.geometry.field is not None and other.geometry.field is not None:
            np.testing.assert_array_equal(one.geometry.field.nodes_ang, other.geometry.field.nodes_ang)
            assert one.geometry.field.half_width_ang == other.geometry.field.half_width_ang
    if one.defocus is not None and other.defocus is not None:
        for term in ("u_ang", "v_ang", "angle_deg", "max_resolution_ang", "phase_shift_deg", "figure_of_merit"):
            np.testing.assert_array_equal(getattr(one.defocus, term), getattr(other.defocus, term), term)


def test_a_record_comes_back_to_the_last_bit(tmp_path: Path, rng: np.random.Generator) -> None:
    series = made_series(rng)
    paths = write_tilt_series(tmp_path / "align" / "tilt_series.star", [series], tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in paths] == [
        "align/tilt_series/TS_1.star",
        "align/tilt_series.star",
    ]
    (back,) = read_tilt_series(paths[-1], tmp_path)
    assert_same(series, back)
    table = read_star(paths[0])["TS_1"]
    np.testing.assert_allclose(
        table.numbers("rlnCtfScalefactor"), np.cos(np.deg2rad(table.numbers("rlnTomoYTilt"))), atol=1e-12
    )
    assert read_star(paths[-1])["global"].text("rlnTomoTiltSeriesStarFile") == ("align/tilt_series/TS_1.star",)


def test_a_bare_record_states_only_what_is_known(tmp_path: Path) -> None:
    series = TiltSeries(
        name="bare",
        pixel_size_ang=33.6,
        image_shape_px=(256, 256),
        nominal_tilt_deg=np.array([-1.0, 1.0]),
        nominal_axis_deg=np.array([90.0, 90.0]),
        images=("000001@/data/HAADF.mrc", "000002@/data/HAADF.mrc"),
    )
    (table, glob) = write_tilt_series(tmp_path / "raw.star", [series], tmp_path)
    columns = set(read_star(table)["bare"].columns) | set(read_star(glob)["global"].columns)
    assert not columns & {"rlnVoltage", "rlnTomoYTilt", "rlnDefocusU", "rlnMicrographPreExposure", "rlnCtfScalefactor"}
    (back,) = read_tilt_series(glob, tmp_path)
    assert back.optics.voltage_kv is None
    assert (back.geometry, back.defocus, back.pre_exposure, back.movies) == (None, None, None, None)
    assert back.images == series.images


def test_series_that_state_different_things_share_a_table(tmp_path: Path, rng: np.random.Generator) -> None:
    half = (SHAPE[1] / 2 * 1.35, SHAPE[0] / 2 * 1.35)
    full = made_series(rng, "full", field=smooth_field(rng, half))
    bare = TiltSeries(
        name="bare",
        pixel_size_ang=2.0,
        original_pixel_size_ang=2.0,
        image_shape_px=(10, 12),
        nominal_tilt_deg=np.array([0.0]),
        nominal_axis_deg=np.array([0.0]),
        geometry=TiltGeometry.from_angles([0.0]),
    )
    write_tilt_series(tmp_path / "tilt_series.star", [full, bare], tmp_path)
    back = read_tilt_series(tmp_path / "tilt_series.star", tmp_path)
    assert_same(full, back[0])
    assert back[1].thickness_ang is None
    assert back[1].optics.voltage_kv is None
    assert dict(back[1].quality) == {}
    assert back[1].geometry is not None
    assert back[1].geometry.field is None
    # RELION wants a deformation of every series as soon as one has it: a spline of zeros moves nothing
    coefficients = read_star(tmp_path / "tilt_series" / "bare.star")["bare"].vectors("rlnTomoDeformationCoefficients")
    assert coefficients[0].shape == (32,)
    assert not coefficients[0].any()


def test_excluded_views_stand_in_a_file_of_their_own(tmp_path: Path, rng: np.random.Generator) -> None:
    series = made_series(rng, field=smooth_field(rng, (50.0, 40.0))).select([1, 4])
    path = tmp_path / "clean" / "excluded" / "TS_1.star"
    with pytest.warns(FormatWarning, match="deformation spline"):
        write_tilt_table(path, series)
    assert_same(series, read_tilt_table(path))
    assert "rlnTomoTiltSeriesStarFile" not in read_star(path)["global"]


def test_names(tmp_path: Path, rng: np.random.Generator) -> None:
    spaced = made_series(rng, "my series")
    write_tilt_series(tmp_path / "t.star", [spaced, made_series(rng, "data_2")], tmp_path)
    assert [one.name for one in read_tilt_series(tmp_path / "t.star", tmp_path)] == ["my series", "data_2"]
    for bad in ("a/b", "../x", "", ".hidden"):
        with pytest.raises(InputError, match="called"):
            write_tilt_series(tmp_path / "t.star", [spaced.with_changes(name=bad)], tmp_path)
    with pytest.raises(InputError, match="several tilt series are called my series"):
        write_tilt_series(tmp_path / "t.star", [spaced, spaced], tmp_path)


def test_image_sizes_come_from_the_images_where_no_table_states_them(tmp_path: Path) -> None:
    write_mrc(tmp_path / "s.mrcs", np.zeros((2, 6, 8), np.float32), 1.0)
    views = {
        "rlnMicrographName": ("000001@s.mrcs", "000002@s.mrcs"),
        "rlnTomoNominalStageTiltAngle": ("0", "3"),
        "rlnTomoNominalTiltAxisAngle": ("85", "85"),
    }
    write_star(tmp_path / "t.star", [StarTable("T", views)])
    row = {"rlnTomoName": ("T",), "rlnTomoTiltSeriesStarFile": ("t.star",), "rlnTomoTiltSeriesPixelSize": ("1.5",)}
    write_star(tmp_path / "g.star", [StarTable("global", row)])
    (series,) = read_tilt_series(tmp_path / "g.star", tmp_path)
    assert series.image_shape_px == (6, 8)
    (tmp_path / "s.mrcs").unlink()
    with pytest.warns(FormatWarning, match="unknown"):
        (series,) = read_tilt_series(tmp_path / "g.star", tmp_path)
    assert series.image_shape_px == (0, 0)


@pytest.mark.parametrize(
    ("views", "row", "words"),
    [
        ({"rlnTomoProjX": ("[1,0,0,0]",)}, {}, "RELION-4"),
        ({"rlnMicrographName": ("a",)}, {}, "no column rlnTomoNominalStageTiltAngle"),
        ({"rlnTomoNominalStageTiltAngle": ("x",)}, {}, "no number"),
        ({"rlnTomoNominalStageTiltAngle": ("1",)}, {"rlnTomoTiltSeriesPixelSize": ("wide",)}, "no number"),
        ({"rlnTomoNominalStageTiltAngle": ("1",)}, {"rlnTomoTiltSeriesPixelSize": ("None",)}, "no pixel size"),
        ({"rlnTomoNominalStageTiltAngle": ("1",)}, {"rlnTomoTiltSeriesStarFile": ("absent.star",)}, "is not there"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, views: dict, row: dict, words: str) -> None:
    write_star(tmp_path / "t.star", [StarTable("T", views)])
    known = {"rlnTomoName": ("T",), "rlnTomoTiltSeriesStarFile": ("t.star",), "rlnTomoTiltSeriesPixelSize": ("1.5",)}
    write_star(tmp_path / "g.star", [StarTable("global", known | row)])
    with pytest.raises(FormatError, match=words):
        read_tilt_series(tmp_path / "g.star", tmp_path)


def test_tomograms_come_back(tmp_path: Path, rng: np.random.Generator) -> None:
    one = Tomogram(
        tilt_series=made_series(rng, "A"),
        size_px=(512, 480, 300),
        binning=7.407407,
        volume="reconstruct/A.mrc",
        even_volume="reconstruct/A_even.mrc",
        odd_volume="reconstruct/A_odd.mrc",
        denoised="denoise/A.mrc",
        support="denoise/A_support.mrc",
        quality={"AlignResidualAngst": 1.5, "HalfMapResolutionAngst": 31.0},
    )
    two = Tomogram(tilt_series=made_series(rng, "B"), size_px=(512, 480, 200), volume="reconstruct/B.mrc")
    write_tomograms(tmp_path / "reconstruct" / "tomograms.star", [one, two], tmp_path)
    back = read_tomograms(tmp_path / "reconstruct" / "tomograms.star", tmp_path)
    for tomogram, again in zip((one, two), back, strict=True):
        assert_same(tomogram.tilt_series, again.tilt_series)
        for name in ("size_px", "binning", "volume", "even_volume", "odd_volume", "denoised", "support"):
            assert getattr(tomogram, name) == getattr(again, name), name
        assert dict(tomogram.quality) == dict(again.quality)
    # a tomograms table is a tilt-series table too
    names = [series.name for series in read_tilt_series(tmp_path / "reconstruct" / "tomograms.star", tmp_path)]
    assert names == ["A", "B"]
    write_tilt_series(tmp_path / "t.star", [made_series(rng)], tmp_path)
    with pytest.raises(FormatError, match="no size"):
        read_tomograms(tmp_path / "t.star", tmp_path)


# ---- the geometry that the columns mean


def relion_matrix(
    row: dict[str, float], tomogram_px: tuple[int, int, int], image_px: tuple[int, int], pixel_ang: float
) -> np.ndarray:
    """RELION 5's 4 × 4 projection matrix (Tomogram::setProjectionMatrix), voxels and pixels from the first one.

    T(image centre) · T(shift) · R(z) · R(y) · R(x) · T(−specimen centre), centres halved as whole numbers, R the
    axis-angle rotation n·nᵀ + cos·(1 − n·nᵀ) + sin·[n]×.
    """

    def moved(x: float, y: float, z: float) -> np.ndarray:
        matrix = np.eye(4)
        matrix[:3, 3] = x, y, z
        return matrix

    def turned(axis: int, angle_deg: float) -> np.ndarray:
        n = np.eye(3)[axis]
        cross = np.array([[0, -n[2], n[1]], [n[2], 0, -n[0]], [-n[1], n[0], 0]])
        angle = np.deg2rad(angle_deg)
        matrix = np.eye(4)
        matrix[:3, :3] = np.outer(n, n) + np.cos(angle) * (np.eye(3) - np.outer(n, n)) + np.sin(angle) * cross
        return matrix

    width, height = image_px
    return (
        moved(int(width / 2), int(height / 2), 0)
        @ moved(row["rlnTomoXShiftAngst"] / pixel_ang, row["rlnTomoYShiftAngst"] / pixel_ang, 0)
        @ turned(2, row["rlnTomoZRot"])
        @ turned(1, row["rlnTomoYTilt"])
        @ turned(0, row["rlnTomoXTilt"])
        @ moved(*(-float(int(size / 2)) for size in tomogram_px))
    )


@pytest.mark.parametrize("shape", [(96, 128), (97, 129)])
def test_written_columns_project_as_relion_projects(
    tmp_path: Path, rng: np.random.Generator, shape: tuple[int, int]
) -> None:
    series = made_series(rng).with_changes(image_shape_px=shape)
    assert series.geometry is not None
    series = series.with_changes(geometry=series.geometry.with_terms(magnification=1.0))
    write_tilt_series(tmp_path / "t.star", [series], tmp_path)
    table = starfile.read(tmp_path / "tilt_series" / "TS_1.star")
    size, pixel = (200, 180, 100), 1.35
    points = rng.uniform(-100, 100, (20, 3))
    ours = series.geometry.project(points)  # Å from the centre pixel
    voxels = points / pixel + np.array(size) // 2
    for view in range(len(series)):
        row = {label: float(table[label][view]) for label in table if label.startswith("rlnTomo")}
        matrix = relion_matrix(row, size, shape[::-1], pixel)
        theirs = (np.c_[voxels, np.ones(20)] @ matrix.T)[:, :2]
        np.testing.assert_allclose(ours[view] / pixel + [shape[1] // 2, shape[0] // 2], theirs, atol=1e-9)
        depth = (np.c_[voxels, np.ones(20)] @ matrix.T)[:, 2] * pixel
        np.testing.assert_allclose(series.geometry.depth_ang(points)[view], depth, atol=1e-9)


def relion_spline(
    place: np.ndarray, grid: tuple[int, int], image_px: tuple[int, int], numbers: np.ndarray
) -> np.ndarray:
    """RELION's bicubic Hermite patch at one pixel position, after its description in words, one number at a time."""
    gx, gy = grid
    out = np.zeros(2)
    cell, rest = np.zeros(2, int), np.zeros(2)
    for axis, nodes in enumerate((gx, gy)):
        t = min(max(place[axis] / (image_px[axis] / (nodes - 1)), 0), nodes - 1 - 1e-10)
        cell[axis], rest[axis] = int(t), t - int(t)

    def weights(t: float) -> dict[tuple[int, int], float]:  # (end, derivative) -> weight
        return {
            (0, 0): 1 - 3 * t**2 + 2 * t**3,
            (1, 0): 3 * t**2 - 2 * t**3,
            (0, 1): t - 2 * t**2 + t**3,
            (1, 1): t**3 - t**2,
        }

    for component in range(2):
        for (end_x, slope_x), wx in weights(rest[0]).items():
            for (end_y, slope_y), wy in weights(rest[1]).items():
                node = (component * gy + cell[1] + end_y) * gx + cell[0] + end_x
                which = {(0, 0): 0, (1, 0): 1, (0, 1): 2, (1, 1): 3}[slope_x, slope_y]
                out[component] += wx * wy * numbers[4 * node + which]
    return out


def test_a_field_over_the_image_is_relions_spline_exactly(rng: np.random.Generator) -> None:
    pixel, (height, width) = 1.35, SHAPE
    field = smooth_field(rng, (width / 2 * pixel, height / 2 * pixel))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        grid, numbers = spline_coefficients(field, SHAPE, pixel)
        back = field_from_relion("spline", grid, numbers, SHAPE, pixel)
    assert grid == (5, 4)
    for place in rng.uniform(-20, 150, (40, 2)):
        ours = field.displacement(3, (place - [width // 2, height // 2]) * pixel) / pixel
        np.testing.assert_allclose(ours, relion_spline(place, grid, (width, height), numbers[3]), atol=1e-8)
        many = relion_displacement("spline", grid, numbers[3], SHAPE)(place)
        np.testing.assert_allclose(many, relion_spline(place, grid, (width, height), numbers[3]), atol=1e-8)
    assert back is not None
    np.testing.assert_allclose(back.nodes_ang, field.nodes_ang, atol=1e-9)


@pytest.mark.parametrize(("shape", "half"), [((97, 129), (86.4, 64.8)), ((96, 128), (60.0, 50.0))])
def test_any_other_field_is_followed_closely_and_kept_exactly(
    tmp_path: Path, rng: np.random.Generator, shape: tuple[int, int], half: tuple[float, float]
) -> None:
    field = smooth_field(rng, half)
    series = made_series(rng, field=field).with_changes(image_shape_px=shape)
    with pytest.warns(FormatWarning, match="exact field is kept"):
        write_tilt_series(tmp_path / "t.star", [series], tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (back,) = read_tilt_series(tmp_path / "t.star", tmp_path)
    assert_same(series, back)
    row = read_star(tmp_path / "t.star")["global"]
    grid = (int(row.integers("rlnTomoDeformationGridSizeX")[0]), int(row.integers("rlnTomoDeformationGridSizeY")[0]))
    numbers = read_star(tmp_path / "tilt_series" / "TS_1.star")["TS_1"].vectors("rlnTomoDeformationCoefficients")[2]
    places = rng.uniform(0, 95, (50, 2))
    theirs = np.array([relion_spline(place, grid, shape[::-1], numbers) for place in places]) * 1.35
    ours = field.displacement(2, (places - [shape[1] // 2, shape[0] // 2]) * 1.35)
    assert np.abs(ours - theirs).max() < 0.05 * np.abs(field.nodes_ang).max()


def test_deformations_that_relion_solved_anew_are_taken(tmp_path: Path, rng: np.random.Generator) -> None:
    pixel, (height, width) = 1.35, SHAPE
    half = (width / 2 * pixel, height / 2 * pixel)
    write_tilt_series(tmp_path / "t.star", [made_series(rng, field=smooth_field(rng, half))], tmp_path)
    other = smooth_field(rng, half)
    tables = read_star(tmp_path / "tilt_series" / "TS_1.star")
    numbers = spline_coefficients(other, SHAPE, pixel)[1]
    columns = dict(tables["TS_1"].columns) | {"rlnTomoDeformationCoefficients": tuple(map(vector_text, numbers))}
    write_star(tmp_path / "tilt_series" / "TS_1.star", [StarTable("TS_1", columns)])
    (back,) = read_tilt_series(tmp_path / "t.star", tmp_path)
    assert back.geometry is not None
    assert back.geometry.field is not None
    np.testing.assert_allclose(back.geometry.field.nodes_ang, other.nodes_ang, atol=1e-9)


def test_deformations_of_relions_own_are_approximated_aloud(rng: np.random.Generator) -> None:
    numbers = rng.normal(0, 1, (1, 8 * 4 * 3))
    with pytest.warns(FormatWarning, match="px only"):
        field = field_from_relion("spline", (4, 3), numbers, SHAPE, 2.0)
    assert field is not None
    places = rng.uniform([20, 20], [100, 70], (30, 2))
    truth = np.array([relion_spline(place, (4, 3), SHAPE[::-1], numbers[0]) for place in places])
    found = field.displacement(0, (places - [64, 48]) * 2.0) / 2.0
    assert np.sqrt(np.mean((found - truth) ** 2)) < 0.05 * np.abs(numbers).max()
    linear = np.array([[1e-2, 2e-2, -1e-2]])
    with pytest.warns(FormatWarning, match="linear"):
        field = field_from_relion("linear", (1, 1), linear, SHAPE, 2.0)
    assert field is not None
    inner = rng.uniform([20, 20], [100, 70], (30, 2))
    x, y = (inner - [64, 48]).T
    np.testing.assert_allclose(
        field.displacement(0, (inner - [64, 48]) * 2.0) / 2.0, np.c_[1e-2 * x, 2e-2 * x - 1e-2 * y], atol=3e-2
    )
    assert field_from_relion("spline", (2, 2), np.zeros((3, 32)), SHAPE, 1.0) is None
    with pytest.raises(FormatError, match="Fourier"):
        field_from_relion("Fourier", (2, 2), np.ones((3, 16)), SHAPE, 1.0)
    with pytest.raises(FormatError, match="there must be 32"):
        field_from_relion("spline", (2, 2), np.ones((3, 31)), SHAPE, 1.0)


def test_columns_of_the_ctf_without_a_defocus_are_kept_as_text(tmp_path: Path, rng: np.random.Generator) -> None:
    series = made_series(rng)
    write_tilt_series(tmp_path / "tilt_series.star", [series], tmp_path)
    table = read_star(tmp_path / "tilt_series/TS_1.star")["TS_1"]
    assert {"rlnPhaseShift", "rlnCtfFigureOfMerit"} <= set(table.columns)
    partial = {label: column for label, column in table.columns.items() if label != "rlnDefocusV"}
    write_star(tmp_path / "tilt_series/TS_1.star", [StarTable("TS_1", partial)])
    (back,) = read_tilt_series(tmp_path / "tilt_series.star", tmp_path)
    assert back.defocus is None
    for label in ("rlnDefocusU", "rlnPhaseShift", "rlnCtfFigureOfMerit"):
        assert back.other_columns[label] == table.columns[label]


# ---- real tables


@pytest.mark.parametrize(
    "table",
    [
        "Import/job001/tilt_series.star",
        "MotionCorr/job002/corrected_tilt_series.star",
        "CtfFind/job003/tilt_series_ctf.star",
        "ExcludeTiltImages/job004/selected_tilt_series.star",
        "AlignTiltSeries/job005/aligned_tilt_series.star",
        "Tomograms/job006/tomograms.star",
        "CtfRefine/job067/tomograms.star",
        "Polish/job070/tomograms.star",
    ],
)
def test_real_tilt_series(shared_data: Path, tmp_path: Path, table: str) -> None:
    root = shared_data / "relion5"
    series = read_tilt_series(root / table, root)
    assert [one.name for one in series] == ["TS_01", "TS_43"]
    for one in series:
        theirs = starfile.read(next((root / table).parent.glob(f"tilt_series/{one.name}.star")))
        assert len(one) == len(theirs)
        np.testing.assert_array_equal(one.nominal_tilt_deg, theirs["rlnTomoNominalStageTiltAngle"])
        np.testing.assert_array_equal(one.pre_exposure, theirs["rlnMicrographPreExposure"])
        assert one.movies == tuple(theirs["rlnMicrographMovieName"])
        assert one.original_pixel_size_ang == 0.675
        assert one.pixel_size_ang == (0.675 if "Import" in table else 1.35)
        assert (one.hand, one.optics.voltage_kv) == (-1, 300)
        assert (one.defocus is None) == ("rlnDefocusU" not in theirs)
        if one.defocus is not None and "rlnCtfFigureOfMerit" in theirs:
            np.testing.assert_array_equal(one.defocus.figure_of_merit, theirs["rlnCtfFigureOfMerit"])
            assert "rlnCtfFigureOfMerit" not in one.other_columns
            assert one.defocus.phase_shift_deg is None
        assert (one.geometry is None) == ("rlnTomoYTilt" not in theirs)
        if one.geometry is not None:
            np.testing.assert_array_equal(one.geometry.x_shift_ang, theirs["rlnTomoXShiftAngst"])
            assert one.geometry.magnification.tolist() == [1.0] * len(one)
    write_tilt_series(tmp_path / "t.star", series, tmp_path)
    for one, again in zip(series, read_tilt_series(tmp_path / "t.star", tmp_path), strict=True):
        assert_same(one, again)
    before = read_star(root / Path(table).parent / "tilt_series" / "TS_43.star")["TS_43"]
    after = read_star(tmp_path / "tilt_series" / "TS_43.star")["TS_43"]
    assert set(before.columns) <= set(after.columns)
    for label in before.columns:
        try:
            np.testing.assert_allclose(after.numbers(label), before.numbers(label), atol=1e-6, err_msg=label)
        except FormatError:
            assert after.text(label) == before.text(label), label


@pytest.mark.parametrize("table", ["Tomograms/job006", "CtfRefine/job067", "Polish/job070"])
def test_real_tomograms(shared_data: Path, tmp_path: Path, table: str) -> None:
    root = shared_data / "relion5"
    tomograms = read_tomograms(root / table / "tomograms.star", root)
    assert [tomogram.size_px for tomogram in tomograms] == [(4000, 4000, 2000)] * 2
    assert tomograms[0].voxel_size_ang == pytest.approx(10.0)
    assert tomograms[1].odd_volume == "Tomograms/job006/tomograms/rec_TS_43_half2.mrc"
    assert (tomograms[0].denoised is None) == (table == "Tomograms/job006")
    write_tomograms(tmp_path / "tomograms.star", tomograms, tmp_path)
    for one, again in zip(tomograms, read_tomograms(tmp_path / "tomograms.star", tmp_path), strict=True):
        assert_same(one.tilt_series, again.tilt_series)
        assert (one.size_px, one.binning, one.volume, one.even_volume, one.denoised) == (
            again.size_px,
            again.binning,
            again.volume,
            again.even_volume,
            again.denoised,
        )


def test_real_particles_lie_in_their_images(shared_data: Path) -> None:
    """Refined particles project into every tilt image that RELION found them visible in (3710 × 3838 px, K2)."""
    root = shared_data / "relion5"
    particles = read_star(root / "Refine3D" / "job074" / "run_data.star")["particles"]
    names = np.array(particles.text("rlnTomoName"))
    points = np.stack([particles.numbers(f"rlnCenteredCoordinate{axis}Angst") for axis in "XYZ"], axis=-1)
    visible = particles.vectors("rlnTomoVisibleFrames")
    for series in read_tilt_series(root / "Polish" / "job070" / "tomograms.star", root):
        assert series.geometry is not None
        mine = np.flatnonzero(names == series.name)
        q = np.moveaxis(series.geometry.project(points[mine]), 0, 1) / series.pixel_size_ang  # (particle, view, 2)
        seen = np.array([visible[index][: len(series)] for index in mine]) > 0
        assert seen.any()
        assert np.abs(q[seen]).max() < 3838 / 2
        # RELION's rows run by dose in this column, ours by tilt: how many views see a particle does not depend on that
        inside = (np.abs(q) < np.array([3710, 3838]) / 2).all(axis=-1)
        assert (inside.sum(axis=1) >= seen.sum(axis=1)).mean() > 0.99


# ---- import and export


def test_export_then_import_restores_the_alignment(tmp_path: Path, rng: np.random.Generator) -> None:
    full = made_series(rng)
    assert full.geometry is not None
    full = full.with_changes(geometry=full.geometry.with_terms(magnification=1.0), optics=Optics(), hand=-1)
    paths, notes = export_series([full], tmp_path / "out", tmp_path)
    assert paths[-1] == tmp_path / "out" / "tilt_series.star"
    assert sorted(note.text.split(": ")[1][:12] for note in notes) == ["dark-field i", "the voltage "]
    bare = full.with_changes(geometry=None, defocus=None)
    back, notes = import_series(paths[-1], bare)
    assert_same(full, back)
    assert "5 of 5 views found by their movies' names" in notes[0].text


def test_import_matches_views_and_reports_those_left_out(tmp_path: Path, rng: np.random.Generator) -> None:
    full = made_series(rng)
    assert full.geometry is not None
    full = full.with_changes(geometry=full.geometry.with_terms(magnification=1.0), hand=-1)
    export_series([full.select([4, 2, 1, 0])], tmp_path, tmp_path)
    nameless = full.with_changes(movies=None, images=None, geometry=None, defocus=None, name="other name", hand=1)
    back, notes = import_series(tmp_path / "tilt_series.star", nameless)
    assert len(back) == 4
    assert back.geometry is not None
    np.testing.assert_array_equal(back.geometry.y_tilt_deg, full.geometry.y_tilt_deg[[0, 1, 2, 4]])
    assert [note.kind for note in notes] == ["info", "dropped", "overridden"]
    assert "views 5 of other name" in notes[1].text
    assert back.hand == -1


@pytest.mark.parametrize("with_field", [False, True])
def test_magnifications_go_out_as_deformations(tmp_path: Path, rng: np.random.Generator, with_field: bool) -> None:
    half = (SHAPE[1] / 2 * 1.35, SHAPE[0] / 2 * 1.35)
    field = ImageField(rng.normal(0, 1, (5, 2, 3, 4)), half) if with_field else None
    series = made_series(rng, field=field)
    geometry = series.geometry
    assert geometry is not None
    paths, notes = export_series([series], tmp_path, tmp_path)
    assert any("were written as image deformations" in note.text for note in notes)
    tables = read_star(next(path for path in paths if path.parent.name == "tilt_series"))
    rows = next(iter(tables.values()))
    grid = tuple(int(read_star(paths[-1])["global"].integers(f"rlnTomoDeformationGridSize{axis}")[0]) for axis in "XY")
    height, width = series.image_shape_px
    # inside the images, where RELION's spline is defined
    seen = rng.uniform(0.1, 0.9, (len(series), 30, 2)) * (width, height)
    q = (seen - (width // 2, height // 2)) * series.pixel_size_ang
    points = geometry.with_terms(field=None).back_project(q, 0.0)
    plain = geometry.with_terms(field=None, magnification=1.0)
    for view, coefficients in enumerate(rows.vectors("rlnTomoDeformationCoefficients")):
        move = relion_displacement("spline", grid, coefficients, series.image_shape_px)
        theirs = plain.project(points[view])[view] / series.pixel_size_ang + (width // 2, height // 2)
        ours = geometry.project(points[view])[view] / series.pixel_size_ang + (width // 2, height // 2)
        np.testing.assert_allclose(theirs + move(theirs), ours, atol=0.06 if with_field else 1e-4)


def test_what_cannot_be_exchanged(tmp_path: Path, rng: np.random.Generator) -> None:
    series = made_series(rng)
    bare = series.with_changes(geometry=None)
    with pytest.raises(InputError, match="neither images nor movies"):
        export_series([bare.with_changes(images=None, movies=None)], tmp_path, tmp_path)
    export_series([bare], tmp_path, tmp_path)
    with pytest.raises(FormatError, match="not aligned"):
        import_series(tmp_path / "tilt_series.star", series)


def test_import_of_a_real_alignment(shared_data: Path) -> None:
    root = shared_data / "relion5"
    (raw, _) = read_tilt_series(root / "Import" / "job001" / "tilt_series.star", root)
    back, notes = import_series(root / "AlignTiltSeries" / "job005" / "aligned_tilt_series.star", raw.sorted_by_tilt())
    assert len(back) == 40  # RELION excluded the view at −60°
    assert back.geometry is not None
    np.testing.assert_allclose(back.geometry.y_tilt_deg, back.nominal_tilt_deg, atol=0.01)
    assert [note.kind for note in notes] == ["info", "dropped"]
