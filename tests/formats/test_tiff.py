"""TIFF stacks written by tifffile or byte by byte, read; ours read by tifffile."""

from __future__ import annotations

import pickle
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from lamella.errors import FormatError, ImageError, InputError, PostconditionError
from lamella.formats.tiff import open_tiff, write_tiff


def handmade(rows: np.ndarray, order: str = "<") -> bytes:
    """A TIFF of one page of bytes, the plainest the standard allows; row 0 is the top."""
    height, width = rows.shape
    entries = [(256, 3, width), (257, 3, height), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8)]
    entries += [(277, 3, 1), (278, 3, height), (279, 4, rows.size)]
    data = rows.astype(np.uint8).tobytes().ljust((rows.size + 1) // 2 * 2, b"\0")
    ifd = struct.pack(order + "H", len(entries))
    for tag, kind, value in entries:
        packed = struct.pack(order + ("HH" if kind == 3 else "I"), *((value, 0) if kind == 3 else (value,)))
        ifd += struct.pack(order + "HHI", tag, kind, 1) + packed
    start = {"<": b"II*\0", ">": b"MM\0*"}[order]
    return start + struct.pack(order + "I", 8 + len(data)) + data + ifd + bytes(4)


@pytest.mark.parametrize("order", ["<", ">"])
def test_row_0_of_the_file_is_the_top_row_of_the_image(tmp_path: Path, order: str) -> None:
    rows = np.array([[1, 2, 3], [4, 5, 6]])
    (tmp_path / "a.tif").write_bytes(handmade(rows, order))
    file = open_tiff(tmp_path / "a.tif")
    assert file.shape == (1, 2, 3)
    np.testing.assert_array_equal(file.view(0), rows[::-1])
    assert file.view(0).dtype == np.float32


@pytest.mark.parametrize("compression", [None, "lzw", "adobe_deflate", "zstd"])
@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "float32", "float64"]
)
def test_compressions_and_types(tmp_path: Path, rng: np.random.Generator, compression: str | None, dtype: str) -> None:
    truth = rng.integers(0, 100, (3, 9, 7)).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", truth, compression=compression, photometric="minisblack")
    np.testing.assert_array_equal(np.stack([open_tiff(tmp_path / "a.tif").view(i) for i in range(3)]), truth[:, ::-1])


@given(shape=st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 6)), data=st.data(), big=st.booleans())
def test_blocks(
    tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, int, int], data: st.DataObject, big: bool
) -> None:
    truth = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    path = tmp_path_factory.mktemp("t") / "a.tif"
    with tifffile.TiffWriter(path, bigtiff=big) as file:
        for page in truth:  # frame by frame: a series per page
            file.write(page, contiguous=False)
    part = tuple(slice(*sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n))))) for n in shape)
    opened = open_tiff(path)
    assert opened.shape == shape
    np.testing.assert_array_equal(opened.block(*part), truth[:, ::-1][part])


def test_imagej_stacks_of_one_page(tmp_path: Path) -> None:
    truth = np.arange(4 * 5 * 6, dtype=np.uint16).reshape(4, 5, 6)
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, truth, imagej=True, resolution=(1 / 0.135, 1 / 0.135), metadata={"unit": "nm", "axes": "ZYX"}
    )
    file = open_tiff(path)
    np.testing.assert_array_equal(file.block(slice(None), slice(None), slice(None)), truth[:, ::-1])
    assert file.pixel_size_ang == pytest.approx(1.35, rel=1e-4)
    tifffile.imwrite(path, truth, imagej=True)
    data = bytearray(path.read_bytes())
    struct.pack_into(">I" if data[:2] == b"MM" else "<I", data, _next_page(data), 0)  # ImageJ's files above 4 GB
    path.write_bytes(data)
    np.testing.assert_array_equal(open_tiff(path).view(3), truth[3, ::-1])
    path.write_bytes(data[: _last_pixel(path) - 40])
    with pytest.raises(FormatError):
        open_tiff(path).view(3)


def _next_page(data: bytearray) -> int:
    order = ">" if data[:2] == b"MM" else "<"
    first = struct.unpack_from(order + "I", data, 4)[0]
    return int(first + 2 + 12 * struct.unpack_from(order + "H", data, first)[0])


def _last_pixel(path: Path) -> int:
    with tifffile.TiffFile(path) as file:
        return int(file.pages.first.dataoffsets[0]) + 4 * 5 * 6 * 2


def test_pages_are_read_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((30, 256, 256), np.uint8), compression="zlib", photometric="minisblack")
    file = open_tiff(path)
    file.view(0)
    tracemalloc.start()
    file.view(20)
    assert tracemalloc.get_traced_memory()[1] < 12 * 256 * 256
    tracemalloc.stop()


def test_pixel_sizes(tmp_path: Path) -> None:
    page = np.zeros((4, 4), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", page, resolution=(1e8 / 2.5, 1e8 / 2.5), resolutionunit="CENTIMETER")
    assert open_tiff(tmp_path / "a.tif").pixel_size_ang == pytest.approx(2.5, rel=1e-5)
    tifffile.imwrite(tmp_path / "b.tif", page, resolution=(72, 72), resolutionunit="INCH")
    assert open_tiff(tmp_path / "b.tif").pixel_size_ang is None


def test_what_is_no_stack_of_grey_images_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(b"II*\0" + bytes(4))
    with pytest.raises(FormatError, match="no page"):
        open_tiff(path)
    path.write_bytes(b"not a TIFF file at all")
    with pytest.raises(FormatError, match="no TIFF"):
        open_tiff(path)
    with pytest.raises(FormatError, match="No such file"):
        open_tiff(tmp_path / "absent.tif")
    tifffile.imwrite(path, np.zeros((4, 4, 3), np.uint8), photometric="rgb")
    with pytest.raises(FormatError, match="no grey image"):
        open_tiff(path)
    with tifffile.TiffWriter(path) as file:
        file.write(np.zeros((4, 4), np.uint8))
        file.write(np.zeros((5, 4), np.uint8))
    with pytest.raises(FormatError, match="page 2 has"):
        open_tiff(path).view(1)
    with pytest.raises(ImageError, match="page 3 of 2"):
        open_tiff(path).view(2)


def test_a_truncated_file_names_the_page(tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(handmade(rng.integers(0, 255, (40, 40))))
    data = bytearray(path.read_bytes())
    offset = struct.unpack_from("<I", data, 4)[0] + 2 + 12 * 5 + 8  # the strip's offset: beyond the end
    struct.pack_into("<I", data, offset, len(data) - 10)
    path.write_bytes(data)
    with pytest.raises(FormatError, match="page 1"):
        open_tiff(path).view(0)


def test_an_opened_file_travels_to_other_processes(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.arange(12, dtype=np.uint8).reshape(3, 4))
    file = open_tiff(tmp_path / "a.tif")
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(file)).view(0), file.view(0))


@pytest.mark.parametrize("dtype", ["float32", "float16", "int16", "uint16", "int8", "uint8"])
def test_what_we_write_tifffile_reads(tmp_path: Path, dtype: str) -> None:
    truth = (np.arange(2 * 3 * 4, dtype=np.float32)).reshape(2, 3, 4)
    write_tiff(tmp_path / "a.tif", truth.shape, truth, 3.3, dtype)
    back = tifffile.imread(tmp_path / "a.tif", key=slice(None))
    assert back.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(back, truth[:, ::-1])
    assert open_tiff(tmp_path / "a.tif").pixel_size_ang == pytest.approx(3.3, rel=1e-5)


def test_bad_images_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    for dtype, value in (("uint8", 256.0), ("int8", -129.0), ("uint8", np.nan), ("float32", np.inf), ("float16", 1e6)):
        with pytest.raises(PostconditionError, match="image 1"):
            write_tiff(tmp_path / "a.tif", (1, 2, 2), [np.full((2, 2), value, np.float32)], 1.0, dtype)
    with pytest.raises(PostconditionError, match="1 of 2"):
        write_tiff(tmp_path / "a.tif", (2, 2, 2), [np.zeros((2, 2), np.float32)], 1.0)
    with pytest.raises(InputError):
        write_tiff(tmp_path / "a.tif", (1, 2, 2), [np.zeros((2, 2), np.float32)], 1.0, "complex64")
    assert list(tmp_path.iterdir()) == []


def test_real_tomograms(shared_data: Path) -> None:
    path = shared_data / "tomograms_real" / "cylindra_13pf_MT.tif"
    file = open_tiff(path)
    assert file.shape == (36, 206, 94)
    assert file.pixel_size_ang == pytest.approx(10.52, rel=1e-4)
    np.testing.assert_array_equal(file.view(10), tifffile.imread(path)[10, ::-1])
