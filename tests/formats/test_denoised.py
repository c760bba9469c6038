"""The mark of denoised volumes."""

from __future__ import annotations

import mrcfile
import numpy as np
import pytest

from lamella.errors import InputError
from lamella.formats.denoised import DENOISED, is_denoised, refuse_denoised
from lamella.formats.mrc import MrcWriter, open_mrc, write_mrc


def test_a_marked_file_is_refused_and_an_unmarked_one_opened(tmp_path, rng):
    volume = rng.normal(size=(4, 6, 8)).astype(np.float32)
    write_mrc(tmp_path / "plain.mrc", volume, 10.0)
    with MrcWriter(tmp_path / "smooth.mrc", volume.shape, 10.0, label=DENOISED) as write:
        write(0, 0, 0, volume)
    np.testing.assert_array_equal(refuse_denoised(tmp_path / "plain.mrc").view(2), volume[2])
    assert is_denoised(open_mrc(tmp_path / "smooth.mrc"))
    with pytest.raises(InputError, match="was denoised"):
        refuse_denoised(tmp_path / "smooth.mrc")


def test_the_mark_is_a_line_that_other_programs_show(tmp_path):
    with MrcWriter(tmp_path / "a.mrc", (1, 2, 2), 1.0, label=DENOISED) as write:
        write(0, 0, 0, np.eye(2, dtype=np.float32)[None])
    with mrcfile.open(tmp_path / "a.mrc") as file:
        assert DENOISED in file.get_labels()
    assert mrcfile.validate(tmp_path / "a.mrc")
