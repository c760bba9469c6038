from __future__ import annotations

import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamella.errors import FormatError
from lamella.formats.mdoc import new_mdoc, parse_mdoc, read_mdoc, write_mdoc

TEXT = (
    "PixelSpacing = 2.5\r\n"
    "  Voltage=300  \r\n"
    "\r\n"
    "[T = SerialEM: a microscope   01-Jan-24  10:00:00    ]\r\n"
    "[T =     Tilt axis angle = 85.3, binning = 1  spot = 8 ]\r\n"
    "\r\n"
    "[ZValue = 0]\r\n"
    "TiltAngle = 3.0\r\n"
    "Odd = a = b\r\n"
    "Odd = again\r\n"
    "# a comment\r\n"
    "[FrameSet=1]\r\n"
    "\tKey =\r\n"
)


def test_every_part_is_found():
    mdoc = parse_mdoc(TEXT)
    assert [(entry.key, entry.value, entry.line) for entry in mdoc.header.entries] == [
        ("PixelSpacing", "2.5", 1),
        ("Voltage", "300", 2),
    ]
    assert mdoc.titles[1].startswith("Tilt axis angle = 85.3")
    first, second = mdoc.sections
    assert (first.kind, first.name, first.line) == ("ZValue", "0", 7)
    assert first.get("Odd") == "a = b"
    assert first.values("Odd") == ("a = b", "again")
    assert first.keys == ("TiltAngle", "Odd")
    assert first.get("absent") is None
    assert (second.kind, second.name, second.get("Key")) == ("FrameSet", "1", "")
    assert mdoc.malformed == ()


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_written_back_to_the_same_bytes(tmp_path, end):
    raw = TEXT.replace("\r\n", end).encode()
    (tmp_path / "a.mdoc").write_bytes(raw)
    mdoc = read_mdoc(tmp_path / "a.mdoc")
    assert len(mdoc.sections) == 2
    assert write_mdoc(mdoc, tmp_path / "b.mdoc") == tmp_path / "b.mdoc"
    assert (tmp_path / "b.mdoc").read_bytes() == raw


def test_title_without_brackets_and_globals_after_a_title():
    mdoc = parse_mdoc("T = SerialEM: x\nVoltage = 300\n[T = more]\nPixelSpacing = 1.1\n[ZValue = 0]\nT = mine\n")
    assert mdoc.titles == ("SerialEM: x", "more")
    assert mdoc.header.get("Voltage") == "300"
    assert mdoc.header.get("PixelSpacing") == "1.1"
    assert mdoc.sections[0].get("T") == "mine"


def test_odd_lines_are_kept_with_their_numbers():
    mdoc = parse_mdoc("A = 1\nwhat is this\n[ZValue = 0\n[nothing]\n = 3\nB = 2\n")
    assert [line.number for line in mdoc.malformed] == [2, 3, 4, 5]
    assert mdoc.header.get("B") == "2"


@pytest.mark.parametrize(
    ("raw", "word"),
    [(b"", "empty"), (b"\n \n", "empty"), (b"A = 1\0\0", "binary"), (b"no keys here\n", "no mdoc file")],
)
def test_files_that_are_no_mdoc(tmp_path, raw, word):
    (tmp_path / "a.mdoc").write_bytes(raw)
    with pytest.raises(FormatError, match=word):
        read_mdoc(tmp_path / "a.mdoc")


def test_folders_and_absent_files_are_refused(tmp_path):
    with pytest.raises(FormatError):
        read_mdoc(tmp_path)
    with pytest.raises(FormatError, match="No such file"):
        read_mdoc(tmp_path / "absent.mdoc")


def test_latin1_and_utf16_are_read(tmp_path):
    (tmp_path / "a.mdoc").write_bytes("Operator = Jürgen\n".encode("latin-1"))
    (tmp_path / "b.mdoc").write_bytes("Operator = Jürgen\r\n".encode("utf-16"))
    assert read_mdoc(tmp_path / "a.mdoc").header.get("Operator") == "Jürgen"
    assert read_mdoc(tmp_path / "b.mdoc").header.get("Operator") == "Jürgen"


WORD = st.text(st.characters(codec="utf-8", exclude_characters="=[]#\r\n\0", exclude_categories=("C", "Z")), min_size=1)


@given(
    st.dictionaries(WORD.filter(lambda word: word != "T"), WORD, min_size=1, max_size=4),
    st.lists(st.tuples(st.sampled_from(["ZValue", "FrameSet", "Other"]), st.integers(0, 99)), max_size=5),
    st.sampled_from(["\n", "\r\n"]),
)
def test_any_content_survives(values, sections, end):
    mdoc = new_mdoc("x.mdoc", values, ["a title"], [(kind, name, values) for kind, name in sections], end=end)
    again = parse_mdoc(mdoc.text)
    assert {entry.key: entry.value for entry in again.header.entries} == values
    assert [(section.kind, section.name) for section in again.sections] == [
        (kind, str(name)) for kind, name in sections
    ]
    assert all({entry.key: entry.value for entry in section.entries} == values for section in again.sections)
    assert again.titles == ("a title",)
    assert again.text == mdoc.text


REAL = {
    "aretomo3_L1_ts_001.mrc.mdoc": 41,
    "cryocat_TS_017.mdoc": 60,
    "empiar10164_TS_01.mrc.mdoc": 41,
    "mdocfile_frame_set_single.mdoc": 1,
    "mdocfile_montage_section.mdoc": 63,
    "murfey_chrom_07_ts_010.mdoc": 11,
    "pyem_map1.mrc.mdoc": 1,
    "pyserialem_gm.mrc.mdoc": 26,
}


@pytest.mark.parametrize(("name", "count"), REAL.items())
def test_real_files_are_whole(shared_data, tmp_path, name, count):
    file = shared_data / "mdoc" / name
    mdoc = read_mdoc(file)
    assert len(mdoc.sections) == count
    assert mdoc.malformed == ()
    assert write_mdoc(mdoc, tmp_path / name).read_bytes() == file.read_bytes()


@pytest.mark.parametrize("name", REAL)
def test_another_reader_finds_the_same(shared_data, name):
    mdocfile = pytest.importorskip("mdocfile.data_models")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            other = mdocfile.Mdoc.from_file(shared_data / "mdoc" / name)
        except Exception as error:
            pytest.skip(f"mdocfile cannot read it: {type(error).__name__}")
    mdoc = read_mdoc(shared_data / "mdoc" / name)
    assert len(other.section_data) == len(mdoc.sections)
    for ours, theirs in zip(mdoc.sections, other.section_data, strict=True):
        assert float(ours.get("TiltAngle") or "nan") == pytest.approx(theirs.TiltAngle)
        assert float(ours.get("ExposureDose") or "nan") == pytest.approx(theirs.ExposureDose)
        assert float(ours.get("Defocus") or "nan") == pytest.approx(theirs.Defocus)
    if other.global_data.PixelSpacing is not None:
        assert float(mdoc.header.get("PixelSpacing") or "nan") == pytest.approx(other.global_data.PixelSpacing)
