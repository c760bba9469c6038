from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from tests.formats.defocused import a_series, assert_same_defocus, some_defocus

from lamella.formats.programs import PROGRAMS
from lamella.geometry import TiltGeometry
from lamella.records import TiltSeries


def test_the_programs_of_this_release():
    assert set(PROGRAMS) == {"imod", "aretomo", "relion5", "warp", "ctffind", "gctf"}
    assert {name for name, program in PROGRAMS.items() if program.gives == "ctf"} == {"ctffind", "gctf"}


@pytest.mark.parametrize("name", ["imod", "aretomo", "warp"])
def test_each_takes_back_what_it_gave(tmp_path, rng, name):
    tilt = np.linspace(-20, 20, 5)
    geometry = TiltGeometry.from_angles(tilt + 1, 85.0, x_shift_ang=rng.normal(0, 9, 5), y_shift_ang=3.0)
    series = TiltSeries(
        name="a",
        pixel_size_ang=2.0,
        image_shape_px=(64, 65),
        nominal_tilt_deg=tilt,
        nominal_axis_deg=np.full(5, 85.0),
        images=tuple(f"{n + 1:06d}@a.mrc" for n in range(5)),
        geometry=geometry,
    )
    paths, _ = PROGRAMS[name].export_series([series], tmp_path, tmp_path)
    assert all(path.is_file() for path in paths)
    back, _ = PROGRAMS[name].import_series(tmp_path, series.with_changes(geometry=None))
    assert back.geometry is not None
    p = rng.normal(0, 50, (10, 3))
    np.testing.assert_allclose(back.geometry.project(p), geometry.project(p), atol=2e-3)


@pytest.mark.parametrize("name", ["imod", "aretomo", "warp", "ctffind", "gctf"])
def test_each_takes_back_the_defocus_that_it_gave(tmp_path, name):
    series = a_series(defocus=some_defocus(phase=True))
    PROGRAMS[name].export_series([series], tmp_path, tmp_path)
    bare = series.with_changes(defocus=None, geometry=series.geometry if PROGRAMS[name].gives == "ctf" else None)
    back, _ = PROGRAMS[name].import_series(tmp_path, bare)
    assert_same_defocus(back.defocus, series.defocus, atol=0.1, all_columns=False)


def test_nothing_heavy_is_loaded_by_the_list():
    code = "import sys, lamella.formats.programs; print('lamella.formats.imod' in sys.modules, 'torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["False", "False"]
