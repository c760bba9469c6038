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

from lamella.errors import OutputError, SettingsError
from lamella.formats.mdoc_series import series_from_mdoc
from lamella.formats.mrc import read_mrc, write_mrc
from lamella.formats.relion import read_tilt_series
from lamella.geometry import euler_matrix
from lamella.simulate import RawData, SimulateSettings, build_specimen, record_series, render_volume, simulate
from lamella.simulate.matter import two_lobed_particle

SMALL = SimulateSettings(
    width=96,
    height=72,
    pixel_size=16.0,
    thickness=900.0,
    particles=6,
    vesicles=1,
    beads=2,
    tilt_range=40.0,
    tilt_step=10.0,
    series=2,
)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RawData]:
    folder = tmp_path_factory.mktemp("simulated")
    return folder, simulate(folder, SMALL)


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_same_seed_gives_the_same_bytes(small, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("LAMELLA_THREADS", "3")  # nor do threads matter
    simulate(tmp_path, SMALL)
    assert digests(tmp_path) == digests(small[0])
    assert set(digests(tmp_path)) == {
        *("raw/TS_01.mrc", "raw/TS_01.mrc.mdoc", "raw/TS_02.mrc", "raw/TS_02.mrc.mdoc"),
        *("truth/TS_01.mrc", "truth/TS_02.mrc", "truth/particles.star", "truth/settings.json"),
        *("truth/tilt_series.star", "truth/tilt_series/TS_01.star", "truth/tilt_series/TS_02.star"),
    }


def test_another_seed_gives_other_images(small, tmp_path) -> None:
    simulate(tmp_path, SMALL.model_copy(update={"seed": 2, "series": 1}))
    first, second = (read_mrc(folder / "raw" / "TS_01.mrc")[0] for folder in (small[0], tmp_path))
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.5
    assert digests(small[0])["raw/TS_01.mrc"] != digests(small[0])["raw/TS_02.mrc"]


def test_other_programs_read_the_stack_and_the_mdoc(small) -> None:
    _, files = small
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


def test_our_reader_understands_the_mdoc_without_a_warning(small) -> None:
    folder, files = small
    imported = series_from_mdoc(list(files.mdocs))
    assert [one.name for one in imported.series] == ["TS_01", "TS_02"]
    assert not [note for note in imported.notes if note.kind == "warning"]
    truth = read_tilt_series(files.tilt_series, folder)
    for one, true in zip(imported.series, truth, strict=True):
        np.testing.assert_allclose(one.nominal_tilt_deg, true.nominal_tilt_deg, atol=1e-5)
        np.testing.assert_array_equal(one.place, true.place)
        np.testing.assert_allclose(one.pre_exposure, true.pre_exposure)
        np.testing.assert_allclose(one.nominal_axis_deg, 85.0)
        assert one.pixel_size_ang == 16.0
        assert one.optics == true.optics
        assert [name[:6] for name in one.images] == [name[:6] for name in true.images]


def test_the_truth_comes_back_from_its_tables(small) -> None:
    folder, files = small
    (true, _) = read_tilt_series(files.tilt_series, folder)
    made = record_series(SMALL)
    rng = np.random.default_rng(1)
    points = rng.uniform(-500, 500, (20, 3))
    np.testing.assert_allclose(true.geometry.project(points), made.geometry.project(points), atol=1e-9)
    np.testing.assert_allclose(true.defocus.u_ang, made.defocus.u_ang)
    assert true.hand == -1
    assert SimulateSettings.model_validate(json.loads(files.settings.read_text())) == SMALL


def test_the_poses_rebuild_the_volume(small) -> None:
    """RELION's convention, applied to the table alone, puts the particles where the noise-free volume has them."""
    _, files = small
    volume, voxel = read_mrc(files.volumes[0])
    table = starfile.read(files.particles)
    own = table[table["rlnTomoName"] == "TS_01"]
    assert len(own) == 6
    assert voxel == pytest.approx(32.0)
    reference = two_lobed_particle()
    rebuilt = np.zeros_like(volume)
    for row in own.itertuples():
        turn = euler_matrix(row.rlnAngleRot, row.rlnAngleTilt, row.rlnAnglePsi)
        place = [row.rlnCenteredCoordinateXAngst, row.rlnCenteredCoordinateYAngst, row.rlnCenteredCoordinateZAngst]
        rebuilt += render_volume(reference.moved(turn, place), voxel, volume.shape)
    inside = rebuilt > 0.3
    assert np.corrcoef(volume[inside], rebuilt[inside])[0, 1] > 0.999
    expected = build_specimen(SMALL).volume(voxel, volume.shape)
    np.testing.assert_array_equal(volume, expected)


def test_without_noise_the_counts_are_real_numbers(tmp_path) -> None:
    files = simulate(tmp_path, SMALL.model_copy(update={"noise": False, "series": 1, "tilt_range": 0.0}))
    images, _ = read_mrc(files.stacks[0])
    assert images.shape[0] == 1
    assert (images != np.rint(images)).mean() > 0.9


def test_a_map_of_the_users_becomes_the_particle(tmp_path) -> None:
    model = np.zeros((20, 20, 20), np.float32)
    model[4:16, 8:12, 8:12] = 5.0
    write_mrc(tmp_path / "rod.mrc", model, 12.0)
    settings = SMALL.model_copy(update={"models": (str(tmp_path / "rod.mrc"),), "series": 1, "vesicles": 0, "beads": 0})
    specimen = build_specimen(settings)
    extent = np.ptp(specimen.models[0].places_ang, axis=0)
    assert extent[2] > 2 * extent[0]
    simulate(tmp_path, settings)
    assert (tmp_path / "raw" / "TS_01.mrc").is_file()


def test_progress_rises_to_the_end(tmp_path) -> None:
    told: list[float] = []
    settings = SMALL.model_copy(update={"tilt_range": 10.0, "series": 1, "particles": 1})
    simulate(tmp_path, settings, progress=lambda fraction, text="": told.append(fraction))
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert len(told) == 4


def test_what_cannot_be_done_leaves_no_half_stack(tmp_path) -> None:
    with pytest.raises(SettingsError, match="no room"):
        simulate(tmp_path / "full", SMALL.model_copy(update={"particles": 2000}))
    assert not (tmp_path / "full" / "raw").exists()
    (tmp_path / "raw").write_text("a file stands where the folder should be")
    with pytest.raises(OutputError):
        simulate(tmp_path, SMALL)
