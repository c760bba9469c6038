"""A detector's transfer read from RELION's table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lamella.errors import FormatError
from lamella.formats.mtf import read_mtf

HEAD = "data_\n\nloop_\n_rlnResolutionInversePixel\n_rlnMtfValue\n"


def test_the_curve_comes_back(tmp_path: Path) -> None:
    (tmp_path / "mtf.star").write_text(HEAD + "0 1.000\n0.25 0.7\n0.5 0.3\n", encoding="utf-8")
    frequency, value = read_mtf(tmp_path / "mtf.star")
    np.testing.assert_array_equal(frequency, [0, 0.25, 0.5])
    np.testing.assert_array_equal(value, [1, 0.7, 0.3])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("data_\nloop_\n_rlnMtfValue\n1\n", "no table of"),
        (HEAD + "0 1\n0.5 0.3\n0.25 0.7\n", "does not rise"),
        (HEAD + "0 1\n0.5 -0.1\n", "not above 0"),
    ],
)
def test_tables_that_are_none(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "mtf.star").write_text(text, encoding="utf-8")
    with pytest.raises(FormatError, match=words):
        read_mtf(tmp_path / "mtf.star")
