from __future__ import annotations

from pathlib import Path

import pytest

from lamella.errors import FormatError
from lamella.formats.located import locate


def test_the_file_of_the_series_or_the_only_one_is_taken(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("a.aln", "sub/b.aln"):
        (tmp_path / name).write_text("")
    assert locate(tmp_path / "a.aln", "x", ".aln") == (tmp_path / "a.aln", [])
    assert locate(tmp_path, "a", ".aln") == (tmp_path / "a.aln", [])
    assert locate(tmp_path, "b", ".aln", (".", "sub")) == (tmp_path / "sub/b.aln", [])
    file, notes = locate(tmp_path, "c", ".aln")
    assert file == tmp_path / "a.aln"
    assert [note.text for note in notes] == ["a.aln was taken for c"]


def test_nothing_or_several_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="not there"):
        locate(tmp_path / "gone", "a", ".xml")
    with pytest.raises(FormatError, match=r"no \.xml"):
        locate(tmp_path, "a", ".xml")
    for name in ("b.xml", "c.xml"):
        (tmp_path / name).write_text("")
    with pytest.raises(FormatError, match=r"it has b\.xml, c\.xml"):
        locate(tmp_path, "a", ".xml")
