"""Room in a temporary file."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from lamella.errors import OutputError
from lamella.tomograms.scratch import array_in_file


def test_it_is_an_array_of_zeros():
    array = array_in_file((3, 4, 5), np.complex64)
    assert array.shape == (3, 4, 5)
    assert array.dtype == np.complex64
    assert not array.any()
    array[1, 2, 3] = 5
    assert array[1, 2, 3] == 5


def test_a_full_disk_is_told_before(monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    array_in_file((250,), np.float32)
    with pytest.raises(OutputError, match="set TMPDIR"):
        array_in_file((251,), np.float32)
