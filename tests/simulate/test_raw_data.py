"""The files of a simulation: readable by others, the truth beside them, the same bytes for the same seed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import mdocfile
import mrcfile
import numpy as np
import pytest
import starfile
import tifffile

from lamella.errors import OutputError, SettingsError
from lamella.formats.mdoc_series import series_from_mdoc
from lamella.formats.movies import open_movie
from lamella.formats.mrc import read_mrc
from lamella.formats.relion import read_tilt_series
from lamella.formats.relion_motion import read_movie_motion
from lamella.geometry import euler_matrix, rotation_z
from lamella.simulate import RawData, SimulateSettings, mounted_specimen, record_series, simulate, true_motion

SMALL = SimulateSettings(
    width=96,
    height=72,
    pixel_size=16.0,
    thickness=900.0,
    particles=6,
    vesicles=0,
    beads=2,
    tilt_range=40.0,
    tilt_step=10.0,
    frames=3,
    dose=0.3,
)
STILL = SMALL.model_copy(update={"frames": 0, "series": 2, "dose": 3.0, "vesicles": 1})


def change(settings: SimulateSettings, **values) -> SimulateSettings:
    return SimulateSettings.model_validate({**settings.model_dump(), **values})


@pytest.fixture(scope="module")
def movies(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RawData]:
    folder = tmp_path_factory.mktemp("movies")
    return folder, simulate(folder, SMALL)


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RawData]:
    folder = tmp_path_factory.mktemp("still")
    return folder, simulate(folder, STILL)


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("kind", ["movies", "still"])
def test_the_same_seed_gives_the_same_bytes(kind, request, tmp_path, monkeypatch) -> None:
    folder = request.getfixturevalue(kind)[0]
    monkeypatch.setenv("LAMELLA_THREADS", "3")  # nor do threads matter
    simulate(tmp_path, SMALL if kind == "movies" else STILL)
    assert digests(tmp_path) == digests(folder)


def test_what_is_written(movies, still) -> None:
    names = set(digests(movies[0]))
    assert {"raw/TS_01.mrc.mdoc", "raw/gain.mrc", "truth/TS_01.mrc", "truth/settings.json", "truth/beads.star"} < names
    assert sum(name.startswith("raw/") and name.endswith(".tif") for name in names) == 9
    assert sum(name.startswith("truth/motion/TS_01/TS_01_00") for name in names) == 9
    assert set(digests(still[0])) == {
        *("raw/TS_01.mrc", "raw/TS_01.mrc.mdoc", "raw/TS_02.mrc", "raw/TS_02.mrc.mdoc"),
        *("truth/TS_01.mrc", "truth/TS_02.mrc", "truth/particles.star", "truth/beads.star", "truth/settings.json"),
        *("truth/tilt_series.star", "truth/tilt_series/TS_01.star", "truth/tilt_series/TS_02.star"),
    }


def test_another_seed_gives_other_images(still, tmp_path) -> None:
    simulate(tmp_path, change(STILL, seed=2, series=1))
    first, second = (read_mrc(folder / "raw" / "TS_01.mrc")[0] for folder in (still[0], tmp_path))
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.5
    assert digests(still[0])["raw/TS_01.mrc"] != digests(still[0])["raw/TS_02.mrc"]


def test_other_programs_read_the_stack_and_the_mdoc(still) -> None:
    _, files = still
    with mrcfile.open(files.stacks[0]) as mrc:
        assert mrc.data.shape == (9, 72, 96)
        assert mrc.data.dtype == np.int16
        assert mrc.voxel_size.x == pytest.approx(16.0)
        assert mrc.is_image_stack()
        data = mrc.data.astype(float)
    assert mrcfile.validate(files.stacks[0])
    table = mdocfile.read(files.mdocs[0])
    assert list(table["ZValue"]) == list(range(9))
    np.testing.assert_allclose(table["TiltAngle"], [0, 10, -10, -20, 20, 30, -30, -40, 40], atol=0.1)
    np.testing.assert_allclose(table["PriorRecordDose"], 3.0 * np.arange(9))
    np.testing.assert_allclose(table["ExposureDose"], 3.0)
    np.testing.assert_allclose(table["RotationAngle"], 175.0)  # the axis is 85: SerialEM's trap
    means = [row[2] for row in table["MinMaxMean"]]
    np.testing.assert_allclose(means, data.mean(axis=(1, 2)), rtol=1e-4)
    assert data[0].mean() > data[-1].mean()  # the first view is the least tilted


def test_tiff_frames_have_row_0_at_the_top(movies) -> None:
    """The frames as another library reads them, turned over, times the gain, show what was expected."""
    _, files = movies
    assert files.gain is not None
    gain = mrcfile.read(files.gain).squeeze()
    assert gain.shape == (72, 96)
    with tifffile.TiffFile(files.movies[0]) as file:
        assert len(file.pages) == 3
        assert file.pages.first.compression.name == "LZW"
        assert file.pages.first.dtype == np.uint8
        frames = file.asarray(key=slice(None))
    assert files.movies[0].name == "TS_01_000_-0.0.tif" or files.movies[0].name == "TS_01_000_0.0.tif"
    ours = open_movie(files.movies[0])
    np.testing.assert_array_equal(ours.frame(1), frames[1][::-1])
    mounted = mounted_specimen(SMALL)
    series = record_series(SMALL)
    first = int(np.argmin(series.place))
    beads = series.geometry.project(mounted.specimen.beads_ang)[first] / 16.0 + (48, 36)
    image = (frames[:, ::-1].astype(float) * gain).sum(axis=0)
    inside = [(x, y) for x, y in beads if 8 < x < 88 and 8 < y < 64]
    assert inside
    for x, y in inside:
        around = image[round(y) - 2 : round(y) + 3, round(x) - 2 : round(x) + 3]
        mirrored = image[::-1][round(y) - 2 : round(y) + 3, round(x) - 2 : round(x) + 3]
        assert around.mean() < 0.85 * np.median(image)
        assert mirrored.mean() > around.mean()


@pytest.mark.parametrize("kind", ["movies", "still"])
def test_our_reader_understands_the_mdoc_without_a_warning(kind, request) -> None:
    folder, files = request.getfixturevalue(kind)
    imported = series_from_mdoc(list(files.mdocs))
    assert not [note for note in imported.notes if note.kind == "warning"]
    truth = read_tilt_series(files.tilt_series, folder)
    assert [one.name for one in imported.series] == [one.name for one in truth]
    for one, true in zip(imported.series, truth, strict=True):
        check_import(one, true)
        assert one.pixel_size_ang == 16.0
        assert (one.movies is None) == (kind == "still")
        if kind == "still":
            assert [name[:6] for name in one.images] == [name[:6] for name in true.images]


def check_import(one, true) -> None:
    np.testing.assert_allclose(one.nominal_tilt_deg, true.nominal_tilt_deg, atol=1e-5)
    np.testing.assert_array_equal(one.scores["AcquisitionOrder"], true.scores["AcquisitionOrder"])
    np.testing.assert_allclose(one.pre_exposure, true.pre_exposure, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(one.nominal_axis_deg, 85.0)
    assert one.optics == true.optics
    if one.movies is not None:
        assert [Path(name).name for name in one.movies] == [Path(name).name for name in true.movies]
        assert (one.frame_counts == 3).all()


@pytest.mark.parametrize("flavour", ["serialem", "pacetomo", "tomo5"])
@pytest.mark.parametrize("scheme", ["dose-symmetric", "bidirectional", "unidirectional"])
def test_every_flavour_of_mdoc_and_every_scheme_is_understood(flavour: str, scheme: str, tmp_path) -> None:
    settings = change(
        SMALL, mdoc=flavour, scheme=scheme, dose_by_tilt="cosine", tilt_group=2, particles=0, beads=0, truth_binning=0
    )
    files = simulate(tmp_path, settings)
    assert not files.volumes
    imported = series_from_mdoc(list(files.mdocs))
    (one,) = imported.series
    (true,) = read_tilt_series(files.tilt_series, tmp_path)
    check_import(one, true)
    warnings = [note.text for note in imported.notes if note.kind == "warning"]
    assert not [text for text in warnings if "DoseRate" not in text]  # behind the ice fewer electrons arrive
    mdocfile.read(files.mdocs[0])


def test_the_truth_comes_back_from_its_tables(movies) -> None:
    folder, files = movies
    (true,) = read_tilt_series(files.tilt_series, folder)
    made = record_series(SMALL)
    rng = np.random.default_rng(1)
    points = rng.uniform(-500, 500, (20, 3))
    np.testing.assert_allclose(true.geometry.project(points), made.geometry.project(points), atol=1e-6)
    np.testing.assert_allclose(true.defocus.u_ang, made.defocus.u_ang)
    np.testing.assert_allclose(true.defocus.v_ang, made.defocus.v_ang)
    assert true.hand == -1
    assert SimulateSettings.model_validate(json.loads(files.settings.read_text())) == SMALL
    pixels = rng.uniform(0, 70, (10, 2))
    for view, motion in enumerate(true_motion(SMALL, made)):
        path = folder / true.metadata[view]
        assert path.stem == Path(true.movies[view]).stem
        found = read_movie_motion(path)
        np.testing.assert_allclose(found.displacement(pixels), motion.displacement(pixels), atol=1e-9)
        assert found.pre_exposure == pytest.approx(true.pre_exposure[view])


def test_poses_and_beads_are_in_their_tables(movies) -> None:
    _, files = movies
    specimen = mounted_specimen(SMALL).specimen
    table = starfile.read(files.particles)
    assert len(table) == len(specimen.particles_in_view()) == 6
    places = table[[f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ"]].to_numpy()
    np.testing.assert_allclose(places, specimen.particles_in_view().places_ang, atol=1e-5)
    beads = starfile.read(files.beads)
    np.testing.assert_allclose(
        beads[[f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ"]].to_numpy(), specimen.beads_ang, atol=1e-5
    )
    volume, voxel = read_mrc(files.volumes[0])
    assert voxel == pytest.approx(32.0)
    centre = np.array(volume.shape)[::-1] // 2
    for x, y, z in places:  # where a particle is, there is potential
        i, j, k = np.rint(np.array([x, y, z]) / voxel).astype(int) + centre
        assert volume[k - 1 : k + 2, j - 1 : j + 2, i - 1 : i + 2].mean() > 3 * volume.mean()


def test_two_axes_see_one_specimen(tmp_path) -> None:
    settings = change(SMALL, dual_axis=True, frames=0, tilt_step=20.0, size=96, width=0, height=0)
    files = simulate(tmp_path, settings)
    first, second = read_tilt_series(files.tilt_series, tmp_path)
    assert (first.name, second.name) == ("TS_01a", "TS_01b")
    row = starfile.read(tmp_path / "truth/mounting.star").iloc[1]
    turn = rotation_z(row["lamellaTurnZ"])
    assert row["lamellaTurnZ"] == pytest.approx(90, abs=8)
    shift = row[[f"lamellaShift{axis}Angst" for axis in "XYZ"]].to_numpy(dtype=float)
    beads = starfile.read(files.beads)
    one, two = (
        beads[beads["rlnTomoName"] == name][[f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ"]].to_numpy()
        for name in ("TS_01a", "TS_01b")
    )
    np.testing.assert_allclose(one @ turn.T + shift, two, atol=1e-5)
    particles = starfile.read(files.particles)
    poses = [
        euler_matrix(*own[["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]].to_numpy().T)
        for own in (particles[particles["rlnTomoName"] == name] for name in ("TS_01a", "TS_01b"))
    ]
    apart = np.array([[np.abs(turn @ a - b).max() for b in poses[1]] for a in poses[0]])
    assert (apart.min(axis=1) < 1e-5).sum() >= 3  # those that both fields hold


@pytest.mark.parametrize("kind", ["mrc", "eer"])
def test_other_frame_formats_show_the_same_specimen(kind: str, movies, tmp_path) -> None:
    """Sums of frames, each with its own noise, and the beads in the same places: none is mirrored."""
    settings = change(SMALL, frame_format=kind, detector="falcon4" if kind == "eer" else "k3", tilt_range=0.0)
    files = simulate(tmp_path, settings)
    assert files.gain is not None
    if kind == "eer":
        assert files.gain.suffix == ".gain"
        gain = tifffile.imread(files.gain)
        movie = open_movie(files.movies[0])
        assert movie.raw_frames % 3 == 0
    else:
        gain = mrcfile.read(files.gain).squeeze()
        movie = open_movie(files.movies[0])
    total = sum(movie.frame(place).astype(float) for place in range(len(movie)))
    assert total.shape[-2:] == (72, 96)
    image = total * gain
    beads = record_series(settings).geometry.project(mounted_specimen(settings).specimen.beads_ang)[0] / 16.0 + (48, 36)
    seen = [(x, y) for x, y in beads if 8 < x < 88 and 8 < y < 64]
    assert seen
    for x, y in seen:
        around = image[round(y) - 2 : round(y) + 3, round(x) - 2 : round(x) + 3]
        assert around.mean() < 0.85 * np.median(image)


def test_without_noise_the_counts_are_real_numbers(tmp_path) -> None:
    files = simulate(tmp_path, change(STILL, noise=False, series=1, tilt_range=0.0, vesicles=0))
    images, _ = read_mrc(files.stacks[0])
    assert images.shape[0] == 1
    assert (images != np.rint(images)).mean() > 0.9


def test_progress_rises_to_the_end(tmp_path) -> None:
    told: list[float] = []
    settings = change(SMALL, tilt_range=10.0, particles=1)
    simulate(tmp_path, settings, progress=lambda fraction, text="": told.append(fraction))
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert len(told) == 4


def test_what_cannot_be_done_leaves_no_half_stack(tmp_path) -> None:
    with pytest.raises(SettingsError):
        simulate(tmp_path / "full", change(SMALL, particles=20000))
    assert not (tmp_path / "full" / "raw").exists()
    (tmp_path / "raw").write_text("a file stands where the folder should be")
    with pytest.raises(OutputError):
        simulate(tmp_path, SMALL)
