"""EER files packed bit by bit here, read; ours read by imagecodecs and tifffile."""

from __future__ import annotations

import pickle
import struct
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from lamella.errors import FormatError, ImageError, InputError
from lamella.formats.eer import events_of, holds_events, open_eer
from lamella.formats.eer_codec import EventCode, count_events, decode_events, encode_events
from lamella.formats.eer_metadata import metadata_xml, read_metadata
from lamella.formats.eer_write import event_index, write_eer
from lamella.formats.movies import open_movie

SEVEN, EIGHT, STATED = 65001, 65000, 65002
XML = b'<metadata><item name="numberOfFrames">2</item></metadata>'


def stream(
    events: list[tuple[int, int]],
    shape: tuple[int, int],
    run_bits: int = 7,
    sub_bits: tuple[int, int] = (2, 2),
    *,
    wasteful: bool = False,
) -> bytes:
    """A raw frame's codes, as the format describes them, from events (x, y) in quarters, in raster order of pixels."""
    bits: list[int] = []

    def put(value: int, count: int) -> None:
        bits.extend(value >> place & 1 for place in range(count))  # least significant bit first

    full = 2**run_bits - 1
    here = 0
    for x, y in events:
        run = (y // 4) * shape[1] + x // 4 - here
        here += run + 1
        while run >= full:
            put(full, run_bits + (sum(sub_bits) if wasteful else 0))
            run -= full
        put(run, run_bits)
        for quarter, count in zip((x % 4, y % 4), sub_bits, strict=True):
            put((quarter >> (2 - count)) ^ (1 << count >> 1), count)  # RELION: XOR with 0x0A, of 1 + 1 bits with 0x3
    run = shape[0] * shape[1] - here
    while run > full:
        put(full, run_bits + (sum(sub_bits) if wasteful else 0))
        run -= full
    put(run, run_bits)
    bits += [0] * (-len(bits) % 16)
    return bytes(sum(bit << place for place, bit in enumerate(bits[i : i + 8])) for i in range(0, len(bits), 8))


def big_tiff(pages: list[tuple[bytes, dict[int, tuple[int, int | bytes]]]], order: str = "<") -> bytes:
    """A BigTIFF of pages of one strip each; extra tags number -> (kind, value)."""
    data = bytearray(struct.pack(order + "2sHHHQ", b"II" if order == "<" else b"MM", 43, 8, 0, 0))
    link = 8
    for strip, extra in pages:
        place = len(data)
        data += strip + bytes(len(strip) % 2)
        tags = {273: (16, place), 279: (16, len(strip))} | extra
        entries = b""
        for number in sorted(tags):
            kind, value = tags[number]
            if isinstance(value, bytes):
                field, count = struct.pack(order + "Q", len(data)), len(value)
                data += value
            else:
                field, count = struct.pack(order + {3: "H", 4: "I", 16: "Q"}[kind], value).ljust(8, b"\0"), 1
            entries += struct.pack(order + "HHQ", number, kind, count) + field
        struct.pack_into(order + "Q", data, link, len(data))
        data += struct.pack(order + "Q", len(tags)) + entries + bytes(8)
        link = len(data) - 8
    return bytes(data)


def eer_file(
    path: Path,
    streams: list[bytes],
    shape: tuple[int, int],
    compression: int = SEVEN,
    xml: bytes = XML,
    extra: dict[int, tuple[int, int | bytes]] | None = None,
    before: list[tuple[bytes, dict[int, tuple[int, int | bytes]]]] | None = None,
) -> Path:
    """An EER file of these raw frames, and the pages that come before them."""
    tags: dict[int, tuple[int, int | bytes]] = {256: (4, shape[1]), 257: (4, shape[0]), 259: (3, compression)}
    tags |= {262: (3, 1), 278: (4, shape[0])} | (extra or {})
    pages = (before or []) + [(strip, dict(tags)) for strip in streams]
    if xml:
        pages[0][1][65001] = (7, xml)
    path.write_bytes(big_tiff(pages))
    return path


def index(events: list[tuple[int, int]], shape: tuple[int, int]) -> np.ndarray:
    return np.array([y * 4 * shape[1] + x for x, y in events], np.int64)


def one_per_pixel(rng: np.random.Generator, shape: tuple[int, int], count: int) -> list[tuple[int, int]]:
    """Events in raster order of their pixels, in different ones."""
    pixels = np.sort(rng.choice(shape[0] * shape[1], count, replace=False))
    return [
        (int(pixel % shape[1] * 4 + rng.integers(4)), int(pixel // shape[1] * 4 + rng.integers(4))) for pixel in pixels
    ]


@st.composite
def frames(draw: st.DrawFn) -> tuple[tuple[int, int], list[tuple[int, int]]]:
    """A size, and events in raster order: none, few with long runs between them, or every pixel."""
    shape = draw(st.tuples(st.integers(1, 40), st.integers(1, 50)))
    total = shape[0] * shape[1]
    count = draw(st.one_of(st.just(0), st.just(total), st.integers(0, min(total, 12))))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return shape, one_per_pixel(rng, shape, count)


# ---- the code


def test_a_frame_coded_by_hand() -> None:
    # pixel 3 (run 3), x quarter 1 -> stored 3, y quarter 2 -> stored 0; then 16 − 4 = 12 empty pixels to the end
    # bits, first to last: 1100000 11 00 0011000 and 14 of padding to whole pairs of bytes
    events = np.array([2 * 32 + 3 * 4 + 1])
    expected = bytes([0b10000011, 0b01100001, 0, 0])
    strip, merged = encode_events(events, EventCode(7), (2, 8))
    assert strip == stream([(13, 2)], (2, 8))
    assert (strip, merged) == (expected, 0)
    decoded = decode_events(expected, EventCode(7), (2, 8))
    assert decoded is not None
    assert decoded.tolist() == events.tolist()


@given(frame=frames(), run_bits=st.sampled_from([7, 8]), shuffle=st.randoms(use_true_random=False))
def test_what_is_coded_is_what_the_description_says(
    frame: tuple[tuple[int, int], list[tuple[int, int]]], run_bits: int, shuffle: object
) -> None:
    shape, events = frame
    mixed = list(events)
    shuffle.shuffle(mixed)  # type: ignore[attr-defined]
    code = EventCode(run_bits)
    strip, merged = encode_events(index(mixed, shape), code, shape)
    assert strip == stream(events, shape, run_bits)
    assert merged == 0
    assert len(strip) % 2 == 0
    decoded = decode_events(strip, code, shape)
    assert decoded is not None
    assert decoded.tolist() == index(events, shape).tolist()


@given(frame=frames(), run_bits=st.sampled_from([7, 8]))
def test_imagecodecs_reads_what_is_coded(frame: tuple[tuple[int, int], list[tuple[int, int]]], run_bits: int) -> None:
    shape, events = frame
    strip, _ = encode_events(index(events, shape), EventCode(run_bits), shape)
    quarters = imagecodecs.eer_decode(strip, (shape[0] * 4, shape[1] * 4), run_bits, 2, 2, superres=2)
    np.testing.assert_array_equal(np.flatnonzero(quarters), np.sort(index(events, shape)))


@given(
    frame=frames(),
    sub_bits=st.sampled_from([(2, 2), (1, 1), (2, 1)]),
    run_bits=st.integers(7, 10),
    copies=st.integers(1, 3),
)
def test_counts_are_those_of_imagecodecs(
    frame: tuple[tuple[int, int], list[tuple[int, int]]], sub_bits: tuple[int, int], run_bits: int, copies: int
) -> None:
    shape, events = frame
    strip = stream(events, shape, run_bits, sub_bits)
    code = EventCode(run_bits, *sub_bits)
    theirs = imagecodecs.eer_decode(strip, shape, run_bits, *sub_bits)
    for upsampling, truth in ((1, theirs.astype(int)), (2, picture(events, shape, 2))):
        for dtype in (np.uint8, np.uint16):
            counts = np.zeros(truth.shape, dtype)
            assert count_events([strip] * copies, code, shape, upsampling, counts).all()
            np.testing.assert_array_equal(counts, truth * copies)


def test_dense_and_sparse_frames_of_a_real_size_agree_with_imagecodecs(rng: np.random.Generator) -> None:
    shape = (512, 778)
    strips = []
    for rate in (0.0, 0.001, 0.02, 0.4, 1.0):
        pixels = np.flatnonzero(rng.random(shape[0] * shape[1]) < rate)
        y, x = np.divmod(pixels, shape[1])
        quarters = rng.integers(0, 4, (2, len(pixels)))
        strips.append(encode_events((4 * y + quarters[0]) * 4 * shape[1] + 4 * x + quarters[1], EventCode(7), shape)[0])
    for upsampling in (1, 2):
        size = (shape[0] * upsampling, shape[1] * upsampling)
        counts = np.zeros(size, np.uint8)
        assert count_events(strips, EventCode(7), shape, upsampling, counts).all()
        theirs = sum(imagecodecs.eer_decode(s, size, 7, 2, 2, superres=upsampling - 1).astype(int) for s in strips)
        np.testing.assert_array_equal(counts, theirs)


def test_several_events_in_a_pixel_become_one() -> None:
    shape = (4, 4)
    events = index([(5, 6), (6, 6), (4, 4), (0, 0)], shape)
    strip, merged = encode_events(events, EventCode(7), shape)
    assert merged == 2
    decoded = decode_events(strip, EventCode(7), shape)
    assert decoded is not None
    assert decoded.tolist() == index([(0, 0), (4, 4)], shape).tolist()


def test_a_stream_that_does_not_end_with_its_frame_is_found() -> None:
    shape = (30, 40)
    strip = stream([(4 * x, 4 * x) for x in range(30)], shape)
    counts = np.zeros(shape, np.uint8)
    for bad in (strip[:-4], strip[:2] + b"\xff" * len(strip), b""):
        assert decode_events(bad, EventCode(7), shape) is None
        assert count_events([strip, bad], EventCode(7), shape, 1, counts).tolist() == [True, False]


@given(noise=st.binary(max_size=400), height=st.integers(1, 30), width=st.integers(1, 30), run_bits=st.integers(4, 16))
def test_any_bytes_are_read_without_harm(noise: bytes, height: int, width: int, run_bits: int) -> None:
    shape = (height, width)
    for upsampling in (1, 2):
        guarded = np.zeros(height * width * upsampling**2 + 64, np.uint8)
        counts = guarded[:-64].reshape(height * upsampling, width * upsampling)
        count_events([noise, noise[::-1]], EventCode(run_bits), shape, upsampling, counts)
        assert not guarded[-64:].any()
    events = decode_events(noise, EventCode(run_bits), shape)
    assert events is None or len(events) == 0 or (events.min() >= 0 and events.max() < 16 * height * width)


# ---- files


SHAPE = (12, 18)
FIRST = [(5, 2), (17, 2), (3, 20), (71, 47)]
SECOND = [(0, 0), (17, 2), (40, 41)]


def picture(events: list[tuple[int, int]], shape: tuple[int, int] = SHAPE, upsampling: int = 1) -> np.ndarray:
    counts = np.zeros((shape[0] * upsampling, shape[1] * upsampling), int)
    for x, y in events:
        counts[y * upsampling // 4, x * upsampling // 4] += 1
    return counts


@pytest.mark.parametrize("compression", [SEVEN, EIGHT])
def test_rows_and_columns_stay_in_the_order_of_the_file(tmp_path: Path, compression: int) -> None:
    run_bits = 7 if compression == SEVEN else 8
    streams = [stream(events, SHAPE, run_bits) for events in (FIRST, SECOND)]
    path = eer_file(tmp_path / "a.eer", streams, SHAPE, compression)
    movie = open_movie(path)
    assert (movie.kind, movie.shape, movie.raw_frames, len(movie)) == ("eer", (2, *SHAPE), 2, 2)
    assert movie.frame(0).dtype == np.uint8
    for number, events in enumerate((FIRST, SECOND)):
        np.testing.assert_array_equal(movie.frame(number), picture(events))
        assert events_of(path, number).tolist() == index(events, SHAPE).tolist()
    fine = open_movie(path, eer_frames=2, eer_upsampling=2)
    assert fine.shape == (1, 24, 36)
    np.testing.assert_array_equal(fine.frame(0), picture(FIRST + SECOND, upsampling=2))


def test_a_code_that_tags_state(tmp_path: Path) -> None:
    extra: dict[int, tuple[int, int | bytes]] = {65007: (3, 9), 65008: (3, 1), 65009: (3, 1)}
    path = eer_file(tmp_path / "a.eer", [stream(FIRST, SHAPE, 9, (1, 1))], SHAPE, STATED, extra=extra)
    np.testing.assert_array_equal(open_movie(path, eer_upsampling=2).frame(0), picture(FIRST, upsampling=2))
    extra[65007] = (3, 20)
    with pytest.raises(FormatError, match="20 \\+ 1 \\+ 1 bits"):
        open_movie(eer_file(tmp_path / "b.eer", [b"\0\0"], SHAPE, STATED, extra=extra))


def test_both_ways_of_8_bit_files(tmp_path: Path) -> None:
    shape = (40, 50)  # longer than the longest run
    events = [(4, 4), (100, 60), (101, 140)]
    for wasteful in (False, True):
        path = eer_file(tmp_path / f"{wasteful}.eer", [stream(events, shape, 8, wasteful=wasteful)] * 2, shape, EIGHT)
        np.testing.assert_array_equal(open_movie(path, eer_frames=2).frame(0), 2 * picture(events, shape))
        assert events_of(path, 1).tolist() == index(events, shape).tolist()


@given(raw=st.integers(1, 40), per_fraction=st.integers(1, 50))
def test_fractions_lose_no_frame(tmp_path_factory: pytest.TempPathFactory, raw: int, per_fraction: int) -> None:
    folder = tmp_path_factory.mktemp("eer")
    shape = (1, 64)
    path = eer_file(folder / "a.eer", [stream([(4 * n, 0)], shape) for n in range(raw)], shape, xml=b"")
    with open_eer(path, frames=per_fraction) as movie:
        sizes = movie.raw_per_frame
        assert len(movie) == len(sizes) == max(1, round(raw / per_fraction))
        assert sum(sizes) == raw
        assert max(sizes) - min(sizes) <= 1
        stacked = np.stack([movie.frame(number) for number in range(len(movie))])
        np.testing.assert_array_equal(stacked.sum(axis=(1, 2)), sizes)
        np.testing.assert_array_equal(np.sort(stacked.argmax(axis=0)[0, :raw]), stacked.argmax(axis=0)[0, :raw])


def test_counts_beyond_255_take_16_bits(tmp_path: Path) -> None:
    path = eer_file(tmp_path / "a.eer", [stream([(5, 6)], (4, 4))] * 300, (4, 4), xml=b"")
    counts = open_movie(path, eer_frames=300).frame(0)
    assert counts.dtype == np.uint16
    assert counts[1, 1] == counts.sum() == 300
    assert open_movie(path, eer_frames=150).frame(0).dtype == np.uint8


def test_pictures_of_the_sum_are_left_out_aloud(tmp_path: Path) -> None:
    sum_tags: dict[int, tuple[int, int | bytes]] = {256: (4, 18), 257: (4, 12), 258: (3, 8), 259: (3, 1), 262: (3, 1)}
    before = [(bytes(12 * 18), sum_tags | {278: (4, 12)})]
    path = eer_file(tmp_path / "a.eer", [stream(FIRST, SHAPE)], SHAPE, before=before)
    movie = open_eer(path)
    assert len(movie) == 1
    assert [note.kind for note in movie.notes] == ["dropped", "warning"]  # and the metadata speak of 2 frames
    np.testing.assert_array_equal(movie.frame(0), picture(FIRST))


def test_threads_and_processes_may_share_a_movie(tmp_path: Path, rng: np.random.Generator) -> None:
    events = [one_per_pixel(rng, SHAPE, 30) for _ in range(12)]
    path = eer_file(tmp_path / "a.eer", [stream(one, SHAPE) for one in events], SHAPE)
    movie = pickle.loads(pickle.dumps(open_movie(path, eer_frames=2)))
    with ThreadPoolExecutor(4) as pool:
        counts = list(pool.map(movie.frame, range(6)))
    for number, frame in enumerate(counts):
        np.testing.assert_array_equal(frame, picture(events[2 * number] + events[2 * number + 1]))


# ---- bad files


def test_a_plain_tiff_of_that_name_is_said_to_be_one(tmp_path: Path) -> None:
    path = tmp_path / "a.eer"
    tifffile.imwrite(path, np.zeros((3, 8, 8), np.uint8), photometric="minisblack")
    with pytest.raises(FormatError, match=r"plain TIFF file that is named \.eer.*\.tif"):
        open_movie(path)
    assert not holds_events(path)


def test_an_eer_file_of_another_name_is_known_by_its_pages(tmp_path: Path) -> None:
    path = eer_file(tmp_path / "a.tif", [stream(FIRST, SHAPE)], SHAPE)
    assert open_movie(path).kind == "eer"


def test_a_file_without_its_end_is_refused(tmp_path: Path) -> None:
    data = eer_file(tmp_path / "a.eer", [stream(FIRST, SHAPE)] * 5, SHAPE).read_bytes()
    (tmp_path / "b.eer").write_bytes(data[: len(data) // 2])
    with pytest.raises(FormatError, match="ends early: page 3 and what follows it are missing"):
        open_movie(tmp_path / "b.eer")
    write_eer(tmp_path / "c.eer", [index(FIRST, SHAPE)] * 5, SHAPE)
    data = (tmp_path / "c.eer").read_bytes()
    (tmp_path / "c.eer").write_bytes(data[: len(data) - 500])
    with pytest.raises(FormatError, match="ends early"):
        open_movie(tmp_path / "c.eer")


def test_a_damaged_frame_is_named(tmp_path: Path) -> None:
    good = stream(FIRST, SHAPE)
    path = eer_file(tmp_path / "a.eer", [good, good, b"\xff" * len(good), good], SHAPE)
    movie = open_movie(path, eer_frames=2)
    np.testing.assert_array_equal(movie.frame(0), 2 * picture(FIRST))
    with pytest.raises(FormatError, match="raw frame 3 of 4 is damaged"):
        movie.frame(1)
    with pytest.raises(FormatError, match="raw frame 3 of 4"):
        events_of(path, 2)


def test_what_cannot_be_asked_for(tmp_path: Path) -> None:
    path = eer_file(tmp_path / "a.eer", [stream(FIRST, SHAPE)] * 2, SHAPE)
    for frames_per_fraction in (0, -1):
        with pytest.raises(InputError, match="1 or more"):
            open_movie(path, eer_frames=frames_per_fraction)
    with pytest.raises(InputError, match="choose 1 or 2"):
        open_movie(path, eer_upsampling=3)
    with pytest.raises(ImageError, match="fraction 3 of 2"):
        open_movie(path).frame(2)
    with pytest.raises(ImageError, match="raw frame 3 of 2"):
        events_of(path, 2)
    with pytest.raises(FormatError, match="No such file"):
        open_movie(tmp_path / "absent.eer")


def test_pages_of_different_sizes_are_refused(tmp_path: Path) -> None:
    tags: dict[int, tuple[int, int | bytes]] = {256: (4, 18), 257: (4, 11), 259: (3, SEVEN), 278: (4, 11)}
    path = eer_file(tmp_path / "a.eer", [stream(FIRST, SHAPE)], SHAPE, before=[(stream([], (11, 18)), tags)])
    with pytest.raises(FormatError, match="pages 1 and 2 differ"):
        open_movie(path)


# ---- metadata


def test_metadata_of_a_camera() -> None:
    raw = (
        b'<metadata><item name="numberOfFrames">1148</item><item name="totalDose" unit="e/pixel">41.2</item>'
        b'<item name="exposureTime" unit="s">4.63</item><item name="sensorPixelSize.width" unit="m">7.06e-11</item>'
        b'<item name="EerGainReference">2030_EER_GainReference.gain</item><item name="empty"/></metadata>\0'
    )
    said = read_metadata(Path("a.eer"), raw)
    assert (said.frames, said.dose_per_px, said.exposure_s) == (1148, 41.2, 4.63)
    assert said.pixel_size_ang == pytest.approx(0.706)
    assert said.gain == "2030_EER_GainReference.gain"
    assert said.notes == ()


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b'<!DOCTYPE a [<!ENTITY b "c">]><metadata><item name="totalDose">&b;</item></metadata>', "not the XML"),
        (b'<metadata><!ENTITY b "c"></metadata>', "not the XML"),
        (b"<metadata><item", "cannot be read"),
        (b"<metadata>\xff</metadata>", "cannot be read"),
        (b"<metadata>" + b"a" * 2**20 + b"</metadata>", "bytes"),
        (b"hello", "not the XML"),
    ],
)
def test_hostile_and_broken_metadata_are_left_out_aloud(raw: bytes, words: str) -> None:
    said = read_metadata(Path("a.eer"), raw)
    assert (said.frames, said.gain, dict(said.items)) == (None, None, {})
    assert [words in note.text for note in said.notes] == [True]


def test_a_sensor_pitch_is_no_pixel_size() -> None:
    said = read_metadata(Path("a"), metadata_xml({"sensorPixelSize.width": ("14e-6", "m"), "totalDose": ("nan", "")}))
    assert (said.pixel_size_ang, said.dose_per_px) == (None, None)
    assert len(said.notes) == 1


# ---- writing


@pytest.mark.parametrize("code", [7, 8])
def test_what_we_write_tifffile_and_we_read(tmp_path: Path, rng: np.random.Generator, code: int) -> None:
    shape = (64, 96)
    events = [index(one_per_pixel(rng, shape, count), shape) for count in (40, 0, 300, 1)]
    path = tmp_path / "a.eer"
    merged = write_eer(
        path,
        iter(events),
        shape,
        code=code,
        pixel_size_ang=1.35,
        exposure_s=2.0,
        gain="x.gain",  # type: ignore[arg-type]
    )
    assert merged == 0
    for number, one in enumerate(events):
        assert events_of(path, number).tolist() == one.tolist()
    with tifffile.TiffFile(path) as file:
        assert file.is_eer
        assert file.is_bigtiff
        assert file.pages[0].tags[65001].value.startswith(b"<metadata>")
        theirs = np.stack([page.asarray() for page in file.pages])
    movie = open_eer(path)
    np.testing.assert_array_equal(np.stack([movie.frame(n) for n in range(4)]), theirs)
    assert movie.pixel_size_ang == pytest.approx(1.35)
    assert open_eer(path, upsampling=2).pixel_size_ang == pytest.approx(0.675)
    assert (movie.gain, movie.metadata.exposure_s, movie.metadata.frames) == ("x.gain", 2.0, 4)
    assert movie.metadata.dose_per_px == pytest.approx(341 / (64 * 96), rel=1e-5)
    assert movie.notes == ()


def test_bad_frames_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.eer"
    with pytest.raises(InputError, match="raw frame 2: an event outside"):
        write_eer(path, [np.array([0]), np.array([16 * 16])], (4, 4))
    with pytest.raises(InputError, match="without a frame"):
        write_eer(path, [], (4, 4))
    with pytest.raises(InputError, match="7 or 8"):
        write_eer(path, [np.array([0])], (4, 4), code=9)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="4 × 0"):
        write_eer(path, [np.array([0])], (0, 4))
    assert list(tmp_path.iterdir()) == []


def test_electrons_fall_on_quarters_of_pixels() -> None:
    places = [(0.0, 0.0), (-0.5, -0.5), (2.49, 0.74), (-0.51, 0.0), (0.0, 1.5)]
    assert event_index(places, (2, 3)).tolist() == [2 * 12 + 2, 0, 4 * 12 + 11]


@pytest.mark.program("relion_convert_to_tiff")
@pytest.mark.parametrize("upsampling", [1, 2])
def test_relion_sees_what_we_see(tmp_path: Path, rng: np.random.Generator, upsampling: int) -> None:
    shape = (4096, 4096)  # the only size that RELION reads
    places = [rng.uniform(-0.5, 4095.5, (40_000, 2)) * (1, 0.5) for _ in range(4)]  # the lower half, in MRC's order
    write_eer(tmp_path / "a.eer", [event_index(xy, shape) for xy in places], shape)
    command = ["relion_convert_to_tiff", "--i", "a.eer", "--o", "out/", "--eer_grouping", "2", "--compression", "lzw"]
    command += ["--eer_upsampling", str(upsampling), "--ignore_error"]
    (tmp_path / "out").mkdir()
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    ours, theirs = open_movie(tmp_path / "a.eer", eer_frames=2, eer_upsampling=upsampling), tmp_path / "out" / "a.tif"
    relions = open_movie(theirs)
    assert relions.shape == ours.shape
    for number in range(2):
        np.testing.assert_array_equal(relions.frame(number), ours.frame(number))
    assert not ours.frame(0)[2049 * upsampling :].any()
