"""STAR tables against the starfile package and RELION itself."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import starfile
from hypothesis import given
from hypothesis import strategies as st

from lamella.errors import FormatError
from lamella.formats.star import StarTable, number_text, read_star, vector_text, write_star


def read_text(tmp_path: Path, text: str) -> dict[str, StarTable]:
    (tmp_path / "a.star").write_text(text)
    return read_star(tmp_path / "a.star")


def test_both_writers_and_both_layouts_of_one_row(tmp_path: Path) -> None:
    tables = read_text(
        tmp_path,
        "\n# version 50001\n\ndata_padded\n\nloop_ \n_rlnTomoName #1 \n_rlnVoltage #2 \n     TS_01   300.000000 \n"
        "     TS_02   200.000000 \n \n\ndata_tabs\n\nloop_\n_rlnTomoName #1\n_rlnVoltage #2\nTS_01\t300.0\n\n"
        "data_pairs\n\n_rlnTomoName      TS_01\n_rlnVoltage   300.0\n \ndata_empty\n",
    )
    assert list(tables) == ["padded", "tabs", "pairs"]
    assert tables["padded"].text("rlnTomoName") == ("TS_01", "TS_02")
    np.testing.assert_array_equal(tables["padded"].numbers("rlnVoltage"), [300, 200])
    assert tables["tabs"].columns == tables["pairs"].columns
    assert tables["pairs"].is_list
    assert not tables["tabs"].is_list
    assert "rlnVoltage" in tables["tabs"]


def test_files_without_a_block_name_or_a_block(tmp_path: Path) -> None:
    row = {"rlnTomoParticlesFile": ("a/b.star",)}
    assert read_text(tmp_path, "\ndata_\n\n_rlnTomoParticlesFile   a/b.star\n")[""].columns == row
    assert read_text(tmp_path, "loop_\n_rlnTomoParticlesFile #1\na/b.star\n")[""].columns == row


def test_windows_line_ends_and_comments(tmp_path: Path) -> None:
    tables = read_text(tmp_path, "# x\r\ndata_a\r\nloop_\r\n_rlnA #1\r\n_rlnB #2\r\n1 [1,2]\r\n# y\r\n2 [3]\r\n")
    assert tables["a"].text("rlnA") == ("1", "2")
    assert [list(vector) for vector in tables["a"].vectors("rlnB")] == [[1, 2], [3]]


def test_values_that_cif_would_take_for_keywords(tmp_path: Path) -> None:
    tables = read_text(
        tmp_path,
        "data_x\nloop_\n_rlnA #1\n_rlnB #2\n_rlnC #3\ndata_2024/a.mrc 1 $HOME\nsave_1/b.mrc 2 data_2024/a.mrc\n"
        "  loop_3/c.mrc 3 'data_ d'\n",
    )
    assert tables["x"].text("rlnA") == ("data_2024/a.mrc", "save_1/b.mrc", "loop_3/c.mrc")
    assert tables["x"].text("rlnC") == ("$HOME", "data_2024/a.mrc", "data_ d")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("data_a\nloop_\n_rlnA #1\n_rlnB #2\n1 2 3\n", "no STAR file"),
        ("data_a\nloop_\n_rlnA #1\n1\n\nloop_\n_rlnB #1\n2\n", "two tables"),
        ("data_a\n_rlnA 1\nloop_\n_rlnB #1\n2\n", "two tables"),
        ("data_a\nloop_\n_rlnA #1\n1\ndata_a\nloop_\n_rlnA #1\n1\n", "no STAR file"),
        ("data_a\n_rlnA 'open\n", "no STAR file"),
        ("just text", "no STAR file"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(FormatError, match=words) as caught:
        read_text(tmp_path, text)
    assert str(tmp_path) in caught.value.problem
    assert "\n" not in str(caught.value)


def test_values_of_the_wrong_kind_name_their_row(tmp_path: Path) -> None:
    table = read_text(tmp_path, "data_a\nloop_\n_rlnA #1\n_rlnB #2\n1.0 [1,2]\nx2 [1,y]\n")["a"]
    with pytest.raises(FormatError, match="row 2 of rlnA in table 'a' is 'x2'"):
        table.numbers("rlnA")
    with pytest.raises(FormatError, match="row 2 of rlnB"):
        table.vectors("rlnB")
    with pytest.raises(FormatError, match="no column rlnC"):
        table.text("rlnC")
    with pytest.raises(FormatError, match="fractions"):
        StarTable("a", {"rlnA": ("1.5",)}).integers("rlnA")
    assert StarTable("a", {"rlnA": ("3.000000",)}).integers("rlnA")[0] == 3
    with pytest.raises(FormatError, match="No such file"):
        read_star(tmp_path / "absent.star")


texts = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_characters="\x7f\x85\xa0"), max_size=12)


@given(
    columns=st.dictionaries(st.from_regex(r"rln[A-Za-z0-9]{1,8}", fullmatch=True), st.just(0), min_size=1, max_size=4),
    rows=st.integers(1, 4),
    data=st.data(),
)
def test_any_text_comes_back(
    tmp_path_factory: pytest.TempPathFactory, columns: dict[str, int], rows: int, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("s") / "a.star"
    lower = {label.lower(): label for label in columns}  # CIF labels differ by more than case
    filled = {label: tuple(data.draw(texts) for _ in range(rows)) for label in lower.values()}
    table = StarTable("b", filled, is_list=rows == 1 and data.draw(st.booleans()))
    cannot = any(re.search(r"'\s", text) and re.search(r'"\s', text) for column in filled.values() for text in column)
    if cannot:  # neither kind of quote can hold it
        with pytest.raises(FormatError, match="cannot stand"):
            write_star(path, [table])
    else:
        write_star(path, [table])
        assert read_star(path) == {"b": table}


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_keep_every_bit(value: float) -> None:
    assert float(number_text(value)) == value


def test_line_ends_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="line end"):
        write_star(tmp_path / "a.star", [StarTable("a", {"rlnA": ("x\ny",)})])
    with pytest.raises(FormatError, match="columns of"):
        StarTable("a", {"rlnA": ("1",), "rlnB": ("1", "2")})


def test_starfile_reads_what_we_write(tmp_path: Path) -> None:
    table = StarTable("x", {"rlnA": ("a b", "c"), "rlnB": ("1.25", "-3e-07"), "rlnC": (vector_text([1, 2.5]), "[]")})
    write_star(tmp_path / "a.star", [table, StarTable("y", {"rlnD": ("4",)}, is_list=True)])
    theirs = starfile.read(tmp_path / "a.star", always_dict=True)
    assert list(theirs["x"]["rlnA"]) == ["a b", "c"]
    assert list(theirs["x"]["rlnB"]) == [1.25, -3e-07]
    assert list(theirs["x"]["rlnC"]) == ["[1.0,2.5]", "[]"]
    assert theirs["y"]["rlnD"] == 4


@pytest.mark.program("relion_star_handler")
def test_relion_reads_what_we_write(tmp_path: Path) -> None:
    optics = {"rlnOpticsGroupName": "o1", "rlnOpticsGroup": "1", "rlnVoltage": "300.0", "rlnAmplitudeContrast": "0.1"}
    optics |= {"rlnSphericalAberration": "2.7", "rlnMicrographPixelSize": "1.5"}
    rows = {
        "rlnMicrographName": ("a b.mrc", "000002@c.mrcs"),
        "rlnOpticsGroup": ("1", "1"),
        "rlnDefocusU": ("40000.125", "3.99995e4"),
        "lamellaPlace": ("1", "2"),
    }
    tables = [StarTable("optics", {label: (value,) for label, value in optics.items()}), StarTable("micrographs", rows)]
    write_star(tmp_path / "a.star", tables)
    select = ["--select", "rlnDefocusU", "--minval", "1", "--maxval", "1e9"]
    arguments = ["relion_star_handler", "--i", "a.star", "--o", "b.star", *select]
    done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    theirs = read_star(tmp_path / "b.star")["micrographs"]
    assert theirs.text("rlnMicrographName") == rows["rlnMicrographName"]
    assert theirs.text("lamellaPlace") == rows["lamellaPlace"]
    np.testing.assert_allclose(theirs.numbers("rlnDefocusU"), [40000.125, 39999.5], rtol=1e-9)


def test_real_tables_read_as_starfile_reads_them(shared_data: Path, tmp_path: Path) -> None:
    paths = sorted((shared_data / "relion5").rglob("*.star"))
    assert len(paths) > 40
    for path in paths:
        tables = read_star(path)
        write_star(tmp_path / "again.star", tables.values())
        assert read_star(tmp_path / "again.star") == tables, path
        if path.stat().st_size < 100_000:
            for name, theirs in starfile.read(path, always_dict=True).items():
                _same(tables[name], theirs)


def _same(ours: StarTable, theirs: object) -> None:
    columns = theirs if isinstance(theirs, dict) else {label: list(theirs[label]) for label in theirs}  # type: ignore[index,attr-defined]
    assert set(columns) == set(ours.columns)
    for label, column in columns.items():
        values = column if isinstance(column, list) else [column]
        for value, text in zip(values, ours.text(label), strict=True):
            if isinstance(value, str):
                assert value == text or (value, text) == ("", '""')
            elif value == value:
                assert float(text) == pytest.approx(float(value), rel=1e-12)
