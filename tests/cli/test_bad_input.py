"""Bad input, through the command line: one clear line and the right exit code, or a clean continuation."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
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


def test_gain_for_tilt_images(stack, tmp_path, capsys):
    assert new(stack, tmp_path / "P", gain="g.mrc") == 2
    assert "--gain is for movies" in complaint(capsys)
