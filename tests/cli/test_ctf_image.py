"""`lamella ctf --image`: what it reads, prints, draws and says of bad input; the estimate is stood in for."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

import lamella.tilts as tilts
from lamella.cli import main
from lamella.formats.eer_write import write_eer
from lamella.formats.mrc import write_mrc
from lamella.records import TiltSeries
from lamella.tilts.ctf_result import CtfResult

sys.path.insert(0, str(Path(__file__).parents[1]))
from stand_in_ctf import estimate

SIZE = 48
SAID = ["--pixel-size", "2", "--voltage", "300"]


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[tuple[TiltSeries, np.ndarray]]:
    """The estimate is the stand-in's; the records and images that it was given."""
    seen: list[tuple[TiltSeries, np.ndarray]] = []

    def stand_in(series, images, settings, **options):
        seen.append((series, images.view(0)))
        return estimate(series, images, settings, **options)

    monkeypatch.setattr(tilts, "estimate_ctf", stand_in, raising=False)
    return seen


@pytest.fixture
def frames(rng: np.random.Generator) -> np.ndarray:
    return rng.poisson(3.0, (4, SIZE, SIZE + 16)).astype(np.int16)


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = capsys.readouterr().err.splitlines()
    assert "unforeseen" not in line
    assert ";" in line, "a message says what to do next"
    return line


def test_one_image(tmp_path, given, frames, capsys):
    path = tmp_path / "image.mrc"
    write_mrc(path, frames[0].astype(np.float32), 2.0)
    words = ["ctf", "--image", str(path), "--pixel-size", "header", "--voltage", "200", "--cs", "1.4", "--json"]
    assert main([*words, "--amplitude-contrast", "0.07", "--max-defocus", "60000"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert lines[0] == "  pixel size 2 Å, from the header"
    assert lines[1].startswith("image.mrc: defocus U 32250 Å, V 31750 Å, U at 35.0°, ± 40 Å (mean), ± 30 Å")
    assert "score 0.600, fit to 7.0 Å" in lines[1]
    told = json.loads(last)
    (one,) = told["estimates"]
    assert one["defocus_u_ang"] == 32250
    assert one["section"] is None
    ((series, image),) = given
    assert (series.pixel_size_ang, series.geometry, list(series.nominal_tilt_deg)) == (2.0, None, [0.0])
    assert (series.optics.voltage_kv, series.optics.spherical_aberration_mm) == (200.0, 1.4)
    assert series.optics.amplitude_contrast == 0.07
    np.testing.assert_array_equal(image, frames[0])


def test_what_is_assumed_is_said(tmp_path, given, frames, capsys):
    write_mrc(tmp_path / "image.mrc", frames[0].astype(np.float32), 1.0)
    assert main(["ctf", "--image", str(tmp_path / "image.mrc"), "--pixel-size", "header", "--voltage", "300"]) == 0
    said = capsys.readouterr().out
    assert "1 Å, from the header, which often means that nobody set it" in said
    assert "Cs 2.7 mm, assumed" in said
    assert "amplitude contrast 0.1, assumed" in said
    assert len(given) == 1


def test_sections_of_a_stack_are_images_or_one_or_a_sum(tmp_path, given, frames, capsys):
    path = tmp_path / "stack.mrcs"
    write_mrc(path, frames.astype(np.float32), 2.0)
    words = ["ctf", "--image", str(path), *SAID]
    assert main(words) == 0
    assert "stack.mrcs, section 3: defocus" in capsys.readouterr().out
    assert [series.name for series, _ in given] == [f"stack.mrcs, section {n}" for n in (1, 2, 3, 4)]
    given.clear()
    assert main([*words, "--section", "2"]) == 0
    ((_, image),) = given
    np.testing.assert_array_equal(image, frames[1])
    given.clear()
    assert main([*words, "--sum"]) == 0
    ((series, image),) = given
    assert series.name == "stack.mrcs"
    np.testing.assert_array_equal(image, frames.sum(axis=0))
    assert "4 frames added up as they are" in capsys.readouterr().out


def test_frames_of_a_tiff_are_added_up(tmp_path, given, frames, capsys):
    path = tmp_path / "movie.tif"
    tifffile.imwrite(path, frames, photometric="minisblack")
    assert main(["ctf", "--image", str(path), *SAID]) == 0
    assert "4 frames added up as they are" in capsys.readouterr().out
    ((series, image),) = given
    assert series.image_shape_px == (SIZE, SIZE + 16)
    np.testing.assert_array_equal(image, frames.sum(axis=0)[::-1])  # row 0 of a TIFF is its top


def test_events_of_an_eer_file_are_added_up(tmp_path, given, rng, capsys):
    events = [rng.choice(SIZE * SIZE * 16, 300, replace=False) for _ in range(5)]
    write_eer(tmp_path / "movie.eer", events, (SIZE, SIZE), pixel_size_ang=1.5)
    words = ["ctf", "--image", str(tmp_path / "movie.eer"), "--pixel-size", "header", "--voltage", "300"]
    assert main(words) == 0
    assert "5 raw frames added up as they are" in capsys.readouterr().out
    ((series, image),) = given
    assert series.pixel_size_ang == pytest.approx(1.5)
    # two events of one frame in one pixel count once
    assert 0.9 * 1500 < image.sum() <= 1500


def test_a_volume_is_doubted(tmp_path, given, frames, capsys):
    write_mrc(tmp_path / "volume.mrc", frames.astype(np.float32), 2.0)
    assert main(["ctf", "--image", str(tmp_path / "volume.mrc"), *SAID]) == 0
    assert "the header says that it is a volume" in capsys.readouterr().out
    assert len(given) == 4


@pytest.mark.usefixtures("given")
def test_pictures_are_written_one_for_each_section(tmp_path, frames):
    path = tmp_path / "stack.mrcs"
    write_mrc(path, frames[:2].astype(np.float32), 2.0)
    assert main(["ctf", "--image", str(path), *SAID, "--output", str(tmp_path / "out.png")]) == 0
    assert sorted(entry.name for entry in tmp_path.glob("*.png")) == ["out_0001.png", "out_0002.png"]
    assert main(["ctf", "--image", str(path), *SAID, "--section", "1", "--output", str(tmp_path / "one.png")]) == 0
    with Image.open(tmp_path / "one.png") as picture:
        assert picture.size[0] > 1000
    assert not [entry for entry in tmp_path.iterdir() if entry.name.startswith(".")]


def test_no_estimate_is_said_and_is_exit_code_1(tmp_path, frames, capsys, monkeypatch):
    def nothing(series, images, settings, **_):
        return CtfResult(series=series, passed_on="no ring stands out of the noise")

    monkeypatch.setattr(tilts, "estimate_ctf", nothing, raising=False)
    write_mrc(tmp_path / "noise.mrc", frames[0].astype(np.float32), 2.0)
    words = ["ctf", "--image", str(tmp_path / "noise.mrc"), *SAID, "--output", str(tmp_path / "out.png"), "--json"]
    assert main(words) == 1
    *_, line, last = capsys.readouterr().out.splitlines()
    assert line == "noise.mrc: no estimate: no ring stands out of the noise"
    assert json.loads(last)["estimates"] == [{"section": None, "no_estimate": "no ring stands out of the noise"}]
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "either a PROJECT or --image"),
        (["P", "--image", "good.mrc"], "not both"),
        (["good.mrc"], "lamella ctf --image good.mrc"),
        (["P", "--voltage", "300"], "--voltage belongs to --image"),
        (["--image", "good.mrc", "--as", "x"], "--as belongs to a PROJECT"),
        (["--image", "good.mrc", *SAID, "--fix", "axis"], "--fix belongs to a PROJECT"),
        (["--image", "good.mrc", "--voltage", "300"], "--pixel-size is missing"),
        (["--image", "good.mrc", "--pixel-size", "2"], "--voltage is missing; state it in kV"),
        (["--image", "good.mrc", "--pixel-size", "wide", "--voltage", "300"], "is no number"),
        (["--image", "good.mrc", "--pixel-size", "-2", "--voltage", "300"], "--pixel-size -2"),
        (["--image", "good.mrc", "--pixel-size", "2", "--voltage", "3"], "a voltage of 3"),
        (["--image", "good.mrc", *SAID, "--amplitude-contrast", "2"], "an amplitude contrast of 2"),
        (["--image", "good.mrc", *SAID, "--amplitude-contrast", "some"], "amplitude_contrast"),
        (["--image", "good.mrc", *SAID, "--section", "2"], "section 2 of 1"),
        (["--image", "good.mrc", *SAID, "--section", "1", "--sum"], "give one of them"),
        (["--image", "good.mrc", *SAID, "--min-defocus", "90000", "--max-defocus", "20000"], "widen the range"),
        (["--image", "nan.mrc", *SAID], "nan.mrc: 3 pixels are NaN or infinite"),
        (["--image", "flat.mrc", *SAID], "flat.mrc: every pixel is 7"),
        (["--image", "none.mrc", *SAID], "none.mrc"),
        (["--image", "empty.mrc", *SAID], "the file is empty"),
    ],
)
def test_bad_use_and_bad_input_are_one_line(words, said, tmp_path, frames, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_mrc("good.mrc", frames[0].astype(np.float32), 2.0)
    write_mrc("flat.mrc", np.full((SIZE, SIZE), 7, np.float32), 2.0)
    broken = frames[0].astype(np.float32)
    broken[3, 4:7] = np.nan
    write_mrc("nan.mrc", frames[0].astype(np.float32), 2.0)
    Path("nan.mrc").write_bytes(Path("nan.mrc").read_bytes()[:1024] + broken.tobytes())
    Path("empty.mrc").touch()
    assert main(["ctf", *words]) == 2
    assert said in complaint(capsys)
