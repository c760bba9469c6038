"""One asymmetric specimen in every format of frames, each file made byte by byte: one picture, none mirrored."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile

from lamella.errors import FormatError, ImageError, InputError, PostconditionError
from lamella.formats.eer import open_eer
from lamella.formats.movies import open_movie
from lamella.formats.mrc import MrcWriter, open_mrc
from lamella.formats.tiff import open_tiff
from lamella.formats.tiff_movie import write_movie_tiff

# an F, upright for one who has row 0 at the bottom
SPECIMEN = np.array(
    [
        [1, 0, 0, 0, 0],
        [1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 0, 0, 0, 0],
        [1, 0, 0, 0, 0],
        [1, 1, 1, 1, 0],
    ]
)
HEIGHT, WIDTH = SPECIMEN.shape


def tiff(order: str, big: bool, kind: str) -> bytes:
    """A TIFF of one page whose strips hold two rows each, top row first."""
    rows = SPECIMEN[::-1].astype(np.dtype(kind).newbyteorder(order)).tobytes()
    strip = 2 * WIDTH * np.dtype(kind).itemsize
    long, head, field = ("Q", "Q", "HHQ") if big else ("I", "H", "HHI")
    pointer = struct.calcsize(order + long)
    start = (b"II" if order == "<" else b"MM") + (
        struct.pack(order + "HHH", 43, 8, 0) if big else struct.pack(order + "H", 42)
    )
    at = len(start) + pointer
    offsets = struct.pack(order + long * 3, *(at + strip * number for number in range(3)))
    counts = struct.pack(order + "I" * 3, strip, strip, strip)
    tags: dict[int, tuple[int, int, bytes]] = {
        256: (3, 1, struct.pack(order + "H", WIDTH)),
        257: (3, 1, struct.pack(order + "H", HEIGHT)),
        258: (3, 1, struct.pack(order + "H", 8 * np.dtype(kind).itemsize)),
        259: (3, 1, struct.pack(order + "H", 1)),
        262: (3, 1, struct.pack(order + "H", 1)),
        273: (16 if big else 4, 3, struct.pack(order + long, at + len(rows))),
        277: (3, 1, struct.pack(order + "H", 1)),
        278: (3, 1, struct.pack(order + "H", 2)),
        279: (4, 3, struct.pack(order + long, at + len(rows) + len(offsets))),
        339: (3, 1, struct.pack(order + "H", {"u": 1, "i": 2, "f": 3}[kind[0]])),
    }
    ifd = struct.pack(order + head, len(tags))
    for number, (value_kind, count, value) in sorted(tags.items()):
        ifd += struct.pack(order + field, number, value_kind, count) + value.ljust(pointer, b"\0")
    place = at + len(rows) + len(offsets) + len(counts)
    return start + struct.pack(order + long, place) + rows + offsets + counts + ifd + bytes(pointer)


def mrc(
    rows: bytes,
    mode: int,
    *,
    nx: int = WIDTH,
    flags: int | None = None,
    exttyp: bytes = b"",
    order: str = "<",
    sections: int = 1,
) -> bytes:
    """An MRC file: header, and rows as given."""
    header = bytearray(1024)
    struct.pack_into(order + "4i", header, 0, nx, HEIGHT, sections, mode)
    struct.pack_into(order + "3i3f", header, 28, nx, HEIGHT, sections, nx * 1.5, HEIGHT * 1.5, 1.5)
    struct.pack_into(order + "3i", header, 64, 1, 2, 3)
    header[104 : 104 + len(exttyp)] = exttyp
    if flags is not None:
        struct.pack_into(order + "2i", header, 152, 1146047817, flags)
    header[208:212] = b"MAP "
    header[212:214] = b"\x44\x44" if order == "<" else b"\x11\x11"
    return bytes(header) + rows


def nibbles(image: np.ndarray) -> bytes:
    """Two pixels a byte, the left one in the lower half; a row ends with a whole byte."""
    out = b""
    for row in image.tolist():
        padded = row + [0] * (len(row) % 2)
        out += bytes(low | high << 4 for low, high in zip(padded[::2], padded[1::2], strict=True))
    return out


def eer(_: object = None) -> bytes:
    """A BigTIFF of one page of 7 + 2 + 2 bits, rows in the specimen's order."""
    bits = []
    run = 0
    for pixel in SPECIMEN.ravel().tolist():
        if pixel:
            bits += [run >> place & 1 for place in range(7)] + [0, 1, 0, 1]
            run = 0
        else:
            run += 1
    bits += [run >> place & 1 for place in range(7)]
    bits += [0] * (-len(bits) % 16)
    strip = np.packbits(bits, bitorder="little").tobytes()
    tags = [(256, 4, WIDTH), (257, 4, HEIGHT), (259, 3, 65001), (273, 16, 16), (279, 16, len(strip))]
    ifd = struct.pack("<Q", len(tags)) + b"".join(struct.pack("<HHQQ", tag, kind, 1, v) for tag, kind, v in tags)
    return struct.pack("<2sHHHQ", b"II", 43, 8, 0, 16 + len(strip)) + strip + ifd + bytes(8)


FILES: dict[str, Callable[[], bytes]] = {
    "tiff": lambda: tiff("<", False, "u1"),
    "tiff of 16 bits, Motorola's order": lambda: tiff(">", False, "i2"),
    "tiff of floats": lambda: tiff("<", False, "f4"),
    "BigTIFF": lambda: tiff("<", True, "u2"),
    "BigTIFF, Motorola's order": lambda: tiff(">", True, "u1"),
    "mrc of bytes": lambda: mrc(SPECIMEN.astype("u1").tobytes(), 0, flags=0),
    "mrc of signed bytes": lambda: mrc(SPECIMEN.astype("i1").tobytes(), 0),
    "mrc of 16 bits": lambda: mrc(SPECIMEN.astype(">u2").tobytes(), 6, order=">"),
    "mrc of 4 bits": lambda: mrc(nibbles(SPECIMEN), 101),
    "mrc of FEI, top row first": lambda: mrc(SPECIMEN[::-1].astype("<i2").tobytes(), 1, exttyp=b"FEI1"),
    "mrc of 4 bits, top row first": lambda: mrc(nibbles(SPECIMEN[::-1]), 101, exttyp=b"FEI1"),
    "eer": eer,
}


@pytest.mark.parametrize("name", FILES)
def test_every_format_shows_the_same_specimen(tmp_path: Path, name: str) -> None:
    path = tmp_path / "movie"
    path.write_bytes(FILES[name]())
    movie = open_movie(path)
    assert movie.shape == (1, HEIGHT, WIDTH)
    assert (len(movie), movie.raw_frames, movie.gain) == (1, 1, None)
    assert movie.kind == ("tiff" if "tiff" in name.lower() else name[:3])
    frame = movie.frame(0)
    np.testing.assert_array_equal(frame, SPECIMEN)
    assert frame.dtype.isnative
    assert frame.flags.c_contiguous
    again = pickle.loads(pickle.dumps(movie))
    np.testing.assert_array_equal(again.frame(0), SPECIMEN)


def test_frames_keep_the_type_they_are_stored_in(tmp_path: Path) -> None:
    for kind in ("u1", "i1", "u2", "i2", "f4"):
        (tmp_path / "a.tif").write_bytes(tiff("<", False, kind))
        assert open_movie(tmp_path / "a.tif").frame(0).dtype == np.dtype(kind)
    for mode, kind in ((1, "i2"), (6, "u2"), (2, "f4"), (12, "f2")):
        (tmp_path / "a.mrc").write_bytes(mrc(SPECIMEN.astype(kind).tobytes(), mode))
        assert open_movie(tmp_path / "a.mrc").frame(0).dtype == np.dtype(kind)
    (tmp_path / "a.mrc").write_bytes(mrc(nibbles(SPECIMEN), 101))
    assert open_movie(tmp_path / "a.mrc").frame(0).dtype == np.uint8


# ---- four bits


@pytest.mark.parametrize("width", [4, 5])
def test_four_bits_reach_from_0_to_15(tmp_path: Path, rng: np.random.Generator, width: int) -> None:
    truth = rng.integers(0, 16, (3, HEIGHT, width))
    (tmp_path / "a.mrc").write_bytes(mrc(b"".join(map(nibbles, truth)), 101, nx=width, sections=3))
    file = open_mrc(tmp_path / "a.mrc")
    assert file.shape == truth.shape
    assert file.pixel_size_ang == pytest.approx(1.5)
    np.testing.assert_array_equal(file.read(), truth)
    assert file.read().dtype == np.float32
    np.testing.assert_array_equal(file.block(slice(1, 3), slice(2, 5), slice(1, 4)), truth[1:3, 2:5, 1:4])
    np.testing.assert_array_equal(file.frame(2), truth[2])


def test_bytes_that_hold_two_pixels_have_twice_the_columns(tmp_path: Path, rng: np.random.Generator) -> None:
    truth = rng.integers(0, 16, (HEIGHT, 8))
    (tmp_path / "a.mrc").write_bytes(mrc(nibbles(truth), 0, nx=4, flags=16))
    movie = open_movie(tmp_path / "a.mrc")
    assert movie.shape == (1, HEIGHT, 8)
    np.testing.assert_array_equal(movie.frame(0), truth)
    (tmp_path / "a.mrc").write_bytes(mrc(nibbles(truth), 0, nx=4, flags=17))
    with pytest.raises(FormatError, match="contradiction"):
        open_movie(tmp_path / "a.mrc")


@pytest.mark.parametrize("title", ["SerialEMCCD: Dose frac. image, 4 bits packed  r/f 0", "plain"])
def test_tiffs_of_serialem_with_two_pixels_a_byte(tmp_path: Path, rng: np.random.Generator, title: str) -> None:
    truth = rng.integers(0, 16, (2, HEIGHT, 8))
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in truth[:, ::-1]:
            packed = np.frombuffer(nibbles(page), np.uint8).reshape(HEIGHT, 4)
            file.write(packed, contiguous=False, description=title, metadata=None, photometric="minisblack")
    movie = open_movie(tmp_path / "a.tif")
    if title == "plain":
        assert movie.shape == (2, HEIGHT, 4)
    else:
        assert movie.shape == truth.shape
        np.testing.assert_array_equal([movie.frame(0), movie.frame(1)], truth)


def test_four_bits_cut_short(tmp_path: Path) -> None:
    data = mrc(nibbles(SPECIMEN) * 3, 101, sections=3)
    (tmp_path / "a.mrc").write_bytes(data[:-1])
    with pytest.raises(FormatError, match="1 of 3 sections are missing"):
        open_movie(tmp_path / "a.mrc")


# ---- TIFF movies


@pytest.fixture
def counts(rng: np.random.Generator) -> np.ndarray:
    return rng.poisson(0.7, (8, 300, 410)).astype(np.uint8)


@pytest.mark.parametrize("compression", ["lzw", "zstd", "deflate", "none"])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "float32"])
def test_movies_of_ours_are_read_by_tifffile_and_by_us(
    tmp_path: Path, counts: np.ndarray, compression: str, dtype: str
) -> None:
    path = tmp_path / "a.tif"
    write_movie_tiff(path, iter(counts), counts.shape, 1.35, compression=compression, dtype=dtype, title="r/f 3")  # type: ignore[arg-type]
    theirs = tifffile.imread(path, key=slice(None))
    assert theirs.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(theirs, counts[:, ::-1])
    with tifffile.TiffFile(path) as file:
        assert file.pages.first.description == "r/f 3"
        assert int(file.pages.first.compression) == {"lzw": 5, "zstd": 50000, "deflate": 8, "none": 1}[compression]
    movie = open_movie(path)
    assert movie.pixel_size_ang == pytest.approx(1.35, rel=1e-5)
    with ThreadPoolExecutor(4) as pool:
        frames = list(pool.map(movie.frame, range(8)))
    assert frames[0].dtype == np.dtype(dtype)
    np.testing.assert_array_equal(frames, counts)


def test_the_same_frames_give_the_same_bytes(tmp_path: Path, counts: np.ndarray) -> None:
    for name in ("a.tif", "b.tif"):
        write_movie_tiff(tmp_path / name, counts, counts.shape, 2.0)
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


@pytest.mark.parametrize(
    "layout", [{"tile": (64, 64)}, {"predictor": True}, {"rowsperstrip": 1}, {"rowsperstrip": 300}, {"bigtiff": True}]
)
def test_other_layouts_of_pages(tmp_path: Path, counts: np.ndarray, layout: dict[str, object]) -> None:
    big = {"bigtiff": layout.pop("bigtiff")} if "bigtiff" in layout else {}
    with tifffile.TiffWriter(tmp_path / "a.tif", **big) as file:  # type: ignore[arg-type]
        for page in counts:
            file.write(page, contiguous=False, compression="lzw", photometric="minisblack", **layout)  # type: ignore[arg-type]
    movie = open_movie(tmp_path / "a.tif")
    with ThreadPoolExecutor(4) as pool:
        np.testing.assert_array_equal(list(pool.map(movie.frame, range(8))), counts[:, ::-1])


@pytest.mark.parametrize("contiguous", [False, True])
def test_a_movie_cut_in_the_middle_names_file_and_frame(tmp_path: Path, counts: np.ndarray, contiguous: bool) -> None:
    path = tmp_path / "a.tif"
    if contiguous:
        tifffile.imwrite(path, counts, photometric="minisblack")  # directories first, then all pixels
    else:
        write_movie_tiff(path, counts, counts.shape, 1.0)  # each directory behind its pixels
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    with pytest.raises(FormatError, match=r"a\.tif: the file ends early: page"):
        open_movie(path)


def test_a_damaged_strip_names_file_and_frame(tmp_path: Path, counts: np.ndarray) -> None:
    path = tmp_path / "a.tif"
    for compression in ("lzw", "zstd", "deflate"):
        write_movie_tiff(path, counts, counts.shape, 1.0, compression=compression)  # type: ignore[arg-type]
        with tifffile.TiffFile(path) as file:
            offset, size = file.pages[4].dataoffsets[0], file.pages[4].databytecounts[0]
        data = bytearray(path.read_bytes())
        data[offset : offset + size] = bytes(size)
        path.write_bytes(data)
        movie = open_movie(path)
        np.testing.assert_array_equal(movie.frame(3), counts[3])
        with pytest.raises(FormatError, match=r"a\.tif: page 5 of 8"):
            movie.frame(4)


def test_what_is_no_movie(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="No such file"):
        open_movie(tmp_path / "absent.tif")
    (tmp_path / "a.tif").write_bytes(b"II*\0" + b"\xff" * 4)
    with pytest.raises(FormatError, match="ends early"):
        open_movie(tmp_path / "a.tif")
    (tmp_path / "a.tif").write_bytes(b"")
    with pytest.raises(FormatError, match="is empty"):
        open_movie(tmp_path / "a.tif")
    data = bytearray(tiff("<", False, "u1"))
    data[-4:] = data[4:8]  # the next directory is the first one
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(FormatError, match="circle"):
        open_movie(tmp_path / "a.tif")
    (tmp_path / "a.tif").write_bytes(tiff("<", False, "u1"))
    with pytest.raises(ImageError, match="2 of 1"):
        open_movie(tmp_path / "a.tif").frame(1)
    (tmp_path / "a.mrc").write_bytes(FILES["mrc of bytes"]())
    with pytest.raises(ImageError, match="2 of 1"):
        open_movie(tmp_path / "a.mrc").frame(1)


def test_a_closed_movie_is_not_read(tmp_path: Path) -> None:
    for name in ("tiff", "eer"):
        (tmp_path / "a").write_bytes(FILES[name]())
        file = open_eer(tmp_path / "a") if name == "eer" else open_tiff(tmp_path / "a")
        with file:
            np.testing.assert_array_equal(file.frame(0), SPECIMEN)
        with pytest.raises(ValueError, match="closed"):
            file.frame(0)


def test_a_tag_that_points_beyond_the_end_is_named(tmp_path: Path) -> None:
    data = bytearray(tiff("<", False, "u1"))
    place = data.index(struct.pack("<HHI", 259, 3, 1))
    struct.pack_into("<II", data, place + 4, 3, 10**6)  # three kinds of compression, far away
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(FormatError, match="page 1 lacks the values of its tag 259"):
        open_movie(tmp_path / "a.tif")


def test_frames_that_cannot_be_written_leave_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    for dtype, value in (("uint8", 256.0), ("uint8", 0.5), ("int8", -129), ("uint8", np.nan), ("float32", np.inf)):
        with pytest.raises(PostconditionError, match="frame 1 holds"):
            write_movie_tiff(path, [np.full((2, 2), value)], (1, 2, 2), 1.0, dtype=dtype)
    with pytest.raises(PostconditionError, match="1 of 2"):
        write_movie_tiff(path, [np.zeros((2, 2))], (2, 2, 2), 1.0)
    with pytest.raises(PostconditionError, match="frame 1 has"):
        write_movie_tiff(path, [np.zeros((3, 2))], (1, 2, 2), 1.0)
    for wrong in ({"compression": "jpeg"}, {"dtype": "float64"}, {"pixel_size_ang": 0.0}):
        with pytest.raises(InputError):
            write_movie_tiff(path, [np.zeros((2, 2))], (1, 2, 2), **({"pixel_size_ang": 1.0} | wrong))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_unsigned_bytes_of_mrc_are_stamped(tmp_path: Path) -> None:
    truth = np.array([[[0, 100, 200, 255]]], np.uint8)
    with MrcWriter(tmp_path / "a.mrcs", truth.shape, 2.0, "uint8") as write:
        write(0, 0, 0, truth)
    data = (tmp_path / "a.mrcs").read_bytes()
    assert struct.unpack_from("<i", data, 12) == (0,)
    assert struct.unpack_from("<2i", data, 152) == (1146047817, 0)
    frame = open_movie(tmp_path / "a.mrcs").frame(0)
    assert frame.dtype == np.uint8
    np.testing.assert_array_equal(frame, truth[0])
