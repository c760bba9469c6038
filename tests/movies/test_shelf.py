"""Spectra put aside on disk."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from lamella.errors import OutputError
from lamella.movies.shelf import Shelf
from lamella.movies.spectra import FrameSpectra
from lamella.parallel import each


def spectra(seed: int, frames: int = 3, size: float = 1.0) -> FrameSpectra:
    rng = np.random.default_rng(seed)
    shape = (12 + 2 * seed, 18)
    terms = size * (rng.normal(size=(frames, shape[0], 10)) + 1j * rng.normal(size=(frames, shape[0], 10)))
    return FrameSpectra(torch.from_numpy(terms.astype(np.complex64)), shape, (1.5, 2.0), 2.5 + seed)


@pytest.mark.parametrize("size", [1e-6, 1.0, 3e7])
def test_what_is_put_comes_back_as_16_bit_floats(size: float, tmp_path: Path) -> None:
    with Shelf(tmp_path) as shelf:
        for number in (5, 2, 9):
            shelf.put(number, spectra(number, 2 + number, size))
        for number in (9, 5, 2, 5):
            put, got = spectra(number, 2 + number, size), shelf.get(number)
            assert (got.shape, got.scale, got.pixel_size_ang, len(got)) == (
                put.shape,
                put.scale,
                2.5 + number,
                len(put),
            )
            assert got.terms.dtype == torch.complex64
            parts, expected = torch.view_as_real(got.terms), torch.view_as_real(put.terms)
            assert ((parts - expected).abs() <= 2**-11 * expected.abs() + 1e-7 * size).all()


def test_blank_frames_and_one_huge_term(tmp_path: Path) -> None:
    blank = spectra(0, size=0.0)
    peak = spectra(1, size=1e-9)
    peak.terms[0, 3, 4] = 1e4
    with Shelf(tmp_path) as shelf:
        shelf.put(0, blank)
        shelf.put(1, peak)
        assert not shelf.get(0).terms.any()
        assert torch.isfinite(torch.view_as_real(shelf.get(1).terms)).all()
        assert shelf.get(1).terms[0, 3, 4].real > 1e2


def test_from_many_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMELLA_THREADS", "8")
    with Shelf(tmp_path) as shelf:
        each(lambda number: shelf.put(number, spectra(number)), range(60))
        back = each(shelf.get, range(60))
    for number, got in enumerate(back):
        assert torch.allclose(got.terms, spectra(number).terms, atol=3e-3)


def test_the_file_has_no_name_and_goes(tmp_path: Path) -> None:
    with Shelf(tmp_path) as shelf:
        shelf.put(0, spectra(0))
        assert list(tmp_path.iterdir()) == []
        handle = shelf._file
        assert handle is not None
    assert handle.closed
    assert list(tmp_path.iterdir()) == []


def test_it_goes_after_an_error_too(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    with pytest.raises(KeyError), shelf:
        shelf.get(3)
    assert shelf._file is not None
    assert shelf._file.closed


def test_a_write_in_parts_is_carried_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_write, real_read = os.pwrite, os.preadv
    monkeypatch.setattr(os, "pwrite", lambda file, buffer, at: real_write(file, buffer[:100], at))
    monkeypatch.setattr(os, "preadv", lambda file, buffers, at: real_read(file, [buffers[0][:77]], at))
    with Shelf(tmp_path) as shelf:
        shelf.put(4, spectra(4))
        assert torch.allclose(shelf.get(4).terms, spectra(4).terms, atol=3e-3)


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with Shelf(tmp_path) as shelf, pytest.raises(OutputError, match="No space left"):
        shelf.put(0, spectra(0))


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No such file"), Shelf(tmp_path / "gone"):
        pass
