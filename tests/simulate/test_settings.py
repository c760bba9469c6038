"""What a simulation may be told."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from lamella.simulate.settings import SimulateSettings


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
        "import sys; from lamella.simulate import PRESETS, SimulateSettings;"
        "print([m for m in ('torch', 'numba', 'scipy', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
