"""References of the camera against the frames that they belong to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lamella.errors import ImageError, InputError
from lamella.formats.mdoc_references import NamedReference
from lamella.formats.mrc import write_mrc
from lamella.formats.overrides import Imported
from lamella.records import Note, TiltSeries
from lamella.workflow.references import settle_references

NOTHING: dict[str, str | None] = {
    "gain": None,
    "gain_flip": None,
    "gain_rotation": None,
    "dark": None,
    "defects": None,
}


def imported(shape: tuple[int, int], suffix: str = ".tif", turn: int = 0, **references: NamedReference) -> Imported:
    series = TiltSeries(
        name="TS",
        pixel_size_ang=1.0,
        image_shape_px=shape,
        nominal_tilt_deg=np.array([0.0, 3.0]),
        nominal_axis_deg=np.array([85.0, 85.0]),
        movies=("a" + suffix, "b" + suffix),
        frame_counts=np.array([8, 8]),
        frame_turn=turn,
    )
    return Imported((series,), (), references)


def put_image(folder: Path, name: str, height: int, width: int) -> str:
    values = np.random.default_rng(0).normal(1, 0.1, (height, width)).astype(np.float32)
    write_mrc(folder / name, values, 1.0, stack=True)
    return str(folder / name)


def test_a_gain_belongs_to_the_frames_before_their_turn(tmp_path):
    gain = put_image(tmp_path, "g.mrc", 6, 8)
    turned = imported((8, 6), turn=1)
    settings, _ = settle_references(turned, NOTHING | {"gain": gain, "gain_rotation": "0"})
    assert settings == {"gain": gain, "gain_rotation": "0"}
    with pytest.raises(ImageError, match="8 × 6 pixels for TS's frames of 6 × 8"):
        settle_references(imported((8, 6)), NOTHING | {"gain": gain, "gain_rotation": "0"})
    settle_references(imported((8, 6)), NOTHING | {"gain": gain, "gain_rotation": "90"})


@pytest.mark.parametrize(("height", "width", "fits"), [(8, 8, True), (16, 16, True), (4, 4, True), (12, 12, False)])
def test_gains_of_eer_movies_may_be_kept_in_half_pixels(height, width, fits, tmp_path):
    gain = put_image(tmp_path, "g.mrc", height, width)
    if fits:
        settle_references(imported((8, 8), ".eer"), NOTHING | {"gain": gain})
    else:
        with pytest.raises(ImageError, match="12 × 12"):
            settle_references(imported((8, 8), ".eer"), NOTHING | {"gain": gain})
    if (height, width) != (8, 8):
        with pytest.raises(ImageError):
            settle_references(imported((8, 8)), NOTHING | {"gain": gain})


def test_paths_are_absolute_and_named_references_stand_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    named = put_image(tmp_path, "named.mrc", 8, 8)
    put_image(tmp_path, "given.mrc", 8, 8)
    note = Note(kind="assumed", where="m", text="named")
    series = imported((8, 8), gain=NamedReference(Path(named), (note,)))
    settings, notes = settle_references(series, NOTHING)
    assert settings == {"gain": named}
    assert note in notes
    settings, notes = settle_references(series, NOTHING | {"gain": "given.mrc"})
    assert settings == {"gain": str(tmp_path / "given.mrc")}
    assert note not in notes


def test_dark_and_defects_are_checked(tmp_path):
    dark = put_image(tmp_path, "d.mrc", 6, 6)
    with pytest.raises(ImageError, match="dark reference of 6 × 6"):
        settle_references(imported((8, 8)), NOTHING | {"dark": dark})
    (tmp_path / "d.txt").write_text("9 9 1 1\n")
    with pytest.raises(ImageError, match="outside frames of 8 × 8"):
        settle_references(imported((8, 8)), NOTHING | {"defects": str(tmp_path / "d.txt")})


def test_stacks_have_no_camera():
    stack = imported((8, 8)).series[0].with_changes(images=("1@s.mrc", "2@s.mrc"), movies=None, frame_counts=None)
    assert settle_references(Imported((stack,), ()), NOTHING) == ({}, ())
    with pytest.raises(InputError, match="--gain-flip is for movies"):
        settle_references(Imported((stack,), ()), NOTHING | {"gain_flip": "none"})
