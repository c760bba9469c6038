"""Bad movies and bad references of the camera, through the command line: one clear line, or a reported loss."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from lamella.cli import main
from lamella.formats.mrc import read_mrc, write_mrc
from lamella.formats.relion import read_tilt_series

FRAMES, WIDE, HIGH = 3, 24, 16


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("lamella: warning")]
    assert len(lines) == 1, lines
    assert lines[0].startswith("lamella: ")
    assert "unforeseen" not in lines[0]
    assert ";" in lines[0], "a message says what to do next"
    return lines[0]


def put_gain(path: Path, width: int = WIDE, height: int = HIGH) -> np.ndarray:
    values = np.random.default_rng(1).normal(1, 0.05, (height, width)).astype(np.float32)
    write_mrc(path, values, 1.0, stack=True)
    return values


@pytest.fixture
def movies(tmp_path: Path) -> Path:
    """An mdoc with five movies beside it, and a gain reference."""
    rng = np.random.default_rng(2)
    lines = ["PixelSpacing = 2.0", "Voltage = 300", f"ImageSize = {WIDE} {HIGH}", "[T = SerialEM: m]"]
    lines += ["[T = Tilt axis angle = 85.3, binning = 1  spot = 8  camera = 2]"]
    for number, tilt in enumerate((0, 3, -3, -6, 6)):
        write_mrc(tmp_path / f"m_{number}.mrcs", rng.poisson(3, (FRAMES, HIGH, WIDE)).astype(np.float32), 2.0)
        lines += ["", f"[ZValue = {number}]", f"TiltAngle = {tilt}", f"SubFramePath = D:\\m_{number}.mrcs"]
        lines += ["ExposureDose = 3", f"DateTime = 01-Jan-24  10:{number:02d}:00"]
    put_gain(tmp_path / "gain.mrc")
    path = tmp_path / "m.mrc.mdoc"
    path.write_text("\n".join(lines))
    return path


def new_movies(mdoc: Path, *words: str) -> int:
    return main(["new", str(mdoc.parent / "P"), "--mdoc", str(mdoc), *words])


def motion_table(mdoc: Path) -> dict[str, object]:
    return tomllib.loads((mdoc.parent / "P/lamella.toml").read_text())["motion"]


def test_references_become_settings(movies, capsys):
    folder = movies.parent
    (folder / "d.txt").write_text("3 4 1 1\n")
    words = ["--gain", str(folder / "gain.mrc"), "--gain-flip", "up-down", "--gain-rotation", "180"]
    assert new_movies(movies, *words, "--defects", str(folder / "d.txt"), "--dark", str(folder / "gain.mrc")) == 0
    table = motion_table(movies)
    assert table["gain"] == table["dark"] == str(folder / "gain.mrc")
    assert table["defects"] == str(folder / "d.txt")
    assert (table["gain_flip"], table["gain_rotation"]) == ("up-down", "180")
    assert "no gain reference" not in capsys.readouterr().out


def test_movies_without_a_gain_are_told(movies, capsys):
    assert new_movies(movies) == 0
    assert "assumed: m: no gain reference" in capsys.readouterr().out
    assert motion_table(movies)["gain"] == ""


def test_a_named_gain_is_taken_aloud_unless_another_is_given(movies, capsys):
    movies.write_text(movies.read_text().replace("ExposureDose", "GainReference = X:\\ref\\gain.mrc\nExposureDose"))
    put_gain(movies.parent / "other.mrc")
    assert new_movies(movies, "--gain", str(movies.parent / "other.mrc")) == 0
    assert "GainReference" not in capsys.readouterr().out
    (movies.parent / "P").rename(movies.parent / "Q")
    assert new_movies(movies) == 0
    assert "which GainReference names" in capsys.readouterr().out
    assert motion_table(movies)["gain"] == str(movies.parent / "gain.mrc")


def test_gain_of_another_size_names_both_sizes(movies, capsys):
    put_gain(movies.parent / "small.mrc", 12, 8)
    assert new_movies(movies, "--gain", str(movies.parent / "small.mrc")) == 2
    line = complaint(capsys)
    assert "12 × 8" in line
    assert "24 × 16" in line
    assert not (movies.parent / "P").exists()


def test_transposed_gain_is_fine_if_it_may_be_rotated(movies, capsys):
    put_gain(movies.parent / "t.mrc", HIGH, WIDE)
    assert new_movies(movies, "--gain", str(movies.parent / "t.mrc"), "--gain-rotation", "180") == 2
    assert "--gain-rotation" in complaint(capsys)
    assert new_movies(movies, "--gain", str(movies.parent / "t.mrc")) == 0


def test_nan_in_a_gain(movies, capsys):
    path = movies.parent / "gain.mrc"
    data = bytearray(path.read_bytes())
    data[1024 : 1024 + 4] = np.array([np.nan], "<f4").tobytes()
    path.write_bytes(bytes(data))
    assert new_movies(movies, "--gain", str(path)) == 2
    line = complaint(capsys)
    assert "1 pixel(s)" in line
    assert "x 0, y 0" in line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--gain", "gone.mrc"), "gone.mrc"),
        (("--gain-rotation", "45"), "gain_rotation"),
        (("--gain-flip", "sideways"), "gain_flip"),
        (("--dark", "m.mrc.mdoc"), "m.mrc.mdoc"),
        (("--defects", "m_0.mrcs"), "3 images"),
    ],
)
def test_senseless_references(words, said, movies, capsys, monkeypatch):
    monkeypatch.chdir(movies.parent)
    assert new_movies(movies, *words) == 2
    assert said in complaint(capsys)
    assert not (movies.parent / "P").exists()


def test_most_movies_absent(movies, capsys):
    for number in range(3):
        (movies.parent / f"m_{number}.mrcs").unlink()
    assert new_movies(movies) == 2
    assert "3 of 5 frame files" in complaint(capsys)
    assert not (movies.parent / "P").exists()


def test_movie_truncated_in_the_middle(movies, capsys):
    path = movies.parent / "m_3.mrcs"
    path.write_bytes(path.read_bytes()[: 1024 + 2 * HIGH * WIDE])
    assert new_movies(movies) == 2
    assert "m_3.mrcs" in complaint(capsys)


# --- after the import: the step itself --------------------------------------------------------------------------------

MANY, SIDE = 4, 96
TILTS = (0, 15, -15, -30, 30)
Array = np.ndarray


def sensor() -> Array:
    """What the pixels of a camera count of an electron; two of them nothing."""
    counted = np.clip(np.random.default_rng(1).normal(1, 0.15, (SIDE, SIDE)), 0.4, 1.6)
    counted[10, 20] = counted[70, 33] = 0
    return counted


def put_reference(path: Path, values: Array) -> None:
    write_mrc(path, values.astype(np.float32), 1.0, stack=True)


def put_tiff(path: Path, frames: Array) -> None:
    tifffile.imwrite(path, frames, compression="lzw", photometric="minisblack")


def get_tiff(path: Path) -> Array:
    return tifffile.imread(path, key=slice(None))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five movies as TIFF of a camera whose gain shows, and their mdoc."""
    folder = tmp_path_factory.mktemp("recorded")
    rng = np.random.default_rng(2)
    scene = 12 + 6 * np.kron(rng.random((SIDE // 8, SIDE // 8)), np.ones((8, 8)))
    lines = ["PixelSpacing = 4.0", "Voltage = 300", f"ImageSize = {SIDE} {SIDE}", "[T = SerialEM: m]"]
    lines += ["[T = Tilt axis angle = 85.3, binning = 1  spot = 8  camera = 2]"]
    for number, tilt in enumerate(TILTS):
        frames = rng.poisson(scene * sensor()[::-1], (MANY, SIDE, SIDE)).astype(np.uint8)  # a TIFF's top row is first
        put_tiff(folder / f"m_{number}.tif", frames)
        lines += ["", f"[ZValue = {number}]", f"TiltAngle = {tilt}", f"SubFramePath = D:\\m_{number}.tif"]
        lines += ["ExposureDose = 3", f"PriorRecordDose = {3 * number}", f"DateTime = 01-Jan-24  10:{number:02d}:00"]
    put_reference(folder / "gain.mrc", np.where(sensor() > 0, 1 / np.maximum(sensor(), 0.1), 0))
    (folder / "m.mrc.mdoc").write_text("\n".join(lines))
    return folder


@pytest.fixture
def raw(recorded: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(recorded, tmp_path / "raw"))


def begin(raw: Path, *words: str) -> Path:
    project = raw.parent / "P"
    assert main(["new", str(project), "--mdoc", str(raw / "*.mdoc"), "--gain", str(raw / "gain.mrc"), *words]) == 0
    return project


def motion(project: Path, *words: str) -> int:
    return main(["motion", str(project), "--model", "none", *words])


def results(project: Path) -> list[str]:
    return [path.name for path in (project / "motion").rglob("*") if path.is_file() and ".done" not in path.parts]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


LOSSES: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut": (cut, "ends early"),
    "absent": (Path.unlink, "no such file"),
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "rubbish": (lambda path: path.write_bytes(bytes(range(1, 200)) * 30), "no TIFF file"),
    "other size": (lambda path: put_tiff(path, get_tiff(path)[:, :50]), "96 × 50 pixels where the others have 96 × 96"),
    "short": (lambda path: put_tiff(path, get_tiff(path)[:2]), "2 frames, 4 when it was imported"),
    "copy": (lambda path: shutil.copy(path.with_name("m_0.tif"), path), "is a copy of m_0.tif, of the view at +0.0°"),
    "link": (lambda path: (path.unlink(), path.symlink_to(path.with_name("m_0.tif"))), "belongs to the view at +0.0°"),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_movie_lost_after_the_import(loss: str, raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = begin(raw)
    spoil, said = LOSSES[loss]
    spoil(raw / "m_1.tif")
    capsys.readouterr()
    assert main(["check", str(project)]) == 2
    assert said in capsys.readouterr().out
    assert motion(project) == 2
    line = complaint(capsys)
    assert said in line
    assert "the view at +15.0°" in line
    assert "set motion.missing to skip" in line
    assert results(project) == []
    assert motion(project, "--missing", "skip") == 0
    assert f"the view at +15.0° left out: {raw}" in capsys.readouterr().out
    assert main(["check", str(project)]) == 0  # the settings permit the loss now
    assert "warning: motion: m: the view at +15.0° left out" in capsys.readouterr().out
    (series,) = read_tilt_series(project / "motion/tilt_series.star", project)
    np.testing.assert_array_equal(series.nominal_tilt_deg, [-30, -15, 0, 30])
    assert read_mrc(project / "motion/m.mrcs")[0].shape == (4, SIDE, SIDE)
    # the view before the lost one keeps its own dose
    assert "_rlnMicrographDoseRate             0.75" in (project / "motion/m/m_0.star").read_text()


def test_a_movie_that_grew_is_told(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = begin(raw)
    put_tiff(raw / "m_1.tif", np.concatenate([get_tiff(raw / "m_1.tif")] * 2))
    assert motion(project) == 0
    assert "m_1.tif: 8 frames, 4 when it was imported; all were taken" in capsys.readouterr().out
    (series,) = read_tilt_series(project / "motion/tilt_series.star", project)
    assert series.frame_counts is not None
    assert series.frame_counts.tolist() == [4, 4, 4, 8, 4]


def test_a_blank_movie_is_a_blank_image_which_clean_leaves_out(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put_tiff(raw / "m_3.tif", np.zeros((MANY, SIDE, SIDE), np.uint8))
    events = np.zeros((MANY, SIDE, SIDE), np.uint8)
    events[1, 40, 40] = 3  # nothing but an X-ray, in one frame
    put_tiff(raw / "m_4.tif", events)
    project = begin(raw)
    assert main(["run", str(project), "--to", "clean", "--no-report", "--set", "motion.model=global"]) == 0
    out = capsys.readouterr().out
    assert "warning: blank movies, so their images are blank too: -30.0°" in out
    assert "clean: m: view 1 left out: blank" in out
    assert "clean: m: view 5 left out" in out


def test_one_movie_of_one_frame(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put_tiff(raw / "m_1.tif", get_tiff(raw / "m_1.tif")[:1])
    project = begin(raw)
    assert motion(project) == 0
    assert "1 of 5 movies have one frame, which is their image (+15.0°); no sums of even" in capsys.readouterr().out
    assert "m_even.mrcs" not in results(project)


def test_frames_that_the_settings_leave_none_of(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = begin(raw)
    capsys.readouterr()
    assert motion(project, "--first-frame", "9") == 2
    assert "motion.first_frame is 9, and no movie has more than 4 frames" in complaint(capsys)


def test_nan_in_a_frame(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mdoc = raw / "m.mrc.mdoc"
    mdoc.write_text(mdoc.read_text().replace(".tif", ".mrcs"))
    for path in raw.glob("m_*.tif"):
        write_mrc(path.with_suffix(".mrcs"), get_tiff(path)[:, ::-1].astype(np.float32), 4.0)
    data = bytearray((raw / "m_2.mrcs").read_bytes())
    data[-400:-396] = np.array([np.nan], "<f4").tobytes()
    (raw / "m_2.mrcs").write_bytes(bytes(data))
    project = begin(raw)
    capsys.readouterr()
    assert main(["check", str(project), "--pixels"]) == 2
    assert "m_2.mrcs: frame 4 holds NaN" in capsys.readouterr().out
    assert motion(project) == 2
    assert "NaN" in complaint(capsys)
    assert motion(project, "--missing", "skip") == 0
    assert "the view at -15.0° left out" in capsys.readouterr().out


def test_a_plain_tiff_named_eer(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mdoc = raw / "m.mrc.mdoc"
    mdoc.write_text(mdoc.read_text().replace(".tif", ".eer"))
    for path in raw.glob("m_*.tif"):
        path.rename(path.with_suffix(".eer"))
    assert main(["new", str(raw.parent / "P"), "--mdoc", str(mdoc)]) == 2
    assert "a plain TIFF file that is named .eer" in complaint(capsys)


def not_a_number(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[1024:1028] = np.array([np.nan], "<f4").tobytes()
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (not_a_number, "1 pixel(s) of the gain reference are NaN"),
        (Path.unlink, "No such file"),
        (lambda path: put_reference(path, np.ones((50, SIDE))), "a gain reference of 96 × 50 pixels for frames of"),
        (lambda path: path.write_bytes(b"words"), "gain.mrc"),
    ],
)
def test_a_gain_lost_after_the_import(
    spoil: Callable[[Path], object], said: str, raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = begin(raw)
    spoil(raw / "gain.mrc")
    capsys.readouterr()
    assert main(["check", str(project)]) == 2
    assert said in capsys.readouterr().out
    assert motion(project) == 2
    assert said in complaint(capsys)
    assert results(project) == []


@pytest.mark.parametrize(
    ("change", "words", "said"),
    [
        (lambda gain: gain, (), ""),
        (lambda gain: gain[::-1], ("--gain-flip", "none", "--gain-rotation", "0"), "seems to be turned wrongly"),
        (lambda gain: np.where(gain > 0, 1 / np.maximum(gain, 0.1), 0), (), "seems to be inverted: unturned"),
        (lambda gain: np.random.default_rng(8).normal(1, 0.1, gain.shape), (), "seems to be wrong"),
    ],
)
def test_a_gain_that_the_frames_contradict(
    change: Callable[[Array], Array], words: tuple[str, ...], said: str, raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put_reference(raw / "gain.mrc", change(read_mrc(raw / "gain.mrc")[0].reshape(SIDE, SIDE)))
    project = begin(raw, *words)
    capsys.readouterr()
    for command in (lambda: main(["check", str(project)]), lambda: motion(project)):
        assert command() == 0
        out = capsys.readouterr().out
        assert said in out
        assert ("warning" in out.replace("0 warnings", "")) == bool(said)


@pytest.mark.parametrize("name", ["dark", "defects"])
def test_references_of_another_size_after_the_import(name: str, raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = begin(raw)
    put_reference(raw / f"{name}.mrc", np.zeros((50, SIDE)))
    capsys.readouterr()
    assert motion(project, f"--{name}", str(raw / f"{name}.mrc")) == 2
    line = complaint(capsys)
    assert f"{name}.mrc" in line
    assert "96 × 50" in line
    assert main(["check", str(project)]) == 2
    assert "96 × 50" in capsys.readouterr().out


def test_changed_files_are_noticed_and_unchanged_ones_are_not_read_again(
    raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = begin(raw)

    def says(text: str) -> None:
        capsys.readouterr()
        assert motion(project) == 0
        assert text in capsys.readouterr().out

    says("m done")
    says("nothing to do")
    os.utime(raw / "m_1.tif")
    says("nothing to do")
    put_tiff(raw / "m_1.tif", get_tiff(raw / "m_1.tif")[::-1])
    says("is made again, since its input changed")
    put_reference(raw / "gain.mrc", 1.01 * read_mrc(raw / "gain.mrc")[0].reshape(SIDE, SIDE))
    says("is made again, since its input changed")
    says("nothing to do")


def test_references_given_later_are_found_from_the_working_folder(
    raw: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = begin(raw)
    shutil.copy(raw / "gain.mrc", raw / "other.mrc")
    monkeypatch.chdir(raw)
    assert motion(project, "--gain", "other.mrc") == 0
    assert motion_table(raw)["gain"] == str(raw / "other.mrc")
    words = ["run", str(project), "--to", "motion", "--no-report", "--set"]
    assert main([*words, "motion.gain=gain.mrc"]) == 0
    assert motion_table(raw)["gain"] == str(raw / "gain.mrc")
    assert main([*words, "motion.gain="]) == 0
    assert motion_table(raw)["gain"] == ""


# --- the machine fails ------------------------------------------------------------------------------------------------


def test_full_disk_while_the_images_are_written(raw: Path) -> None:
    project = begin(raw)
    words = [sys.executable, "-m", "lamella", "motion", str(project), "--model", "none"]
    limit = len(TILTS) * SIDE * SIDE * 4 // 2
    full = subprocess.run(
        words,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert full.returncode == 1
    (line,) = full.stderr.splitlines()
    assert "motion/m.mrcs" in line
    assert "make room" in line
    assert results(project) == []
    assert main(words[3:]) == 0
    assert sorted(results(project))[0] == "m.mrcs"


SLOW = """
import importlib, sys, time
room = importlib.import_module("lamella.movies.sum_series")
def slow(movies, detector, motions, take, **options):
    def late(view, sums):
        take(view, sums)
        print("one view is written", flush=True)
        time.sleep(1)
    whole(movies, detector, motions, late, **options)
whole, room.sum_series = room.sum_series, slow
from lamella.cli import main
main(sys.argv[1:])
"""


def test_killed_while_the_images_are_written(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = begin(raw)
    words = ["motion", str(project), "--model", "global", "--aligned-frames"]
    process = subprocess.Popen([sys.executable, "-c", SLOW, *words], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert any("one view is written" in line for line in process.stdout)
    time.sleep(0.2)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(30)
    assert not (project / "motion/tilt_series.star").exists()
    assert "m.mrcs" not in results(project)
    assert main(words) == 0
    assert "m done" in capsys.readouterr().out
    assert [path for path in project.rglob("*") if "lamella-part" in path.name] == []
    assert main(words) == 0
    assert "nothing to do" in capsys.readouterr().out


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_project_that_may_not_be_written_to(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = begin(raw)
    project.chmod(0o555)
    capsys.readouterr()
    try:
        assert motion(project) == 1
        complaint(capsys)
    finally:
        project.chmod(0o755)
