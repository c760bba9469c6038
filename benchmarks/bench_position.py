"""Where specimens lie in their tomograms: measured beside the truth, and what measuring takes.

Simulated series are reconstructed in frames in which the specimen is turned and shifted by known amounts
(`geometry.regauge` of the true geometry), so that every simulated set gives several tomograms.

    python -m benchmarks.bench_position [FOLDER]

FOLDER keeps the simulated series for another run. Gold is left in the tomograms; it is heard as well, as it is where
`reconstruct` found and erased it. The source of the tilt stands behind each row.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import machine_name, peak_mib
from lamella.formats.images import open_images
from lamella.formats.relion import read_tilt_series
from lamella.geometry import regauge, rotation_x, rotation_y
from lamella.records import ArrayVolume, ImageSource, TiltSeries
from lamella.runtime import prepare
from lamella.tomograms import (
    ReconstructSettings,
    SpecimenPosition,
    half_sets,
    measure_position,
    plan_tomogram,
    reconstruct,
)
from lamella.tomograms.box import tomogram_shape

SETS: dict[str, tuple[str, dict[str, Any]]] = {
    "purified": ("purified", {"pixel_size": 6.8, "seed": 81}),
    "purified, 60 particles": ("purified", {"pixel_size": 6.8, "seed": 86, "particles": 60}),
    "purified, no beads": ("purified", {"pixel_size": 6.8, "seed": 87, "beads": 0}),
    "quick": ("quick", {"pixel_size": 8.0, "seed": 84}),
    "cellular, film, bent by 40 Å": ("cellular", {"pixel_size": 10.0, "seed": 85}),
    "beads on one face": ("beads", {"pixel_size": 10.8, "seed": 83, "bead_surfaces": "top"}),
    "lamella, bent by 120 Å": ("lamella", {"pixel_size": 8.0, "seed": 82}),
}
FRAMES = ((0.0, 0.0, 0.0), (2.1, -2.1, 100.0), (0.0, 3.0, -120.0))
"""x-tilt, y-tilt (degrees) and offset (Å) in which a specimen is left."""
VOXEL_ANG = 12.0


def main(folder: str = "") -> None:
    """Print the table, then what noise gives, and times."""
    prepare(torch=True)
    print(machine_name())
    print(f"\n{'set':38s} {'left at':>18s}   {'tilt off by':>12s}   found x, y (°), middle, thickness (Å); true")
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(folder or temporary)
        for name, (preset, changes) in SETS.items():
            series, images = _simulated(
                root / name.split(",")[0].replace(" ", "_") / str(changes["seed"]), preset, changes
            )
            for frame in FRAMES:
                _row(name, series, images, frame)
    _noise()
    _times((1024, 1024, 300), 10.0)


def _simulated(place: Path, preset: str, changes: dict[str, Any]) -> tuple[TiltSeries, Any]:
    from lamella.simulate import preset_settings, simulate

    if not (place / "truth/tilt_series.star").is_file():
        simulate(place, preset_settings(preset, **{"size": 512, "frames": 0, "truth_binning": 0.0} | changes))
    (series,) = read_tilt_series(place / "truth/tilt_series.star", place)
    return series, open_images(series.images or (), place)


def _row(name: str, series: TiltSeries, images: Any, frame: tuple[float, float, float]) -> None:
    x_tilt, y_tilt, offset = frame
    turn = rotation_x(x_tilt) @ rotation_y(y_tilt)
    assert series.geometry is not None
    moved = series.with_changes(geometry=regauge(series.geometry, turn, [0.0, 0.0, offset]).geometry)
    whole, *halves = (ArrayVolume(volume) for volume in _reconstructed(moved, images))
    for kind, pair in (("halves", (halves[0], halves[1])), ("whole", None)):
        found = measure_position(whole, VOXEL_ANG, halves=pair)
        _print(f"{name}, {kind}", frame, found, turn, series.thickness_ang)


def _print(
    name: str, frame: tuple[float, float, float], found: SpecimenPosition, turn: Any, thickness_ang: float | None
) -> None:
    x_tilt, y_tilt, offset = frame
    left = f"{x_tilt:.1f}°, {y_tilt:.1f}°, {offset:.0f} Å"
    if found.unknown:
        print(f"{name:38s} {left:>18s}   unknown: {found.unknown}", flush=True)
        return
    normal = rotation_x(found.x_tilt_deg) @ rotation_y(found.y_tilt_deg) @ [0.0, 0.0, 1.0]
    away = np.rad2deg(np.arccos(np.clip(normal @ turn @ [0.0, 0.0, 1.0], -1, 1)))
    print(
        f"{name:38s} {left:>18s}   {away:10.2f} °   {found.x_tilt_deg:5.1f} ± {found.x_tilt_error_deg:.1f}, "
        f"{found.y_tilt_deg:5.1f} ± {found.y_tilt_error_deg:.1f}, "
        f"{found.offset_ang:5.0f} ± {found.offset_error_ang:.0f}, "
        f"{found.thickness_ang:5.0f} ± {found.thickness_error_ang:.0f}; {thickness_ang:.0f} ({found.source})",
        flush=True,
    )


class _Views:
    """Some of the images of a series."""

    def __init__(self, images: ImageSource, views: NDArray[np.int64]) -> None:
        self.images, self.views = images, views
        self.shape = (len(views), *images.shape[1:])

    def __len__(self) -> int:
        return len(self.views)

    def view(self, index: int) -> NDArray[np.float32]:
        return self.images.view(int(self.views[index]))


def _reconstructed(series: TiltSeries, images: ImageSource) -> list[NDArray[np.float32]]:
    """The whole, and the halves by tilts."""
    settings = ReconstructSettings(pixel_size=VOXEL_ANG, halves="tilts", ctf="none", gold="keep")
    tomogram = plan_tomogram(series, settings)
    halves = half_sets(series, settings, has_frames=False)
    made = []
    for views in (np.arange(len(series)), halves.even, halves.odd):
        volume = np.zeros(tomogram_shape(tomogram), np.float32)
        reconstruct(series.select(views), _Views(images, views), tomogram, settings, ArrayVolume(volume))
        made.append(volume)
    return made


def _noise() -> None:
    print("\nnoise alone")
    for seed in range(3):
        volume = np.random.default_rng(seed).standard_normal((150, 256, 256)).astype(np.float32)
        print(f"  {measure_position(ArrayVolume(volume), VOXEL_ANG).in_words()}")


def _times(size: tuple[int, int, int], voxel_ang: float) -> None:
    nx, ny, nz = size
    volume = np.random.default_rng(0).standard_normal((nz, ny, nx), dtype=np.float32)
    volume[nz // 3 : 2 * nz // 3, ::7] *= 1.5
    before, begin, busy = peak_mib(), time.perf_counter(), time.process_time()
    measure_position(ArrayVolume(volume), voxel_ang)
    print(
        f"\n{nx} × {ny} × {nz} voxels in memory: {time.perf_counter() - begin:.2f} s, processors "
        f"{time.process_time() - busy:.2f} s, {peak_mib() - before:.0f} MiB beyond the volume"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
