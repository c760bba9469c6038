"""Frames of movies: EER events per second and core beside imagecodecs and tifffile, and camera TIFFs.

EER rows are in seconds of one processor, so that other work on the machine counts little; the file's bytes are in the
system's cache, as after a first read.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile

from benchmarks.machine import best_of, machine_name, peak_mib
from lamella.formats.eer import open_eer
from lamella.formats.eer_write import write_eer
from lamella.formats.movies import MovieFile, open_movie
from lamella.formats.tiff_movie import write_movie_tiff

SHAPE = (4096, 4096)
# bits of a run, electrons per pixel and raw frame, raw frames: a Falcon 4 at about 2.5, 5 and 10 e/px/s
MOVIES = ((7, 0.01, 100), (7, 0.02, 50), (7, 0.04, 25), (8, 0.01, 100))
RUNS = 5


def main() -> None:
    """Print the tables."""
    print(machine_name())
    with tempfile.TemporaryDirectory(dir=os.environ.get("LAMELLA_BENCH_FOLDER")) as name:
        folder = Path(name)
        for code, rate, frames in MOVIES:
            _eer(folder / "a.eer", code, rate, frames)
        _tiff(folder)
    print(f"peak memory {peak_mib():.0f} MiB")


def _busy(work: Callable[[], object], runs: int) -> float:
    """Least time of some runs that this thread was at work, seconds."""
    times = []
    for _ in range(runs):
        start = time.thread_time()
        work()
        times.append(time.thread_time() - start)
    return min(times)


def _events(rng: np.random.Generator, rate: float, frames: int) -> Iterator[np.ndarray]:
    """Raw frames of events on the grid of quarter pixels."""
    total = SHAPE[0] * SHAPE[1]
    for _ in range(frames):
        pixels = np.unique(rng.integers(0, total, int(total * rate)))
        y, x = np.divmod(pixels, SHAPE[1])
        quarters = rng.integers(0, 4, (2, len(pixels)))
        yield (4 * y + quarters[0]) * 4 * SHAPE[1] + 4 * x + quarters[1]


def _eer(path: Path, code: int, rate: float, frames: int) -> None:
    events = list(_events(np.random.default_rng(1), rate, frames))
    count = sum(map(len, events))
    writing = _busy(lambda: write_eer(path, iter(events), SHAPE, code=code), 1)  # type: ignore[arg-type]
    movie = open_eer(path)
    strips = [movie.stream(number) for number in range(frames)]
    size = sum(map(len, strips))
    what = f"{frames} raw frames of 4096² at {rate} e/px, {code} + 2 + 2 bits"
    print(f"\n{what}: {count / 1e6:.1f} M events, {size / 1e6:.0f} MB")
    print(f"{'':<64} {'M events/s':>10} {'MB/s':>6} {'ms/frame':>9}")

    def row(what: str, seconds: float, done: int = frames) -> None:
        share = done / frames
        print(
            f"{what:<64} {count * share / seconds / 1e6:10.0f} {size * share / seconds / 1e6:6.0f} "
            f"{seconds / done * 1e3:9.2f}",
            flush=True,
        )

    for upsampling in (1, 2):
        for per_fraction in (10, frames):
            ours = open_eer(path, frames=per_fraction, upsampling=upsampling)
            what = f"lamella, read + decode + sum, {len(ours)} fraction(s), upsampling {upsampling}"
            row(what, _busy(lambda: _read(ours), RUNS))  # noqa: B023
    some = strips[:20]
    row("imagecodecs, decode alone, into one array", _busy(lambda: _imagecodecs_into(some, code), 3), len(some))
    row("imagecodecs, decode + numpy sum", _busy(lambda: _imagecodecs(some, code, 0), 3), len(some))
    few = strips[:4]
    row("imagecodecs, decode + numpy sum, upsampling 2", _busy(lambda: _imagecodecs(few, code, 1), 2), len(few))
    row("tifffile, page by page + numpy sum", _busy(lambda: _tifffile(path, len(some)), 2), len(some))
    row("lamella, coding and writing", writing)


def _read(movie: MovieFile) -> None:
    for index in range(len(movie)):
        movie.frame(index)


def _imagecodecs_into(strips: list[bytes], code: int) -> None:
    out = np.zeros(SHAPE, np.uint8)
    for strip in strips:
        imagecodecs.eer_decode(strip, SHAPE, code, 2, 2, out=out)


def _imagecodecs(strips: list[bytes], code: int, superres: int) -> None:
    shape = (SHAPE[0] << superres, SHAPE[1] << superres)
    out = np.zeros(shape, np.uint8)
    for strip in strips:
        out += imagecodecs.eer_decode(strip, shape, code, 2, 2, superres=superres)


def _tifffile(path: Path, frames: int) -> None:
    out = np.zeros(SHAPE, np.uint8)
    with tifffile.TiffFile(path) as file:
        for index in range(frames):
            out += file.pages[index].asarray()


def _tiff(folder: Path) -> None:
    frames = np.random.default_rng(1).poisson(0.7, (8, *SHAPE)).astype(np.uint8)
    what = "TIFF, 8 × 4096² bytes at 0.7 e/px: s by the clock to read all"
    print(f"\n{what:<64} {'lamella':>8} {'2 threads':>9} {'tifffile':>8}")
    for compression in ("lzw", "zstd", "deflate", "none"):
        path = folder / f"{compression}.tif"
        write_movie_tiff(path, frames, frames.shape, 1.0, compression=compression)  # type: ignore[arg-type]
        movie = open_movie(path)
        alone = best_of(lambda: _read(movie), 3)  # noqa: B023
        with ThreadPoolExecutor(2) as pool:
            together = best_of(lambda: list(pool.map(movie.frame, range(8))), 3)  # noqa: B023
        theirs = best_of(lambda: tifffile.imread(path, key=slice(None), maxworkers=1), 2)  # noqa: B023
        print(f"{compression:<64} {alone:8.2f} {together:9.2f} {theirs:8.2f}", flush=True)


if __name__ == "__main__":
    main()
