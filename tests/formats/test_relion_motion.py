"""Motion of a movie as RELION states it: against its formula written out, its own files, and the program itself."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, map_coordinates

from lamella.errors import FormatError, InputError
from lamella.formats.mrc import write_mrc
from lamella.formats.relion_motion import polynomial_of, polynomial_shift, read_movie_motion, write_movie_motion
from lamella.formats.star import read_star
from lamella.records import LocalMotion, MovieMotion

SHAPE = (96, 128)


def relion_shift(c, z, x, y):
    """RELION's third-order polynomial of one axis, term by term."""
    return (
        (c[0] * z + c[1] * z**2 + c[2] * z**3)
        + (c[3] * z + c[4] * z**2 + c[5] * z**3) * x
        + (c[6] * z + c[7] * z**2 + c[8] * z**3) * x**2
        + (c[9] * z + c[10] * z**2 + c[11] * z**3) * y
        + (c[12] * z + c[13] * z**2 + c[14] * z**3) * y**2
        + (c[15] * z + c[16] * z**2 + c[17] * z**3) * x * y
    )


def motion_of(rng, frames=7, **changes):
    moved = rng.normal(0, 3, (frames, 2))
    moved[0] = 0
    values = {
        "shape_px": SHAPE,
        "pixel_size_ang": 0.675,
        "global_px": moved,
        "global_error_px": rng.uniform(0.1, 0.3, (frames, 2)),
        "local": LocalMotion(rng.normal(0, 1, (frames, 2, 5, 6)), SHAPE),
        "binning": 1.7,
        "first_frame": 3,
        "pre_exposure": 12.5,
        "dose_per_frame": 0.55,
        "bad_pixels_px": np.array([[3, 4], [100, 90]]),
    }
    return MovieMotion(**values | changes)


def assert_same(first: MovieMotion, second: MovieMotion) -> None:
    for name in ("shape_px", "pixel_size_ang", "binning", "first_frame", "pre_exposure", "dose_per_frame"):
        assert getattr(first, name) == getattr(second, name), name
    for name in ("global_px", "global_error_px", "bad_pixels_px"):
        if getattr(first, name) is None:
            assert getattr(second, name) is None, name
        else:
            np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert (first.local is None) == (second.local is None)
    if first.local is not None and second.local is not None:
        np.testing.assert_array_equal(first.local.coefficients_px, second.local.coefficients_px)
        assert first.local.shape_px == second.local.shape_px


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"local": None},
        {"global_error_px": None, "bad_pixels_px": None, "pre_exposure": None, "dose_per_frame": None},
        {"bad_pixels_px": np.zeros((0, 2), np.int64), "first_frame": 1, "binning": 1.0},
    ],
)
def test_a_record_comes_back_exactly(changes, rng, tmp_path):
    motion = motion_of(rng, **changes)
    write_movie_motion(tmp_path / "m.star", motion, movie_name="frames/a b_1.tif", frames=12, voltage_kv=300)
    assert_same(motion, read_movie_motion(tmp_path / "m.star"))


@given(frames=st.integers(1, 9), grid=st.tuples(st.integers(1, 5), st.integers(1, 5)), seed=st.integers(0, 99))
def test_any_grid_and_any_number_of_frames_come_back(tmp_path_factory, frames, grid, seed):
    rng = np.random.default_rng(seed)
    motion = motion_of(rng, frames, local=LocalMotion(rng.normal(0, 1, (frames, 2, *grid)), SHAPE))
    path = tmp_path_factory.mktemp("any") / "m.star"
    write_movie_motion(path, motion, movie_name="m.mrc", frames=frames + 2)
    assert_same(motion, read_movie_motion(path))
    assert np.isfinite(polynomial_of(motion.local)).all()


def test_columns_are_relions(rng, tmp_path):
    motion = motion_of(rng)
    write_movie_motion(
        tmp_path / "m.star",
        motion,
        movie_name="m.eer",
        frames=12,
        voltage_kv=300,
        gain_name="g.gain",
        eer=(1, 20),
    )
    tables = read_star(tmp_path / "m.star")
    general = tables["general"]
    assert general.is_list
    said = {label: column[0] for label, column in general.columns.items()}
    assert (said["rlnImageSizeX"], said["rlnImageSizeY"]) == ("128", "96")
    assert said["rlnImageSizeZ"] == "12"
    assert said["rlnMicrographStartFrame"] == "3"
    assert said["rlnMotionModelVersion"] == "1"
    assert said["rlnMicrographGainName"] == "g.gain"
    assert (said["rlnEERUpsampling"], said["rlnEERGrouping"]) == ("1", "20")
    shifts = tables["global_shift"]
    np.testing.assert_array_equal(shifts.integers("rlnMicrographFrameNumber"), np.arange(1, 13))
    shift_x = shifts.numbers("rlnMicrographShiftX")
    np.testing.assert_array_equal(shift_x[2:9], 0 - motion.global_px[:, 0])  # the correction: minus the motion
    np.testing.assert_array_equal(shift_x[[0, 1, 9, 10, 11]], -9999)  # frames left out
    assert len(tables["local_motion_model"]) == 36
    np.testing.assert_array_equal(tables["hot_pixels"].integers("rlnCoordinateX"), [3, 100])


def test_a_polynomial_is_stated_exactly(rng, tmp_path):
    coefficients = rng.normal(0, 1, (2, 18)) * np.tile([0.1, 0.02, 0.003], 6)
    frames, (height, width) = 6, SHAPE
    nodes = 4
    x, y = np.meshgrid(np.linspace(0, width - 1, 9), np.linspace(0, height - 1, 9))
    # a cubic spline of 4 × 4 coefficients through RELION's own formula
    wanted = np.stack(
        [[-relion_shift(c, z, x / width - 0.5, y / height - 0.5) for c in coefficients] for z in range(frames)]
    )
    unit = LocalMotion(np.eye(nodes**2).reshape(-1, 1, nodes, nodes).repeat(2, axis=1), SHAPE)
    basis = unit.displacement(np.stack([x, y], -1).reshape(-1, 2))[:, :, 0]  # (coefficient, place)
    solved = np.linalg.lstsq(basis.T, wanted.reshape(frames * 2, -1).T, rcond=None)[0].T
    local = LocalMotion(solved.reshape(frames, 2, nodes, nodes), SHAPE)
    np.testing.assert_allclose(polynomial_of(local), coefficients, atol=1e-8)
    places = np.array([[0.1, -0.3], [-0.5, 0.4]])
    expected = [[[relion_shift(c, z, *place) for c in coefficients] for place in places] for z in range(frames)]
    np.testing.assert_allclose(polynomial_shift(coefficients, np.arange(frames), places), expected)


def test_relions_own_table_without_a_local_model(shared_data):
    motion = read_movie_motion(shared_data / "relion5/MotionCorr/job002/frames/TS_01_000_0_0.star")
    assert len(motion) == 8
    assert motion.shape_px == (7676, 7420)
    assert motion.local is None
    np.testing.assert_allclose(motion.global_px[:2], [[0, 0], [0.55116, -0.315925]])
    assert motion.binning == 2
    assert motion.pixel_size_ang == 0.675
    assert motion.dose_per_frame == 1
    assert len(motion.bad_pixels_px) > 1000


def test_relions_polynomial_is_read_in_pixels_of_the_movie(tmp_path, rng):
    coefficients = rng.normal(0, 0.1, (2, 18))
    rows = "".join(f"{number:12d} {value:.12e}\n" for number, value in enumerate(coefficients.reshape(-1)))
    text = (
        "\ndata_general\n\n_rlnImageSizeX 128\n_rlnImageSizeY 96\n_rlnImageSizeZ 4\n_rlnMicrographMovieName a.mrc\n"
        "_rlnMicrographBinning 2.0\n_rlnMicrographOriginalPixelSize 0.7\n_rlnMicrographPreExposure -1\n"
        "_rlnMotionModelVersion 1\n\n\ndata_global_shift\n\nloop_\n_rlnMicrographFrameNumber #1\n"
        "_rlnMicrographShiftX #2\n_rlnMicrographShiftY #3\n 1 -9999 -9999\n 2 0 0\n 3 1 2\n 4 2 -1\n\n\n"
        f"data_local_motion_model\n\nloop_\n_rlnMotionModelCoeffsIdx #1\n_rlnMotionModelCoeff #2\n{rows}\n"
    )
    (tmp_path / "m.star").write_text(text)
    motion = read_movie_motion(tmp_path / "m.star")
    assert motion.first_frame == 2
    assert motion.pre_exposure is None
    places = np.array([[0.0, 0.0], [127, 95], [64, 48], [10, 90]])
    for frame, shift in enumerate([(0, 0), (1, 2), (2, -1)]):
        for place, got in zip(places, motion.displacement(places)[frame], strict=True):
            x, y = place[0] / 128 - 0.5, place[1] / 96 - 0.5
            binned = [relion_shift(c, frame, x, y) for c in coefficients]
            np.testing.assert_allclose(got, -np.array(shift) - 2 * np.array(binned), atol=1e-9)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("data_global_shift", "data_other", "global_shift"),
        ("_rlnImageSizeX", "_rlnImageSizeW", "rlnImageSizeX"),
        (r"lamellaMotionGridX\s+6", "lamellaMotionGridX 5", "does not hold"),
        (r"rlnMicrographBinning\s+1.7", "rlnMicrographBinning wide", "rlnMicrographBinning is 'wide'"),
        ("data_general", "data_common", "general"),
    ],
)
def test_damaged_tables_are_refused_in_words(old, new, words, rng, tmp_path):
    path = tmp_path / "m.star"
    write_movie_motion(path, motion_of(rng), movie_name="m.mrc", frames=9)
    text, times = re.subn(old, new, path.read_text())
    assert times == 1
    path.write_text(text)
    with pytest.raises(FormatError, match=words):
        read_movie_motion(path)


def test_more_frames_than_the_movie_has(rng, tmp_path):
    with pytest.raises(InputError, match="3 to 9 of 8"):
        write_movie_motion(tmp_path / "m.star", motion_of(rng), movie_name="m.mrc", frames=8)


GLOBAL_X = np.array([0, 1.5, 2.6, 3.3, 3.9, 4.2])


def true_motion(x_px, y_px, size):
    """(frames, 2, ...) px: global drift, and a local motion linear in time."""
    u, v = x_px / size - 0.5, y_px / size - 0.5
    drift = [np.array([gx, -0.6 * gx]) for gx in GLOBAL_X]
    return np.stack(
        [[gx + f * (0.8 * u + 0.5 * v * v), gy + f * (-0.5 * u + 0.9 * u * v)] for f, (gx, gy) in enumerate(drift)]
    )


@pytest.mark.program("relion_run_motioncorr")
@pytest.mark.parametrize("binning", [1, 2])
def test_sign_and_scale_are_those_of_the_program(binning, tmp_path):
    """A movie of known motion: what relion_run_motioncorr 3.1 writes of it reads as that motion."""
    size, margin = 1024, 60
    rng = np.random.default_rng(1)
    field = gaussian_filter(rng.normal(0, 1, (size + 2 * margin,) * 2).astype(np.float32), 1.2)
    field /= field.std()
    y, x = np.mgrid[:size, :size].astype(np.float32)
    frames = []
    for moved in true_motion(x, y, size):
        # frame f shows at p + d what the sum shows at p
        frame = map_coordinates(field, [y + margin - moved[1], x + margin - moved[0]], order=1)
        frames.append(rng.poisson(np.clip(20 * (1 + 0.35 * frame), 0.1, None)))
    write_mrc(tmp_path / "mov.mrcs", np.stack(frames).astype(np.float32), 1.0, stack=True)
    optics = "opticsGroup1 1 1.0 300 2.7 0.1"
    labels = "rlnOpticsGroupName rlnOpticsGroup rlnMicrographOriginalPixelSize rlnVoltage rlnSphericalAberration"
    columns = "".join(f"_{label}\n" for label in [*labels.split(), "rlnAmplitudeContrast"])
    (tmp_path / "in.star").write_text(
        f"\n# version 30001\n\ndata_optics\n\nloop_\n{columns}{optics}\n\n\n# version 30001\n\ndata_movies\n\nloop_\n"
        "_rlnMicrographMovieName\n_rlnOpticsGroup\nmov.mrcs 1\n\n"
    )
    program = shutil.which("relion_run_motioncorr")
    assert program is not None
    words = [program, "--i", "in.star", "--o", "out/", "--use_own", "--j", "1", "--patch_x", "5", "--patch_y", "5"]
    words += ["--bin_factor", str(binning), "--bfactor", "150", "--dose_per_frame", "1", "--preexposure", "0"]
    subprocess.run(words, cwd=tmp_path, check=True, capture_output=True, timeout=150)
    motion = read_movie_motion(Path(tmp_path / "out/mov.star"))
    assert motion.local is not None
    assert motion.binning == binning
    places = np.stack(np.meshgrid(np.linspace(100, 924, 7), np.linspace(100, 924, 7)), -1)
    truth = np.moveaxis(true_motion(places[..., 0], places[..., 1], size), 1, -1)
    error = motion.displacement(places) - truth
    error -= error.mean(axis=0)  # the frame that the sum stands on is the program's choice
    assert np.sqrt((error**2).mean()) < 0.05  # px; the motion is 5 px globally, 3 px from edge to edge locally
    local = motion.local.displacement(places)
    wanted = truth - truth.mean(axis=(1, 2), keepdims=True)
    seen = local - local.mean(axis=(1, 2), keepdims=True)
    slope = (wanted * seen).sum() / (wanted**2).sum()
    assert 0.85 < slope < 1.1
