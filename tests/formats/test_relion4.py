"""RELION-4's matrices: against the geometry that they were made from, and Warp's real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lamella.errors import FormatError
from lamella.formats.mrc import open_mrc, write_mrc
from lamella.formats.relion_particles import read_particles, write_particles
from lamella.formats.relion_tomograms import read_tomograms, write_tomograms
from lamella.geometry import TiltGeometry

PIXEL, SIZE, IMAGE = 3.0, (60, 50, 40), (44, 52)
GEOMETRY = TiltGeometry.from_angles(
    [-40.0, 0.0, 35.0], [84.0, 85.0, 86.0], x_tilt_deg=2.0, x_shift_ang=[4.0, -6.0, 9.0], y_shift_ang=[1.0, 2.0, -3.0]
)


def star(folder: Path, *, mirror: bool = False, spoil=None, count: int = 3, stack: str = "ts.st:mrc") -> Path:
    """A RELION-4 project's tomograms.star: P = [R, image centre + shift − R · tomogram centre] in pixels."""
    lines = [
        "data_global\nloop_\n_rlnTomoName\n_rlnTomoTiltSeriesName\n_rlnTomoFrameCount\n_rlnTomoSizeX\n_rlnTomoSizeY",
        "_rlnTomoSizeZ\n_rlnTomoHand\n_rlnOpticsGroupName\n_rlnTomoTiltSeriesPixelSize\n_rlnVoltage",
        f"ts {stack} {count} {SIZE[0]} {SIZE[1]} {SIZE[2]} -1 g {PIXEL} 300",
        "\ndata_ts\nloop_\n_rlnTomoProjX\n_rlnTomoProjY\n_rlnTomoProjZ\n_rlnTomoProjW\n_rlnMicrographPreExposure",
    ]
    shifts = np.pad(GEOMETRY.shifts_ang() / PIXEL, ((0, 0), (0, 1)))
    middle = np.array([IMAGE[1] // 2, IMAGE[0] // 2, 0])
    for view, (turned, shift) in enumerate(zip(GEOMETRY.rotations(), shifts, strict=True)):
        matrix = np.column_stack([turned, middle + shift - turned @ (np.array(SIZE) / 2)])
        if mirror:
            matrix[2] *= -1
        if spoil is not None:
            spoil(view, matrix)
        rows = [*matrix, np.array([0, 0, 0, 1.0])]
        lines.append(" ".join("[" + ",".join(f"{value:.9f}" for value in row) + "]" for row in rows) + f" {3 * view}")
    (folder / "tomograms.star").write_text("\n".join(lines) + "\n")
    return folder / "tomograms.star"


@pytest.fixture
def stack(tmp_path) -> Path:
    write_mrc(tmp_path / "ts.st", np.ones((3, *IMAGE), np.float32), PIXEL)
    return tmp_path


@pytest.mark.parametrize("mirror", [False, True])
def test_the_geometry_is_the_one_behind_the_matrices(stack, mirror):
    (found,) = read_tomograms(star(stack, mirror=mirror), stack)
    series = found.tilt_series
    assert series.hand == (1 if mirror else -1)
    assert series.images == ("000001@ts.st", "000002@ts.st", "000003@ts.st")
    points = np.random.default_rng(1).uniform(-80, 80, (20, 3))
    np.testing.assert_allclose(series.geometry.project(points), GEOMETRY.project(points), atol=1e-5)
    np.testing.assert_allclose(series.geometry.depth_ang(points), GEOMETRY.depth_ang(points), atol=1e-5)
    write_tomograms(stack / "new/tomograms.star", [found], stack)
    (again,) = read_tomograms(stack / "new/tomograms.star", stack)
    np.testing.assert_allclose(again.tilt_series.geometry.project(points), GEOMETRY.project(points), atol=1e-5)
    np.testing.assert_array_equal(again.tilt_series.pre_exposure, [0, 3, 6])


def test_magnified_matrices_are_a_magnification(stack):
    def magnify(view, matrix):
        matrix[:3, :3] *= 1.01 if view == 0 else 0.995

    (found,) = read_tomograms(star(stack, spoil=magnify), stack)
    np.testing.assert_allclose(found.tilt_series.geometry.magnification, [1.01, 0.995, 0.995], atol=1e-6)


def test_matrices_that_are_no_projections(stack):
    def skew(view, matrix):
        matrix[1] = matrix[0] if view == 1 else matrix[1]

    def turn_over(view, matrix):
        matrix[2] *= -1 if view == 2 else 1

    with pytest.raises(FormatError, match="view 2 is no projection"):
        read_tomograms(star(stack, spoil=skew), stack)
    with pytest.raises(FormatError, match="some matrices mirror"):
        read_tomograms(star(stack, spoil=turn_over), stack)
    with pytest.raises(FormatError, match="3 matrices for 5 views"):
        read_tomograms(star(stack, count=5), stack)
    with pytest.raises(FormatError, match="tilt images that are not there"):
        read_tomograms(star(stack, stack="gone.st"), stack)
    text = star(stack).read_text()
    (stack / "tomograms.star").write_text(text.replace("[0.000000000,0.000000000,0.000000000,1.000000000]", "x", 1))
    read_tomograms(stack / "tomograms.star", stack)  # the last row says nothing
    (stack / "tomograms.star").write_text(text.replace("_rlnTomoProjW", "_rlnTomoProjV").replace("[", "[1,"))
    with pytest.raises(FormatError, match="has not four numbers"):
        read_tomograms(stack / "tomograms.star", stack)


@pytest.mark.filterwarnings("ignore::lamella.formats.warnings.FormatWarning")
def test_warps_real_particles(shared_data, tmp_path):
    folder = shared_data / "particles_real"
    name = "warptools_test_4-tomos_10-ptcls_box-32_angpix-12"
    found = read_particles(folder / f"{name}_optimisation_set.star", folder)
    assert [(one.name, len(one)) for one in found.members] == [
        (f"Unt_{number}.tomostar", 10) for number in ("083", "050", "076", "088")
    ]
    hidden = 0
    for one in found.members:
        assert one.images is not None
        assert one.visible is not None
        half = np.array(one.tomogram.size_px) * one.tilt_series.pixel_size_ang / 2
        assert (np.abs(one.positions_ang()) < half).all()  # coordinates count pixels of the pictures
        assert np.abs(one.positions_ang()).max(axis=0)[0] > half[0] / 2
        hidden += int((~one.visible).sum())
        for file, seen in zip(one.images.names, one.visible, strict=True):
            blank = np.abs(open_mrc(folder / file).read()).max(axis=(1, 2)) < 1e-3
            np.testing.assert_array_equal(blank, ~seen)
        assert one.tilt_series.hand == -1
        assert one.tilt_series.optics.voltage_kv == 300
        np.testing.assert_allclose(np.abs(one.tilt_series.geometry.y_tilt_deg).max(), 60, atol=18)
    assert hidden == 50
    write_particles(tmp_path, found, tmp_path)
    again = read_particles(tmp_path / "optimisation_set.star", tmp_path)
    np.testing.assert_allclose(again.positions_ang(), found.positions_ang(), atol=1e-9)
    np.testing.assert_array_equal(again.matrices(), found.matrices())
    for one, two in zip(again.members, found.members, strict=True):
        np.testing.assert_allclose(
            one.tilt_series.geometry.rotations(), two.tilt_series.geometry.rotations(), atol=1e-12
        )
        assert one.tilt_series.other_columns == two.tilt_series.other_columns
