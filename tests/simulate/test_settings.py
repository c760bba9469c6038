"""What a simulation may be told."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from lamella.simulate.settings import PRESETS, SimulateSettings


def test_the_presets_that_are_offered_exist() -> None:
    names = {"purified", "beads", "cellular", "lamella", "virions", "dual", "movies", "quick"}
    assert set(PRESETS) == names
    quick = PRESETS["quick"]
    assert (quick.image_shape_px, quick.pixel_size) == ((512, 512), 8.0)
    assert quick == SimulateSettings()
    assert quick.movies
    assert quick.axis != quick.nominal_axis
    with pytest.raises(TypeError):
        PRESETS["other"] = quick  # type: ignore[index]


def test_movies_have_the_dose_they_are_known_for() -> None:
    movies = PRESETS["movies"]
    assert movies.dose * movies.pixel_size**2 / movies.frames == pytest.approx(0.7)
    assert (movies.image_shape_px, movies.frames, movies.thickness) == ((2048, 2048), 8, 1000.0)
    assert movies.hot_columns > 0


def test_every_setting_says_what_it_is() -> None:
    for name, field in SimulateSettings.model_fields.items():
        assert field.description, name
        assert field.json_schema_extra is not None, name


@pytest.mark.parametrize(
    "changes",
    [
        {"pixel_size": 0.0},
        {"dose": -1.0},
        {"hand": 0},
        {"tilt_range": 10.0, "tilt_step": 30.0},
        {"start_tilt": 30.0},
        {"bead_diameter": 5000.0},
        {"name": "../up"},
        {"particle": 3},
        {"voltage": float("nan")},
        {"frame_format": "eer"},
        {"noise": False},
        {"scheme": "random"},
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SimulateSettings.model_validate(changes)


def test_reading_the_settings_loads_no_heavy_library() -> None:
    code = (
        "import sys; from lamella.simulate.settings import PRESETS; from lamella.simulate import SimulateSettings;"
        "print([m for m in ('torch', 'numba', 'scipy', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
