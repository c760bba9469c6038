"""Reading and writing of stacks and volumes, beside mrcfile and a plain copy of the same bytes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import tracemalloc
from pathlib import Path

import mrcfile
import numpy as np
import tifffile

from benchmarks.machine import best_of, machine_name
from lamella.formats.mrc import MrcWriter, open_mrc
from lamella.formats.tiff import open_tiff

SHAPE = (300, 1024, 1024)  # z, y, x: 1.26 GB of float32
SLAB = 32  # rows: how a reconstruction hands its volume over


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("LAMELLA_BENCH_FOLDER")) as name:
        folder = Path(name)
        volume = np.random.default_rng(1).standard_normal(SHAPE, dtype=np.float32)
        print(machine_name())
        print(f"{'what':<52} {'s':>7} {'GB/s':>7}")
        plain = _row(
            "the bytes alone, one write, no statistics", lambda: _plain(folder / "plain", volume), volume.nbytes
        )
        ours = _row(f"MrcWriter, slabs of {SLAB} rows", lambda: _slabs(folder / "a.mrc", volume), volume.nbytes)
        _row("MrcWriter, section by section", lambda: _sections(folder / "b.mrc", volume), volume.nbytes)
        _row(
            "MrcWriter, float16, section by section",
            lambda: _sections(folder / "h.mrc", volume, "float16"),
            volume.nbytes,
        )
        _row("mrcfile.write", lambda: mrcfile.write(folder / "c.mrc", volume, overwrite=True), volume.nbytes)
        print(f"MrcWriter beyond the plain copy: {ours - plain:.2f} s")
        _row("read section by section", lambda: _views(folder / "a.mrc"), volume.nbytes)
        _row("mrcfile.mmap, section by section, copied", lambda: _theirs(folder / "a.mrc"), volume.nbytes)
        _row("read blocks of 128³", lambda: _blocks(folder / "a.mrc"), volume.nbytes)
        tracemalloc.start()
        open_mrc(folder / "a.mrc").view(SHAPE[0] // 2)
        print(
            f"memory held in reading one section of {4 * SHAPE[1] * SHAPE[2] / 2**20:.0f} MiB: "
            f"{tracemalloc.get_traced_memory()[1] / 2**20:.1f} MiB"
        )
        tracemalloc.stop()
        _zarr(folder)
        _tiff(folder)


def _row(what: str, work: object, size: int) -> float:
    seconds = best_of(work, 3)  # type: ignore[arg-type]
    print(f"{what:<52} {seconds:7.2f} {size / seconds / 1e9:7.2f}", flush=True)
    return seconds


def _plain(path: Path, volume: np.ndarray) -> None:
    path.unlink(missing_ok=True)
    with path.open("wb", buffering=0) as file:
        view = memoryview(volume).cast("B")
        while len(view):
            view = view[file.write(view[: 2**30]) :]


def _slabs(path: Path, volume: np.ndarray) -> None:
    path.unlink(missing_ok=True)
    with MrcWriter(path, SHAPE, 10.0) as write:
        for y in range(0, SHAPE[1], SLAB):
            write(0, y, 0, np.ascontiguousarray(volume[:, y : y + SLAB]))


def _sections(path: Path, volume: np.ndarray, dtype: str = "float32") -> None:
    path.unlink(missing_ok=True)
    with MrcWriter(path, SHAPE, 10.0, dtype) as write:
        for z in range(SHAPE[0]):
            write(z, 0, 0, volume[z : z + 1])


def _views(path: Path) -> None:
    file = open_mrc(path)
    for index in range(len(file)):
        file.view(index)


def _theirs(path: Path) -> None:
    with mrcfile.mmap(path) as file:
        for section in file.data:
            np.array(section)


def _blocks(path: Path) -> None:
    file = open_mrc(path)
    for z in range(0, SHAPE[0], 128):
        for y in range(0, SHAPE[1], 128):
            for x in range(0, SHAPE[2], 128):
                file.block(slice(z, z + 128), slice(y, y + 128), slice(x, x + 128))


def _zarr(folder: Path) -> None:
    """A pyramid written from an MRC file, and read back, in processes of their own: their memory is told."""
    for version in ("0.4", "0.5"):
        target = folder / f"{version}.zarr"
        work = f"write_zarr({str(target)!r}, open_mrc({str(folder / 'a.mrc')!r}), 10.0, version={version!r})"
        _alone(f"OME-Zarr {version} from MRC, with its pyramid", work)
        size = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
        print(f"{'  on disk, of the MRC file':<52} {size / (folder / 'a.mrc').stat().st_size:>6.0%}")
    _alone("OME-Zarr read section by section", f"views(open_zarr({str(target)!r}))")
    _alone("MRC copied section by section", f"copy({str(folder / 'a.mrc')!r}, {str(folder / 'copy.mrc')!r})")


_ALONE = """
import time
from lamella.runtime import prepare
prepare(torch=True)
from pathlib import Path
from lamella.formats.mrc import MrcWriter, open_mrc
from lamella.formats.zarr import open_zarr, write_zarr
def peak_mib():  # of this process alone: what getrusage tells begins with the parent's
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
def views(store):
    for index in range(len(store)):
        store.view(index)
def copy(source, target):
    file = open_mrc(source)
    with MrcWriter(target, file.shape, 10.0) as write:
        for z in range(len(file)):
            write(z, 0, 0, file.view(z)[None])
before, start = peak_mib(), time.perf_counter()
{work}
print(time.perf_counter() - start, peak_mib() - before)
"""


def _alone(what: str, work: str) -> None:
    """Time and memory of a piece of work in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", _ALONE.replace("{work}", work)], capture_output=True, text=True, check=True
    )
    seconds, memory = (float(part) for part in done.stdout.split())
    size = 4 * SHAPE[0] * SHAPE[1] * SHAPE[2]
    print(f"{what:<52} {seconds:7.2f} {size / seconds / 1e9:7.2f}  + {memory:.0f} MiB", flush=True)


def _tiff(folder: Path) -> None:
    frames = np.random.default_rng(1).poisson(1.0, (8, 4096, 4096)).astype(np.uint8)
    for compression in ("lzw", "zstd"):
        path = folder / f"{compression}.tif"
        tifffile.imwrite(path, frames, compression=compression, photometric="minisblack")
        file = open_tiff(path)
        _row(f"TIFF, 8 × 4096² bytes, {compression}", lambda: [file.view(i) for i in range(8)], frames.nbytes)  # noqa: B023


if __name__ == "__main__":
    main()
