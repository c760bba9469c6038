"""Bad input, through the command line: one clear line and the right exit code, or a clean continuation."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from lamella.cli import main
from lamella.formats.mrc import write_mrc

VIEWS, SIZE = 15, 96


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    rng = np.random.default_rng(3)
    blobs = rng.normal(0, 1, (SIZE, SIZE)).astype(np.float32)
    images = 500 + 20 * blobs + rng.normal(0, 5, (VIEWS, SIZE, SIZE)).astype(np.float32)
    path = tmp_path / "TS_1.mrc"
    write_mrc(path, images, 10.0)
    (tmp_path / "TS_1.rawtlt").write_text("".join(f"{angle:.1f}\n" for angle in np.linspace(-56, 56, VIEWS)))
    return path


def new(stack: Path, project: Path, **changes: str | None) -> int:
    options = {"stack": str(stack), "angles": str(stack.with_suffix(".rawtlt")), "pixel-size": "10", "tilt-axis": "85"}
    options |= {name.replace("_", "-"): value for name, value in changes.items()}
    words = [word for name, value in options.items() if value is not None for word in (f"--{name}", value)]
    return main(["new", str(project), *words])


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("lamella: warning")]
    assert len(lines) == 1, lines
    assert lines[0].startswith("lamella: ")
    assert "unforeseen" not in lines[0]
    assert ";" in lines[0], "a message says what to do next"
    return lines[0]


def test_truncated_stack(stack, tmp_path, capsys):
    with stack.open("r+b") as file:
        file.truncate(stack.stat().st_size - 1000)
    assert new(stack, tmp_path / "P") == 2
    assert "TS_1.mrc" in complaint(capsys)
    assert not (tmp_path / "P").exists()


def test_stack_truncated_after_import(stack, tmp_path, capsys):
    assert new(stack, tmp_path / "P") == 0
    with stack.open("r+b") as file:
        file.truncate(stack.stat().st_size - 1000)
    capsys.readouterr()
    assert main(["check", str(tmp_path / "P")]) == 2
    assert "problem: TS_1" in capsys.readouterr().out
    assert main(["run", str(tmp_path / "P"), "--to", "clean", "--no-report"]) == 2
    assert "TS_1" in complaint(capsys)


def test_angles_one_line_short(stack, tmp_path, capsys):
    lines = stack.with_suffix(".rawtlt").read_text().splitlines()
    stack.with_suffix(".rawtlt").write_text("\n".join(lines[:-1]) + "\n")
    assert new(stack, tmp_path / "P") == 2
    assert "14 angles" in complaint(capsys)


def test_empty_file(stack, tmp_path, capsys):
    stack.write_bytes(b"")
    assert new(stack, tmp_path / "P") == 2
    complaint(capsys)


def test_stack_of_no_sections(stack, tmp_path, capsys):
    with stack.open("r+b") as file:
        file.seek(8)
        file.write((0).to_bytes(4, "little"))
    assert new(stack, tmp_path / "P") == 2
    complaint(capsys)


@pytest.mark.parametrize("content", [bytes(range(256)) * 8, b"", b"just words\n", b"[ZValue = 0]\nTiltAngle = north\n"])
def test_unreadable_mdoc(content, tmp_path, capsys):
    path = tmp_path / "TS_1.mrc.mdoc"
    path.write_bytes(content)
    assert main(["new", str(tmp_path / "P"), "--mdoc", str(path)]) == 2
    assert "TS_1" in complaint(capsys)
    assert not (tmp_path / "P").exists()


def test_mdoc_without_its_images_names_both_places(tmp_path, capsys, shared_data):
    text = (shared_data / "mdoc" / "empiar10164_TS_01.mrc.mdoc").read_bytes()
    (tmp_path / "TS_01.mrc.mdoc").write_bytes(text)
    assert main(["new", str(tmp_path / "P"), "--mdoc", str(tmp_path / "*.mdoc")]) == 2
    complaint(capsys)


@pytest.mark.parametrize("value", [None, "0", "-3", "nan", "wide"])
def test_pixel_size_missing_or_senseless(value, stack, tmp_path, capsys):
    assert new(stack, tmp_path / "P", pixel_size=value) == 2
    assert "--pixel-size" in complaint(capsys)


def test_view_of_nan(stack, tmp_path, capsys):
    from lamella.formats.mrc import read_mrc

    images, pixel = read_mrc(stack)
    images[7, 10:80] = np.nan
    data = stack.read_bytes()[:1024] + images.astype("<f4").tobytes()
    stack.write_bytes(data)
    assert pixel == pytest.approx(10.0)
    assert new(stack, tmp_path / "P") == 0
    capsys.readouterr()
    assert main(["check", str(tmp_path / "P")]) == 2
    assert "NaN" in capsys.readouterr().out
    assert main(["run", str(tmp_path / "P"), "--to", "clean", "--no-report"]) == 2
    assert "view 8" in complaint(capsys)
    # the way out that the message offers
    assert main(["run", str(tmp_path / "P"), "--to", "clean", "--no-report", "--set", "clean.exclude=8"]) == 0
    assert (tmp_path / "P/clean/excluded/TS_1.star").is_file()


def limited(limit_bytes: int):
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))


def test_full_disk_leaves_no_half_file_and_the_next_run_goes_on(stack, tmp_path, capsys):
    assert new(stack, tmp_path / "P") == 0
    words = [sys.executable, "-m", "lamella", "run", str(tmp_path / "P"), "--to", "clean", "--no-report"]
    limit = VIEWS * SIZE * SIZE * 4 // 2  # half of the cleaned stack
    full = subprocess.run(words, capture_output=True, text=True, check=False, preexec_fn=limited(limit))
    assert full.returncode == 1
    (line,) = [line for line in full.stderr.splitlines() if not line.startswith("lamella: warning")]
    assert "TS_1.mrcs" in line
    assert "make room" in line
    assert [path.name for path in (tmp_path / "P/clean").rglob("*") if path.is_file()] == []
    assert main(words[3:]) == 0
    assert (tmp_path / "P/clean/TS_1.mrcs").is_file()


def test_full_disk_while_making_the_project(stack, tmp_path):
    words = [sys.executable, "-m", "lamella", "new", str(tmp_path / "P"), "--stack", str(stack)]
    words += ["--angles", "-56,8", "--pixel-size", "10", "--tilt-axis", "85"]
    full = subprocess.run(words, capture_output=True, text=True, check=False, preexec_fn=limited(2000))
    assert full.returncode == 1
    assert len([line for line in full.stderr.splitlines() if not line.startswith("lamella: warning")]) == 1
    assert "unforeseen" not in full.stderr
    assert [path.name for path in tmp_path.iterdir() if "P" in path.name] == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_project_that_may_not_be_written_to(stack, tmp_path, capsys):
    assert new(stack, tmp_path / "P") == 0
    (tmp_path / "P").chmod(0o555)
    capsys.readouterr()
    try:
        assert main(["run", str(tmp_path / "P"), "--to", "motion", "--no-report"]) == 1
        complaint(capsys)
    finally:
        (tmp_path / "P").chmod(0o755)


def test_damaged_database_says_what_to_do(stack, tmp_path, capsys):
    assert new(stack, tmp_path / "P") == 0
    capsys.readouterr()
    for path in (tmp_path / "P").glob("lamella.db-*"):
        path.unlink()
    (tmp_path / "P/lamella.db").write_bytes(b"no database" * 1000)
    assert main(["run", str(tmp_path / "P"), "--to", "motion", "--no-report"]) == 2
    assert "move it away" in complaint(capsys)
    (tmp_path / "P/lamella.db").unlink()
    assert main(["run", str(tmp_path / "P"), "--to", "motion", "--no-report"]) == 0


def test_damaged_completion_means_not_done(stack, tmp_path, capsys):
    assert new(stack, tmp_path / "P") == 0
    run = ["run", str(tmp_path / "P"), "--to", "motion", "--no-report", "--json"]
    assert main(run) == 0
    (tmp_path / "P/motion/.done/TS_1/completion.json").write_text('{"fingerprint": ')
    capsys.readouterr()
    assert main(run) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["steps"][0]["made"] == ["TS_1"]


def test_record_that_points_out_of_the_project_is_not_followed(stack, tmp_path, capsys):
    assert new(stack, tmp_path / "P") == 0
    capsys.readouterr()
    assert main(["clean", str(tmp_path / "P"), "--as", "../../evil"]) == 2
    complaint(capsys)
    assert main(["denoise", str(tmp_path / "P"), "--input", "../../etc/passwd"]) == 2
    complaint(capsys)


# --- movies -------------------------------------------------------------------------------------------------------

FRAMES, WIDE, HIGH = 3, 24, 16


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


def test_gain_for_tilt_images(stack, tmp_path, capsys):
    assert new(stack, tmp_path / "P", gain="g.mrc") == 2
    assert "--gain is for movies" in complaint(capsys)


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
