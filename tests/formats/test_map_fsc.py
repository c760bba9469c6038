"""Shell correlations of averages: back as they were, with RELION's labels, and RELION's own tables."""

from __future__ import annotations

import numpy as np
import pytest
import starfile

from lamella.errors import FormatError, InputError
from lamella.formats.map_fsc import read_map_fsc, write_map_fsc
from lamella.records.map_fsc import MapFsc

FREQUENCY = np.arange(9) / (16 * 4.0)
CURVE = np.array([1, 0.99, 0.9, 0.6, 0.2, 0.1, 0.05, 0.2, 0.01])


def test_a_curve_comes_back(tmp_path, rng):
    further = {name: rng.random(9) for name in ("unmasked", "masked", "randomised", "terms")}
    write_map_fsc(tmp_path / "fsc.star", MapFsc(frequency_per_ang=FREQUENCY, correlation=CURVE, **further))
    back = read_map_fsc(tmp_path / "fsc.star")
    np.testing.assert_array_equal(back.correlation, CURVE)
    np.testing.assert_array_equal(back.frequency_per_ang, FREQUENCY)
    for name, values in further.items():
        np.testing.assert_array_equal(getattr(back, name), values)


def test_another_reader_sees_relions_labels(tmp_path):
    write_map_fsc(tmp_path / "fsc.star", MapFsc(frequency_per_ang=FREQUENCY, correlation=CURVE))
    tables = starfile.read(tmp_path / "fsc.star")
    table = tables["fsc"]
    assert list(table) == ["rlnSpectralIndex", "rlnResolution", "rlnAngstromResolution", "rlnFourierShellCorrelation"]
    assert table.rlnAngstromResolution[0] == 999
    np.testing.assert_allclose(table.rlnAngstromResolution[1:], 1 / FREQUENCY[1:], rtol=1e-6)
    assert tables["general"]["rlnFinalResolution"] == pytest.approx(
        1 / (FREQUENCY[4] * 0.43 + FREQUENCY[5] * 0.57), abs=1e-4
    )
    assert tables["general"]["lamellaFirstCrossingAngst"] == tables["general"]["rlnFinalResolution"]


def test_the_resolution_lies_on_the_line_between_shells():
    curve = MapFsc(frequency_per_ang=FREQUENCY, correlation=CURVE)
    frequency = FREQUENCY[4] + (0.2 - 0.143) / 0.1 * (FREQUENCY[5] - FREQUENCY[4])
    assert curve.resolution_ang() == pytest.approx(1 / frequency)
    assert curve.resolution_ang(0.005) is None


def test_a_table_of_something_else_is_refused(tmp_path):
    (tmp_path / "fsc.star").write_text("data_fsc\nloop_\n_rlnResolution\n0.1\n")
    with pytest.raises(FormatError, match="no table of a shell correlation"):
        read_map_fsc(tmp_path / "fsc.star")
    (tmp_path / "fsc.star").write_text(
        "data_fsc\nloop_\n_rlnResolution\n_rlnFourierShellCorrelation\n0.1 1\n0.05 0.5\n"
    )
    with pytest.raises(FormatError, match="does not rise"):
        read_map_fsc(tmp_path / "fsc.star")
    with pytest.raises(InputError, match="differ in length"):
        MapFsc(frequency_per_ang=FREQUENCY, correlation=CURVE[1:])


def test_relions_model_of_a_real_refinement(shared_data):
    curve = read_map_fsc(shared_data / "relion5/Refine3D/job074/run_model.star")
    assert curve.correlation[1] > 0.99
    assert curve.resolution_ang() == pytest.approx(3.55, abs=0.06)
