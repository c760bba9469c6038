"""`motion` from files to files: every format, every kind of loss, and what its tables say."""

from __future__ import annotations

import struct
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import starfile
import tifffile

from lamella.errors import ImageError, InputError, PostconditionError
from lamella.formats.eer_write import write_eer
from lamella.formats.images import open_images
from lamella.formats.overrides import Imported
from lamella.formats.relion_motion import read_movie_motion
from lamella.formats.star import read_star
from lamella.movies import MotionSettings
from lamella.records import LocalMotion, MovieMotion, Optics, TiltSeries
from lamella.workflow import steps
from lamella.workflow.context import Context
from lamella.workflow.digests import FileDigests
from lamella.workflow.new import create_project
from lamella.workflow.plan import line_of_jobs, plan_job, read_source, series_states
from lamella.workflow.record_name import RecordName
from lamella.workflow.reporting import make_report
from lamella.workflow.runner import run_jobs
from lamella.workflow.steps.motion import needs, problems, run
from lamella.workflow.tables import read_record

H, W, FRAMES, VIEWS = 96, 128, 4, 3
TILTS = np.array([20.0, -20.0, 0.0])  # as they were taken
Array = np.ndarray


def specimen() -> Array:
    """An F with an uneven foot: no two of its eight positions are alike. Row 0 is at the bottom."""
    picture = np.full((H, W), 3.0)
    picture[20:80, 30:38] = picture[72:80, 30:90] = picture[50:58, 30:60] = 9.0
    picture[8:14, 100:120] = 0.5
    return picture


@pytest.fixture
def counts(rng: np.random.Generator) -> Array:
    """Counts of each view's frames as the image shows them, row 0 at the bottom."""
    return rng.poisson(specimen() / gain(), (VIEWS, FRAMES, H, W)).astype(np.uint8)


def gain() -> Array:
    return (1 / (1 + 0.05 * np.random.default_rng(5).normal(size=(H, W)))).astype(np.float32)


def write_mrc_bytes(path: Path, stack: Array) -> None:
    """MRC2014 by hand: mode 6 (uint16) or 2 (float32), row 0 first."""
    mode = {"uint16": 6, "float32": 2}[stack.dtype.name]
    header = bytearray(1024)
    nz, ny, nx = stack.shape
    struct.pack_into("<10i", header, 0, nx, ny, nz, mode, 0, 0, 0, nx, ny, nz)
    struct.pack_into("<6f3i", header, 40, nx, ny, nz, 90, 90, 90, 1, 2, 3)
    header[208:216] = b"MAP \x44\x44\x00\x00"
    path.write_bytes(bytes(header) + stack.astype(stack.dtype.newbyteorder("<")).tobytes())


def as_tiff(folder: Path, view: int, frames: Array) -> Path:
    path = folder / f"m_{TILTS[view]:.1f}.tif"
    tifffile.imwrite(path, frames[:, ::-1], compression="lzw", photometric="minisblack")  # TIFF: top row first
    return path


def as_mrc(folder: Path, view: int, frames: Array) -> Path:
    path = folder / f"m_{TILTS[view]:.1f}.mrc"
    write_mrc_bytes(path, frames.astype(np.uint16))
    return path


RAW = 32  # raw EER frames to a fraction: a pixel counts at most one electron in each


def as_eer(folder: Path, view: int, frames: Array) -> Path:
    """Every count is one event somewhere in its pixel, in some of the raw frames of its fraction."""
    rng = np.random.default_rng(view)
    raw: list[Array] = []
    for frame in frames:
        assert frame.max() <= RAW
        for part in rng.permuted(np.arange(RAW)[:, None, None] < np.zeros((RAW, H, W)) + frame, axis=0):
            y, x = np.nonzero(part)
            sub_y, sub_x = rng.integers(0, 4, (2, len(y)))
            raw.append(np.sort((4 * y + sub_y) * 4 * W + 4 * x + sub_x).astype(np.int64))
    path = folder / f"m_{TILTS[view]:.1f}.eer"
    write_eer(path, raw, (H, W))
    return path


def series_of(files: list[Path], **changes: object) -> TiltSeries:
    values: dict[str, object] = {
        "name": "S",
        "pixel_size_ang": 1.5,
        "image_shape_px": (H, W),
        "nominal_tilt_deg": TILTS,
        "nominal_axis_deg": np.full(VIEWS, 85.0),
        "movies": tuple(str(path) for path in files),
        "frame_counts": np.full(VIEWS, FRAMES),
        "pre_exposure": np.array([0.0, 3.0, 6.0]),
        "optics": Optics(voltage_kv=300.0),
    }
    return TiltSeries(**(values | changes))  # type: ignore[arg-type]


def context_in(folder: Path) -> Context:
    (folder / "motion").mkdir(exist_ok=True)
    return Context(root=folder, folder=folder / "motion", series="S", device_name="cpu")


def still(**changes: object) -> MotionSettings:
    return MotionSettings(**({"model": "none", "find_defects": False} | changes))  # type: ignore[arg-type]


def stack(record: TiltSeries, root: Path, which: str = "images") -> Array:
    images = open_images(getattr(record, which), root)
    return np.stack([images.view(i) for i in range(len(images))])


def write_gain(path: Path, image: Array) -> str:
    tifffile.imwrite(path, image[::-1])
    return str(path)


def test_one_specimen_from_every_format(tmp_path: Path, counts: Array) -> None:
    """TIFF, MRC, EER and frames saved unrotated, each with its gain: one picture, none mirrored."""
    truth = (counts.sum(axis=1) * gain())[[1, 2, 0]]  # by rising tilt
    found = {}
    for name, writer in {"tiff": as_tiff, "mrc": as_mrc, "eer": as_eer}.items():
        folder = tmp_path / name
        folder.mkdir()
        series = series_of([writer(folder, view, counts[view]) for view in range(VIEWS)])
        if name == "eer":  # a .gain is read in the file's own order of rows, as the frames are
            tifffile.imwrite(folder / "camera.gain", gain())
            reference = "camera.gain"
        elif name == "mrc":
            write_mrc_bytes(folder / "gain.mrc", gain()[None])
            reference = "gain.mrc"
        else:
            reference = write_gain(folder / "gain.tif", gain())
        settings = still(gain=reference, eer_frames=RAW if name == "eer" else 0)
        record = run(series, settings, context_in(folder))
        found[name] = stack(record, folder)
    for turn in (3, 6):
        folder = tmp_path / f"turn{turn}"
        folder.mkdir()

        # what SerialEM would have turned by `turn`: quarter turns counter-clockwise, 4 = mirrored left-right before
        def unturned(image: Array, turn: int = turn) -> Array:
            back = np.rot90(image, turn & 3, axes=(-2, -1))  # clockwise as seen with row 0 at the bottom: +k in numpy
            return back[..., ::-1] if turn & 4 else back

        files = [as_tiff(folder, view, unturned(counts[view])) for view in range(VIEWS)]
        reference = write_gain(folder / "gain.tif", unturned(gain()))
        record = run(series_of(files, frame_turn=turn), still(gain=reference), context_in(folder))
        found[f"turn {turn}"] = stack(record, folder)
    for name, images in found.items():
        assert images.shape == (VIEWS, H, W), name
        np.testing.assert_allclose(images, truth, atol=2e-3, err_msg=name)


def test_the_gain_is_turned_as_the_data_say(tmp_path: Path, counts: Array) -> None:
    files = [as_tiff(tmp_path, view, counts[view]) for view in range(VIEWS)]
    reference = write_gain(tmp_path / "gain.tif", np.rot90(gain(), 1)[:, ::-1])
    context = context_in(tmp_path)
    record = run(series_of(files), still(gain=reference), context)
    np.testing.assert_allclose(stack(record, tmp_path), (counts.sum(axis=1) * gain())[[1, 2, 0]], atol=2e-3)
    assert any("gain.tif lies rotated by" in message for message in context.messages)
    assert context.quality["GainShare"] == pytest.approx(1, abs=0.2)
    wrong = context_in(tmp_path)
    run(
        series_of(files),
        still(gain=write_gain(tmp_path / "g2.tif", gain()), gain_flip="up-down", gain_rotation="0"),
        wrong,
    )
    assert any("turned wrongly" in message for message in wrong.messages)


DRIFT = np.array([[0.0, 0.0], [2.0, -1.0], [4.0, -1.0], [4.0, -4.0]])


@pytest.fixture
def estimator(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """An estimator that knows the motion of every movie."""
    seen: dict[str, object] = {"local": None, "scale": 1.0}

    def estimate_motion(sources, detector, settings, *, pixel_size_ang, **more):
        seen.update(more, count=len(sources), pixel=pixel_size_ang)
        return tuple(
            MovieMotion(
                shape_px=detector.image_shape_px,
                pixel_size_ang=pixel_size_ang,
                global_px=seen["scale"] * DRIFT[: len(source)],
                local=seen["local"],
            )
            for source in sources
        )

    module = types.ModuleType("lamella.movies.estimate")
    module.estimate_motion = estimate_motion  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lamella.movies.estimate", module)
    return seen


def moving(rng: np.random.Generator) -> list[Array]:
    """Frame f shows at p + drift what the specimen is at p."""
    frames = [np.roll(specimen(), (int(dy), int(dx)), (0, 1)) for dx, dy in DRIFT]
    return [np.stack([rng.poisson(frame).astype(np.uint8) for frame in frames]) for _ in range(VIEWS)]


def test_moving_frames_are_brought_together(
    tmp_path: Path, rng: np.random.Generator, estimator: dict[str, object]
) -> None:
    files = [as_tiff(tmp_path, view, frames) for view, frames in enumerate(moving(rng))]
    context = context_in(tmp_path)
    record = run(series_of(files), MotionSettings(dose_weighted=True, aligned_frames=True), context)
    assert estimator["count"] == VIEWS
    assert estimator["pixel"] == pytest.approx(1.5)
    inside = np.s_[:, 8:-8, 8:-8]
    images, even, odd = (stack(record, tmp_path, name)[inside] for name in ("images", "even_images", "odd_images"))
    error = images - FRAMES * specimen()[8:-8, 8:-8]
    assert error.std() == pytest.approx(np.sqrt(FRAMES * specimen()[8:-8, 8:-8].mean()), rel=0.05)
    np.testing.assert_allclose(even + odd, images, atol=1e-3)
    np.testing.assert_array_equal(record.nominal_tilt_deg, [-20, 0, 20])
    np.testing.assert_array_equal(record.place, [1, 2, 3])
    assert record.images == tuple(f"00000{i}@motion/S.mrcs" for i in (1, 2, 3))
    assert record.even_images is not None
    assert record.even_images[0] == "000001@motion/S_even.mrcs"
    assert record.metadata is not None
    assert record.metadata[0] == "motion/S/m_-20.0.star"
    assert record.movies is not None
    assert record.movies[0].endswith("m_-20.0.tif")
    assert (tmp_path / "motion/S/m_0.0_frames.mrcs").is_file()
    assert (tmp_path / "motion/S_dw.mrcs").is_file()
    assert {path.name for path in context.outputs} >= {"S.mrcs", "S_even.mrcs", "S_odd.mrcs", "S_dw.mrcs", "m_0.0.star"}
    motion = read_movie_motion(tmp_path / record.metadata[0])
    np.testing.assert_allclose(motion.global_px, DRIFT, atol=1e-6)
    table = read_star(tmp_path / record.metadata[0])["global_shift"]
    np.testing.assert_allclose(table.numbers("rlnMicrographShiftX"), -DRIFT[:, 0], atol=1e-6)
    # the way: √5 + 2 + 3 px of 1.5 Å; early is what lies below 4 e/Å² of 0.75 each, after 0, 3 and 6 e/Å²
    total = (np.sqrt(5) + 5) * 1.5
    np.testing.assert_allclose([float(x) for x in record.other_columns["rlnAccumMotionTotal"]], total, rtol=1e-5)
    early = [float(x) for x in record.other_columns["rlnAccumMotionEarly"]]
    # view at −20° was second (3 e/Å² before): frames up to 1.33; at 0° third (6): none; at 20° first: up to 5.33
    np.testing.assert_allclose(early, [0, 0, total], rtol=1e-5)
    assert context.quality["MeanMotionAngst"] == pytest.approx(total)


def test_binning_changes_the_record(tmp_path: Path, rng: np.random.Generator, estimator: dict[str, object]) -> None:
    estimator["local"] = LocalMotion(np.zeros((FRAMES, 2, 4, 4)), (H, W))
    files = [as_tiff(tmp_path, view, frames) for view, frames in enumerate(moving(rng))]
    record = run(series_of(files), MotionSettings(binning=2.0, float16=True), context_in(tmp_path))
    assert record.image_shape_px == (H // 2, W // 2)
    assert record.pixel_size_ang == pytest.approx(3.0)
    assert record.original_pixel_size_ang == pytest.approx(1.5)
    images = open_images(record.images or (), tmp_path)
    assert images.pixel_size_ang == pytest.approx(3.0)
    assert images.shape == (VIEWS, H // 2, W // 2)
    assert record.metadata is not None
    assert read_movie_motion(tmp_path / record.metadata[0]).binning == pytest.approx(2.0)


def test_too_far_a_motion_is_refused(tmp_path: Path, rng: np.random.Generator, estimator: dict[str, object]) -> None:
    files = [as_tiff(tmp_path, view, frames) for view, frames in enumerate(moving(rng))]
    with pytest.raises(PostconditionError, match="max_shift"):
        run(series_of(files), MotionSettings(max_shift=4.0), context_in(tmp_path))


def test_half_pixels_of_eer(tmp_path: Path, counts: Array) -> None:
    files = [as_eer(tmp_path, view, counts[view]) for view in range(VIEWS)]
    record = run(series_of(files), still(eer_upsampling=2), context_in(tmp_path))
    assert record.image_shape_px == (2 * H, 2 * W)
    assert record.pixel_size_ang == pytest.approx(0.75)
    assert record.metadata is not None
    assert len(read_movie_motion(tmp_path / record.metadata[0])) == 6  # 3 e/Å² in fractions of 0.5
    images = stack(record, tmp_path)
    np.testing.assert_allclose(images.sum(axis=(1, 2)), counts.sum(axis=(1, 2, 3))[[1, 2, 0]], rtol=1e-4)


def spoil_truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def spoil_size(path: Path) -> None:
    tifffile.imwrite(path, np.ones((FRAMES, H, W + 2), np.uint8), photometric="minisblack")


def spoil_count(path: Path) -> None:
    tifffile.imwrite(path, np.ones((FRAMES - 1, H, W), np.uint8), photometric="minisblack")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (Path.unlink, "no such file"),
        (spoil_truncate, "m_0.0.tif"),
        (spoil_size, "130 × 96 pixels where the others have 128 × 96"),
        (spoil_count, "3 frames, 4 when it was imported"),
        (lambda path: path.write_bytes(path.with_name("m_20.0.tif").read_bytes()[:3]), "m_0.0.tif"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, counts: Array, spoil: Callable[[Path], None], words: str) -> None:
    files = [as_tiff(tmp_path, view, counts[view]) for view in range(VIEWS)]
    spoil(tmp_path / "m_0.0.tif")
    series = series_of(files)
    with pytest.raises(InputError, match=words) as caught:
        run(series, still(), context_in(tmp_path))
    assert "the view at +0.0°" in caught.value.problem
    assert "motion.missing" in caught.value.mend
    assert words in problems(series, still(), tmp_path)[0]
    context = context_in(tmp_path)
    record = run(series, still(missing="skip"), context)
    np.testing.assert_array_equal(record.nominal_tilt_deg, [-20, 20])
    assert any("the view at +0.0° left out" in message for message in context.messages)


def test_several_files_are_named_at_once_and_duplicates_too(tmp_path: Path, counts: Array) -> None:
    files = [as_tiff(tmp_path, view, counts[view]) for view in range(VIEWS)]
    with pytest.raises(InputError, match=r"belongs to the view at \+20.0° too"):
        run(series_of([files[0], files[1], files[0]]), still(), context_in(tmp_path))
    for path in files:
        path.unlink()
    with pytest.raises(InputError, match="3 of 3 movies cannot be used"):
        run(series_of(files), still(missing="skip"), context_in(tmp_path))


def test_a_movie_of_one_frame_is_its_image(tmp_path: Path, counts: Array, estimator: dict[str, object]) -> None:
    files = [as_tiff(tmp_path, view, counts[view][: 1 if view == 2 else FRAMES]) for view in range(VIEWS)]
    context = context_in(tmp_path)
    record = run(series_of(files, frame_counts=np.array([4, 4, 1])), MotionSettings(find_defects=False), context)
    assert estimator["count"] == 2
    assert record.even_images is None
    assert any("1 of 3 movies have one frame" in message for message in context.messages)
    np.testing.assert_allclose(stack(record, tmp_path)[1], counts[2, 0], atol=1e-3)


def test_gains_that_do_not_fit(tmp_path: Path, counts: Array) -> None:
    files = [as_tiff(tmp_path, view, counts[view]) for view in range(VIEWS)]
    series = series_of(files)
    other = write_gain(tmp_path / "other.tif", np.ones((50, 60), np.float32) + np.eye(50, 60, dtype=np.float32))
    with pytest.raises(ImageError, match="60 × 50 pixels for frames of 128 × 96"):
        run(series, still(gain=other), context_in(tmp_path))
    assert "60 × 50" in problems(series, still(gain=other), tmp_path)[0]
    holes = gain()
    holes[3, 4] = np.nan
    with pytest.raises(ImageError, match="NaN"):
        run(series, still(gain=write_gain(tmp_path / "holes.tif", holes)), context_in(tmp_path))
    assert "NaN" in problems(series, still(gain=str(tmp_path / "holes.tif")), tmp_path)[0]
    assert problems(series, still(), tmp_path) == []


def test_found_defects_reach_images_and_tables(tmp_path: Path, rng: np.random.Generator) -> None:
    frames = rng.poisson(5, (VIEWS, 8, H, W)).astype(np.uint8)
    frames[:, :, 40, 50] = 200
    frames[:, :, :, 77] += 3
    files = [as_tiff(tmp_path, view, frames[view]) for view in range(VIEWS)]
    context = context_in(tmp_path)
    record = run(series_of(files, frame_counts=np.full(VIEWS, 8)), still(find_defects=True), context)
    images = stack(record, tmp_path)
    assert images[:, 40, 50].max() < 200
    assert images[:, :, 77].mean() == pytest.approx(40, rel=0.03)
    assert context.quality["HotPixels"] == 1
    assert context.quality["BadLines"] == 1
    assert record.metadata is not None
    bad = read_movie_motion(tmp_path / record.metadata[0]).bad_pixels_px
    assert bad is not None
    assert len(bad) == H + 1
    assert [50, 40] in bad.tolist()


def test_unknown_doses(tmp_path: Path, counts: Array) -> None:
    series = series_of([as_tiff(tmp_path, view, counts[view]) for view in range(VIEWS)], pre_exposure=None)
    context = context_in(tmp_path)
    record = run(series, still(dose_weighted=True), context)
    assert "rlnAccumMotionEarly" not in record.other_columns
    assert any("no dose-weighted copy" in message for message in context.messages)
    eer = tmp_path / "eer"
    eer.mkdir()
    series = series_of([as_eer(eer, view, counts[view]) for view in range(VIEWS)], pre_exposure=None)
    with pytest.raises(InputError, match="view's dose is unknown"):
        run(series, still(), context_in(eer))


def test_stacks_pass_on(tmp_path: Path) -> None:
    series = series_of([], movies=None, frame_counts=None, images=("1@a.mrc", "2@a.mrc", "3@a.mrc"))
    context = context_in(tmp_path)
    assert run(series, MotionSettings(), context) is series
    assert context.passed_on
    assert problems(series, MotionSettings(), tmp_path) == []
    assert needs(series, MotionSettings()).disk == 0


def test_needs_and_inputs(tmp_path: Path) -> None:
    series = series_of([tmp_path / f"{i}.tif" for i in range(VIEWS)])
    assert needs(series, still()).disk == 4 * H * W * VIEWS * 3
    spectra = 4 * 57 * (78 // 2) * VIEWS * FRAMES  # 2.5 Å per pixel, half of the terms, 16-bit floats
    assert needs(series, MotionSettings()).disk == pytest.approx(4 * H * W * VIEWS * 3 + spectra, rel=0.1)
    assert needs(series, still(aligned_frames=True, halves=False)).disk == 4 * H * W * VIEWS * (1 + FRAMES)
    eer = series.with_changes(movies=tuple(f"{i}.eer" for i in range(VIEWS)), frame_counts=np.full(VIEWS, 1000))
    assert needs(eer, still(aligned_frames=True, halves=False)).disk == 4 * H * W * VIEWS * (1 + 3.0 / 0.5)
    eer_frames = still(aligned_frames=True, halves=False, eer_frames=100)
    assert needs(eer, eer_frames).disk == 4 * H * W * VIEWS * (1 + 10)
    step = steps.find_step("motion")
    settings = MotionSettings(gain="g.mrc", defects="/data/d.txt")
    assert step.inputs(series, settings, tmp_path) == [tmp_path / "g.mrc", Path("/data/d.txt")]
    assert steps.find_step("align").inputs(series, settings, tmp_path) == []


def test_view_dose() -> None:
    assert series_of([], movies=None, frame_counts=None, pre_exposure=None).view_dose is None
    dose = series_of([], movies=None, frame_counts=None, pre_exposure=np.array([7.0, 0.0, 3.0])).view_dose
    np.testing.assert_allclose(dose, [3.5, 3.0, 4.0])
    lost = series_of([], movies=None, frame_counts=None, scores={"AcquisitionOrder": np.array([4.0, 1.0, 2.0])})
    np.testing.assert_allclose(lost.with_changes(pre_exposure=np.array([9.0, 0.0, 3.0])).view_dose, [3, 3, 3])


def test_a_project_runs_once_and_again_when_its_gain_changes(tmp_path: Path, counts: Array) -> None:
    files = [as_tiff(tmp_path, view, counts[view]) for view in range(VIEWS)]
    reference = write_gain(tmp_path / "gain.tif", gain())
    motion = {"model": "none", "gain": reference, "find_defects": False}
    project = create_project(tmp_path / "P", Imported((series_of(files),), ()), motion)

    def states() -> list[str]:
        job = plan_job(project, project.read_settings(), RecordName("motion"))
        return [state.state for state in series_states(project, job, read_source(project, job), FileDigests())]

    def work() -> TiltSeries:
        jobs = line_of_jobs(project, project.read_settings(), "motion", "motion")
        assert not run_jobs(project, jobs).failures
        return next(one for one in read_record(project, RecordName("motion")) if isinstance(one, TiltSeries))

    assert states() == ["to do"]
    record = work()
    assert states() == ["done"]
    assert record.metadata == tuple(f"motion/S/m_{tilt:.1f}.star" for tilt in (-20, 0, 20))
    assert record.other_columns["rlnAccumMotionTotal"] == ("0.0",) * VIEWS
    table = starfile.read(project.root / "motion/tilt_series/S.star")
    assert table["rlnTomoNominalStageTiltAngle"].tolist() == [-20, 0, 20]
    assert table["rlnMicrographName"].tolist() == [f"{n:06d}@motion/S.mrcs" for n in (1, 2, 3)]
    assert table["rlnMicrographNameEven"].tolist() == [f"{n:06d}@motion/S_even.mrcs" for n in (1, 2, 3)]
    assert table["rlnMicrographNameOdd"].tolist() == [f"{n:06d}@motion/S_odd.mrcs" for n in (1, 2, 3)]
    assert table["rlnMicrographMovieName"].tolist() == [str(files[view]) for view in (1, 2, 0)]
    blocks = starfile.read(project.root / table["rlnMicrographMetadata"][0])
    assert blocks["general"]["rlnMicrographGainName"] == reference
    assert blocks["global_shift"]["rlnMicrographFrameNumber"].tolist() == [1, 2, 3, 4]
    before = stack(record, project.root)
    write_gain(tmp_path / "gain.tif", 2 * gain())
    assert states() == ["outdated"]
    np.testing.assert_allclose(stack(work(), project.root), 2 * before, rtol=1e-4)
    as_tiff(tmp_path, 0, counts[0] + np.uint8(1))
    assert states() == ["outdated"]
    assert "Motion within views" in make_report(project).read_text()
