"""MRC files made byte by byte or by mrcfile, read; files of ours read by mrcfile."""

from __future__ import annotations

import pickle
import struct
import tracemalloc
import warnings
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamella.errors import FormatError, ImageError, InputError, PostconditionError
from lamella.formats import FormatWarning
from lamella.formats.mrc import MrcFile, MrcWriter, open_mrc, read_mrc, write_mrc

PIXELS = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}


def handmade(
    array: np.ndarray,
    mode: int,
    order: str = "<",
    *,
    cell: tuple[float, float, float] = (0.0, 0.0, 0.0),
    extended: bytes = b"",
    exttyp: bytes = b"",
    map_stamp: bytes = b"MAP ",
    machine: bytes | None = None,
    nint: int = 0,
    nreal: int = 0,
    imod_flags: int | None = None,
    limits: tuple[float, float] = (0.0, 0.0),
    mapr: int = 2,
    pixel: str | None = None,
) -> bytes:
    """An MRC file, written field by field at the standard's byte offsets."""
    nz, ny, nx = array.shape
    header = bytearray(1024)

    def put(offset: int, kind: str, *values: float) -> None:
        struct.pack_into(order + kind * len(values), header, offset, *values)

    put(0, "i", nx, ny, nz, mode)
    put(28, "i", nx, ny, nz)
    put(40, "f", *cell)
    put(52, "f", 90, 90, 90)
    put(64, "i", 1, mapr, 3)
    put(76, "f", *limits)
    put(92, "i", len(extended))
    header[104 : 104 + len(exttyp)] = exttyp
    put(108, "i", 20140)
    put(128, "h", nint, nreal)
    if imod_flags is not None:
        put(152, "i", 1146047817, imod_flags)
    header[208:212] = map_stamp.ljust(4, b"\0")
    header[212:216] = {"<": b"\x44\x44\0\0", ">": b"\x11\x11\0\0"}[order] if machine is None else machine
    stored = array.astype(np.dtype(pixel or PIXELS[mode]).newbyteorder(order))
    return bytes(header) + extended + stored.tobytes()


def opened(folder: Path, data: bytes, name: str = "a.mrc") -> MrcFile:
    path = folder / name
    path.write_bytes(data)
    return open_mrc(path)


def ramp(nz: int, ny: int, nx: int) -> np.ndarray:
    return (np.arange(nz * ny * nx) % 120).reshape(nz, ny, nx)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("mode", sorted(PIXELS))
def test_reads_every_mode_in_both_byte_orders(tmp_path: Path, mode: int, order: str) -> None:
    truth = ramp(3, 5, 4) - (50 if mode in (0, 1, 2) else 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        file = opened(tmp_path, handmade(truth, mode, order, cell=(10.0, 12.5, 7.5)))
    assert file.shape == (3, 5, 4)
    assert file.pixel_size_ang == pytest.approx(2.5)
    assert file.view(1).dtype == np.float32
    assert file.view(1).dtype.isnative
    np.testing.assert_array_equal(file.read(), truth)
    np.testing.assert_array_equal(file.view(2), truth[2])


@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 7)),
    mode=st.sampled_from(sorted(PIXELS)),
    order=st.sampled_from(["<", ">"]),
    data=st.data(),
)
def test_a_block_is_the_same_part_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, int, int], mode: int, order: str, data: st.DataObject
) -> None:
    truth = ramp(*shape)
    flipped = data.draw(st.booleans())
    file = opened(tmp_path_factory.mktemp("mrc"), handmade(truth, mode, order, mapr=-2 if flipped else 2))
    if flipped:
        truth = truth[:, ::-1]
    part = tuple(slice(*sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n))))) for n in shape)
    np.testing.assert_array_equal(file.block(*part), truth[part])


@pytest.mark.parametrize("mode", [3, 4])
def test_rejects_modes_that_hold_no_plain_pixels(tmp_path: Path, mode: int) -> None:
    with pytest.raises(FormatError, match=f"mode {mode}"):
        opened(tmp_path, handmade(ramp(2, 4, 4), mode, pixel="f4"))


def test_bytes_are_signed_unless_imod_or_the_header_says_otherwise(tmp_path: Path) -> None:
    truth = np.array([[[0, 100, 200, 255]]])
    as_signed = truth.astype(np.uint8).view(np.int8)
    np.testing.assert_array_equal(opened(tmp_path, handmade(as_signed, 0)).read(), as_signed)
    np.testing.assert_array_equal(opened(tmp_path, handmade(as_signed, 0, imod_flags=0)).read(), truth)
    np.testing.assert_array_equal(opened(tmp_path, handmade(as_signed, 0, imod_flags=1)).read(), as_signed)
    with pytest.warns(FormatWarning, match="unsigned"):
        file = opened(tmp_path, handmade(as_signed, 0, limits=(0.0, 255.0)))
    np.testing.assert_array_equal(file.read(), truth)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("stamps", "words"),
    [
        ({"map_stamp": b""}, "no MAP stamp"),
        ({"map_stamp": b"MOP "}, "no MAP stamp"),
        ({"machine": b"\0\0\0\0"}, "no machine stamp"),
        ({"machine": b"\x12\x34\0\0"}, "a wrong machine stamp"),
    ],
)
def test_wrong_stamps_are_warned_of_and_judged(
    tmp_path: Path, stamps: dict[str, bytes], words: str, order: str
) -> None:
    truth = ramp(3, 4, 5)
    with pytest.warns(FormatWarning, match=words):
        file = opened(tmp_path, handmade(truth, 1, order, **stamps))  # type: ignore[arg-type]
    np.testing.assert_array_equal(file.read(), truth)
    assert any(words in note.text for note in file.notes)


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_machine_stamp_that_contradicts_the_sizes_is_overruled(tmp_path: Path, order: str) -> None:
    truth = ramp(2, 3, 4)
    other = {"<": b"\x11\x11\0\0", ">": b"\x44\x44\0\0"}[order]
    with pytest.warns(FormatWarning, match="machine stamp"):
        file = opened(tmp_path, handmade(truth, 2, order, machine=other))
    np.testing.assert_array_equal(file.read(), truth)


@pytest.mark.parametrize("order", ["<", ">"])
def test_byte_order_of_bytes_without_a_stamp_follows_from_the_length(tmp_path: Path, order: str) -> None:
    truth = ramp(2, 256, 512)  # both byte orders give plausible sizes, one of them a file of gigabytes
    with pytest.warns(FormatWarning, match="machine stamp"):
        file = opened(tmp_path, handmade(truth, 0, order, machine=b"\0\0\0\0"))
    np.testing.assert_array_equal(file.read(), truth)


def test_a_truncated_file_says_how_many_sections_are_missing(tmp_path: Path) -> None:
    data = handmade(ramp(10, 8, 8), 1)
    with pytest.raises(FormatError, match="4 of 10 sections are missing"):
        opened(tmp_path, data[: 1024 + 6 * 128 + 40])
    with pytest.raises(FormatError, match="10 of 10 sections"):
        opened(tmp_path, data[:1024])
    with pytest.raises(FormatError, match="too few for an MRC header"):
        opened(tmp_path, data[:1000])


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    data = handmade(ramp(4, 8, 8), 1)
    file = opened(tmp_path, data)
    file.path.write_bytes(data[:-100])
    with pytest.raises(FormatError, match="shorter"):
        file.view(3)


def test_a_longer_file_is_read_with_a_warning(tmp_path: Path) -> None:
    truth = ramp(2, 4, 4)
    with pytest.warns(FormatWarning, match="100 bytes follow"):
        file = opened(tmp_path, handmade(truth, 2) + bytes(100))
    np.testing.assert_array_equal(file.read(), truth)


def test_empty_and_absurd_files_are_refused_without_allocating(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="holds no image"):
        opened(tmp_path, handmade(np.zeros((0, 4, 4)), 2))
    data = bytearray(handmade(ramp(1, 4, 4), 2))
    struct.pack_into("<iii", data, 0, 2**25, 2**25, 2**25)
    tracemalloc.start()
    with pytest.raises(FormatError, match="sections are missing"):
        opened(tmp_path, bytes(data))
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
    struct.pack_into("<iii", data, 0, -5, 4, 4)
    with pytest.raises(FormatError, match="no MRC file"):
        opened(tmp_path, bytes(data))
    with pytest.raises(FormatError, match="no MRC file"):
        opened(tmp_path, b"this is a text, not an image. " * 50)
    struct.pack_into("<iii", data, 0, 4, 4, 1)
    struct.pack_into("<i", data, 92, -512)
    with pytest.raises(FormatError, match="negative size"):
        opened(tmp_path, bytes(data))
    with pytest.raises(FormatError, match="No such file"):
        open_mrc(tmp_path / "absent.mrc")


@pytest.mark.parametrize("cell", [(0.0, 0.0, 0.0), (-4.0, 4.0, 4.0), (np.nan, 4.0, 4.0), (np.inf, 4.0, 4.0)])
def test_nonsense_in_the_cell_gives_no_pixel_size(tmp_path: Path, cell: tuple[float, float, float]) -> None:
    file = opened(tmp_path, handmade(ramp(1, 4, 4), 2, cell=cell))
    assert file.pixel_size_ang is None
    assert [note.kind for note in file.notes] == ["warning"]


def test_odd_pixel_sizes_are_noted(tmp_path: Path) -> None:
    file = opened(tmp_path, handmade(ramp(1, 4, 4), 2, cell=(4.0, 4.0, 1.0)))
    assert file.pixel_size_ang == 1
    assert "1 Å" in file.notes[0].text
    file = opened(tmp_path, handmade(ramp(1, 4, 4), 2, cell=(8.0, 12.0, 1.0)))
    assert file.pixel_size_ang == 2
    assert "not square" in file.notes[0].text


def test_only_the_section_asked_for_is_held(tmp_path: Path) -> None:
    shape = (40, 256, 256)
    path = tmp_path / "big.mrc"
    with mrcfile.new(path) as file:
        file.set_data(np.zeros(shape, np.int16))
    ours = open_mrc(path)
    tracemalloc.start()
    ours.view(20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 256 * 256 * 6 + 50_000  # the section as it is stored and as float32


def test_sections_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    file = opened(tmp_path, handmade(ramp(3, 4, 4), 2))
    for index in (-1, 3):
        with pytest.raises(ImageError, match="of 3"):
            file.view(index)
    with pytest.raises(ValueError, match="step"):
        file.block(slice(0, 3, 2), slice(None), slice(None))


def test_an_opened_file_travels_to_other_processes(tmp_path: Path) -> None:
    file = opened(tmp_path, handmade(ramp(3, 4, 5), 6))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(file)).view(1), file.view(1))


# ---- extended headers


def serial_section(order: str, tilt: float, dose: tuple[int, int]) -> bytes:
    """Tilt, montage piece, stage, magnification, intensity and dose, as SerialEM packs them."""
    words = [round(tilt * 100), 512, 1024, 3, round(-12.4 * 25), round(7.28 * 25), 530, round(0.25 * 25000), *dose]
    return struct.pack(f"{order}{len(words)}h", *words)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("exttyp", [b"SERI", b""])
def test_serialem_extended_header(tmp_path: Path, order: str, exttyp: bytes) -> None:
    # 3.1 = 3.1 · 2²⁰ · 2⁻²⁰: value 3250585 = 12697 · 256 + 153, power −20 in the upper bits of the second number
    dose = (12697, -(20 * 256 + 153))
    extended = b"".join(serial_section(order, tilt, dose) for tilt in (-60.0, 0.01, 59.99)).ljust(1024, b"\0")
    file = opened(tmp_path, handmade(ramp(3, 4, 4), 1, order, extended=extended, exttyp=exttyp, nint=20, nreal=63))
    assert [section["tilt_deg"] for section in file.extended] == [-60.0, 0.01, 59.99]
    first = file.extended[0]
    assert first["dose"] == pytest.approx(3.1, rel=1e-6)
    assert (first["piece_x_px"], first["piece_y_px"], first["piece_z"]) == (512, 1024, 3)
    assert (first["stage_x_um"], first["stage_y_um"]) == (-12.4, 7.28)
    assert (first["magnification"], first["intensity"]) == (53000, 0.25)
    np.testing.assert_array_equal(file.read(), ramp(3, 4, 4))


@pytest.mark.parametrize("kind", [b"FEI1", b"FEI2"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_new_fei_extended_header(tmp_path: Path, kind: bytes, order: str) -> None:
    size = {b"FEI1": 768, b"FEI2": 888}[kind]
    records = []
    for tilt in (-40.0, 2.0):
        record = bytearray(size)
        # offsets of the layout published for EPU and Tomography: size, version, bitmask; HT 84, dose 92, α 100,
        # axis 140, pixel 156
        struct.pack_into(f"{order}iiI", record, 0, size, 0, 1 << 5 | 1 << 6 | 1 << 7 | 1 << 12 | 1 << 14)
        for offset, value in ((84, 300_000.0), (92, 3.2e20), (100, tilt), (140, -94.2), (156, 1.35e-10)):
            struct.pack_into(f"{order}d", record, offset, value)
        records.append(bytes(record))
    truth = ramp(2, 5, 4)
    file = opened(tmp_path, handmade(truth, 1, order, extended=b"".join(records), exttyp=kind))
    assert [section["tilt_deg"] for section in file.extended] == [-40.0, 2.0]
    section = file.extended[1]
    assert section["pixel_size_ang"] == pytest.approx(1.35)
    assert section["dose"] == pytest.approx(3.2)
    assert section["voltage_kv"] == pytest.approx(300)
    assert section["axis_deg"] == -94.2
    assert "defocus_um" not in section  # its bit is not set
    np.testing.assert_array_equal(file.read(), truth[:, ::-1] if kind == b"FEI1" else truth)


def test_fei1_rows_are_turned_over_unless_imod_wrote_the_file(tmp_path: Path) -> None:
    truth = ramp(2, 5, 4)
    extended = bytes(768 * 2)
    flipped = opened(tmp_path, handmade(truth, 1, extended=extended, exttyp=b"FEI1"))
    np.testing.assert_array_equal(flipped.view(0), truth[0, ::-1])
    assert any("row 0" in note.text for note in flipped.notes)
    stamped = opened(tmp_path, handmade(truth, 1, extended=extended, exttyp=b"FEI1", imod_flags=1))
    np.testing.assert_array_equal(stamped.view(0), truth[0])


def test_a_damaged_fei_header_says_nothing(tmp_path: Path) -> None:
    extended = struct.pack("<i", 768) + bytes(764) + struct.pack("<i", -3) + bytes(764)
    assert opened(tmp_path, handmade(ramp(2, 4, 4), 1, extended=extended, exttyp=b"FEI2")).extended == ()


def test_old_fei_extended_header_of_real_data(shared_data: Path) -> None:
    path = shared_data / "haadf" / "HAADF.mrc"
    with pytest.warns(FormatWarning):
        file = open_mrc(path)
    assert file.shape == (77, 256, 256)
    assert file.pixel_size_ang == 1.0  # what the header says
    angles = np.loadtxt(path.with_suffix(".rawtlt"))
    np.testing.assert_allclose([section["tilt_deg"] for section in file.extended], angles, atol=0.01)
    assert file.extended[0]["pixel_size_ang"] == pytest.approx(33.6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = mrcfile.open(path, permissive=True).data
    np.testing.assert_array_equal(file.view(40), theirs[40])


def test_real_files_read_as_mrcfile_reads_them(shared_data: Path) -> None:
    paths = [p for p in shared_data.rglob("*.mrc*") if p.suffix in (".mrc", ".mrcs")]
    assert len(paths) > 10
    for path in paths:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = mrcfile.open(path, permissive=True).data
            ours = open_mrc(path)
        np.testing.assert_array_equal(ours.read(), theirs.reshape(ours.shape).astype(np.float32))


# ---- writing


@pytest.mark.parametrize("name", ["v.mrc", "s.mrcs"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int16", "uint16", "int8"])
def test_what_we_write_is_valid_and_reads_back(
    tmp_path: Path, rng: np.random.Generator, dtype: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = np.abs(rng.normal(50, 15, (4, 5, 7))).astype(np.float32).clip(0, 120)
    path = tmp_path / name
    write_mrc(path, truth, 3.42, dtype)
    assert dtype == "float16" or mrcfile.validate(path), capsys.readouterr().out
    with mrcfile.open(path) as file:
        stored = truth if dtype.startswith("float") else np.rint(truth)
        np.testing.assert_array_equal(file.data, stored.astype(dtype))
        assert file.data.dtype == np.dtype(dtype).newbyteorder("<")
        assert file.voxel_size.x == pytest.approx(3.42)
        assert file.voxel_size.z == pytest.approx(3.42)
        assert file.is_image_stack() == (name == "s.mrcs")
        values = np.asarray(file.data, np.float64)
        statistics = [float(file.header[field]) for field in ("dmin", "dmax", "dmean", "rms")]
        np.testing.assert_allclose(statistics, [values.min(), values.max(), values.mean(), values.std()], rtol=1e-5)
    array, pixel = read_mrc(path)
    np.testing.assert_array_equal(array, stored.astype(dtype).astype(np.float32))
    assert pixel == pytest.approx(3.42)


@given(
    shape=st.tuples(st.integers(1, 6), st.integers(1, 7), st.integers(1, 8)),
    cuts=st.tuples(st.integers(1, 6), st.integers(1, 7), st.integers(1, 8)),
    seed=st.integers(0, 2**32 - 1),
)
def test_blocks_may_come_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, int, int], cuts: tuple[int, int, int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.normal(1e4, 1.0, shape).astype(np.float32)
    path = tmp_path_factory.mktemp("w") / "v.mrc"
    starts = [
        (z, y, x)
        for z in range(0, shape[0], cuts[0])
        for y in range(0, shape[1], cuts[1])
        for x in range(0, shape[2], cuts[2])
    ]
    with MrcWriter(path, shape, 1.5) as write:
        for index in rng.permutation(len(starts)):
            z, y, x = starts[index]
            write(z, y, x, truth[z : z + cuts[0], y : y + cuts[1], x : x + cuts[2]])
    with mrcfile.open(path) as file:
        np.testing.assert_array_equal(file.data, truth)
        assert float(file.header.rms) == pytest.approx(truth.std(dtype=np.float64), rel=1e-3, abs=1e-3)
        assert float(file.header.dmean) == pytest.approx(truth.mean(dtype=np.float64), rel=1e-6)


def test_wide_files_are_read_row_by_row(tmp_path: Path) -> None:
    truth = (np.arange(2 * 3 * 5000) % 30000).reshape(2, 3, 5000)
    file = opened(tmp_path, handmade(truth, 1))
    np.testing.assert_array_equal(file.block(slice(0, 2), slice(1, 3), slice(4000, 4007)), truth[:, 1:3, 4000:4007])
    np.testing.assert_array_equal(file.block(slice(1, 2), slice(0, 3), slice(1, 4900)), truth[1:2, :, 1:4900])


def test_a_stack_may_end_earlier_than_planned(tmp_path: Path) -> None:
    truth = ramp(5, 4, 6).astype(np.float32)
    with MrcWriter(tmp_path / "s.mrcs", (5, 4, 6), 2.0) as write:
        for index in range(3):
            write(index, 0, 0, truth[index : index + 1])
        write.keep_first(3)
    assert mrcfile.validate(tmp_path / "s.mrcs")
    np.testing.assert_array_equal(read_mrc(tmp_path / "s.mrcs")[0], truth[:3])


def test_an_image_sink_writes_sections(tmp_path: Path) -> None:
    truth = ramp(3, 4, 5).astype(np.float32)
    with MrcWriter(tmp_path / "s.mrcs", (3, 4, 5), 2.0) as write:
        take = write.image_sink()
        for index in (2, 0, 1):
            take(index, truth[index])
    np.testing.assert_array_equal(read_mrc(tmp_path / "s.mrcs")[0], truth)


def test_one_image_may_be_written(tmp_path: Path) -> None:
    write_mrc(tmp_path / "i.mrc", ramp(1, 4, 5)[0].astype(np.float32), 2.0)
    assert open_mrc(tmp_path / "i.mrc").shape == (1, 4, 5)
    with pytest.raises(ImageError):
        write_mrc(tmp_path / "i.mrc", np.zeros(5), 2.0)


def nothing_left(folder: Path) -> bool:
    return list(folder.iterdir()) == []


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_bad_numbers_are_refused_and_leave_nothing(tmp_path: Path, bad: float) -> None:
    array = np.ones((3, 4, 5), np.float32)
    array[1, 2, 3] = bad
    with pytest.raises(PostconditionError, match=r"\(1, 0, 0\) holds NaN or infinity"):
        write_mrc(tmp_path / "v.mrc", array, 1.0)
    assert nothing_left(tmp_path)


@pytest.mark.parametrize(("dtype", "value"), [("int8", 128.0), ("uint16", -1.0), ("int16", 40000.0), ("float16", 7e4)])
def test_numbers_that_do_not_fit_are_refused(tmp_path: Path, dtype: str, value: float) -> None:
    with pytest.raises(PostconditionError):
        write_mrc(tmp_path / "v.mrc", np.full((1, 2, 2), value, np.float32), 1.0, dtype)
    assert nothing_left(tmp_path)


@pytest.mark.parametrize(
    ("places", "words"),
    [([(1, 0)], "4 of 8 rows"), ([(0, 0), (0, 0), (1, 0)], "section 0"), ([(0, 1)], "outside"), ([(2, 0)], "outside")],
)
def test_missing_doubled_and_misplaced_blocks_are_found(
    tmp_path: Path, places: list[tuple[int, int]], words: str
) -> None:
    def written() -> None:
        with MrcWriter(tmp_path / "v.mrc", (2, 4, 5), 1.0) as write:
            for z, y in places:
                write(z, y, 0, np.zeros((1, 4, 5), np.float32))

    with pytest.raises(PostconditionError, match=words):
        written()
    assert nothing_left(tmp_path)


def test_an_error_on_the_way_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "v.mrc"
    write_mrc(path, np.ones((1, 2, 2), np.float32), 1.0)
    before = path.read_bytes()

    def fails_half_way() -> None:
        with MrcWriter(path, (1, 2, 2), 1.0) as write:
            write(0, 0, 0, np.zeros((1, 2, 2), np.float32))
            raise KeyError

    with pytest.raises(KeyError):
        fails_half_way()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_headers_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    for arguments in (((0, 2, 2), 1.0, "float32"), ((1, 2, 2), 0.0, "float32"), ((1, 2, 2), np.nan, "float32")):
        with pytest.raises(InputError):
            MrcWriter(tmp_path / "v.mrc", *arguments)
    with pytest.raises(InputError, match="complex64"):
        MrcWriter(tmp_path / "v.mrc", (1, 2, 2), 1.0, "complex64")
