"""Whether the map of support flags what a method made up and leaves alone what is there: planted and true bodies.

Two half tomograms of a simulated series are denoised, each by itself. Then bodies that look true are planted into both
denoised halves alike, at places where the specimen has none: the mean of the denoised true bodies themselves, at
several contrasts. Texture that a method paints from noise is tried too, and networks that are named. Printed:
how many true and how many planted bodies are flagged, and the slopes of the regression at both; what texture lies
between; and a second table for weak bodies: true ones are planted into the raw halves at half of the places, the same
denoised into the denoised halves at the others, at several contrasts.

    python -m benchmarks.bench_support SERIES_FOLDER EVEN.mrc ODD.mrc [FIGURE.png] [MODEL.pt ...]

SERIES_FOLDER is a folder of `lamella simulate`: its truth/ gives geometry and places.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import machine_name, peak_mib

Volume = NDArray[np.float32]
CONTRASTS = (0.5, 1.0, 1.5)
WEAK = (0.15, 0.25, 0.35, 0.5, 0.75)
CLASSICAL: tuple[dict[str, Any], ...] = (
    {"method": "nad"}, {"method": "tv"}, {"method": "median"}, {"method": "gaussian"}
)  # fmt: skip
BOX_ANG = 400.0
APART_ANG = 420.0
PLANTED = 40


def main(folder: str, even: str, odd: str, figure: str = "", *models: str) -> None:
    """Print the tables, and draw one picture if it is named."""
    from lamella.formats.mrc import open_mrc
    from lamella.runtime import prepare

    prepare(torch=True)
    print(machine_name())
    raw = [open_mrc(path).read().astype(np.float32) for path in (even, odd)]
    voxel = float(open_mrc(even).pixel_size_ang or 1.0)
    series, bodies = _truth(Path(folder))
    places = _inside(bodies / voxel + np.array(raw[0].shape[::-1]) // 2, raw[0].shape, voxel)
    empty = _empty(places, raw, voxel)
    print(f"{raw[0].shape} voxels of {voxel:g} Å, {len(places)} true bodies, {len(empty)} planted ones")
    print(f"{'method':<24}{'planted':>9}{'true flagged':>14}{'planted flagged':>17}{'slope true':>18}"
          f"{'slope planted':>18}{'median':>8}{'overall':>9}{'unsupported':>13}"
          f"{'texture: rms':>14}{'supported':>11}{'passed':>8}{'s':>7}")  # fmt: skip
    for settings in (*CLASSICAL, *({"model": model} for model in models)):
        clean = [_denoise(volume, settings) for volume in raw]
        name = settings.get("method") or Path(settings["model"]).stem
        body = _mean_body(clean, places, voxel)
        for contrast in (0.0, *CONTRASTS):
            drawn = [_plant(volume, body * contrast, empty) for volume in clean]
            _row(name, contrast, raw, drawn, voxel, series, places, empty)
        if figure and name == "nad":
            _draw(raw, [_plant(volume, body, empty) for volume in clean], voxel, series, Path(figure))
    painted = [_painted(volume, clean[0]) for volume in raw]
    _row("painted from noise", 0.0, raw, painted, voxel, series, places, empty)
    print(f"\n{'weak bodies':<24}{'contrast':>9}{'true seen':>11}{'flagged':>9}{'false seen':>12}{'flagged':>9}"
          f"{'area under ROC':>16}{'slope true':>18}{'slope false':>18}")  # fmt: skip
    for settings in (*CLASSICAL[:1], *({"model": model} for model in models)):
        for contrast in WEAK:
            _weak(settings, contrast, raw, voxel, series, places, empty)
    print(f"peak {peak_mib():.0f} MiB")


def _truth(folder: Path) -> tuple[Any, NDArray[np.float64]]:
    from lamella.formats.relion import read_tilt_series
    from lamella.formats.star import read_star

    (series,) = read_tilt_series(folder / "truth" / "tilt_series.star", folder)
    table = next(iter(read_star(folder / "truth" / "particles.star").values()))
    return series, np.stack([table.numbers(f"rlnCenteredCoordinate{axis}Angst") for axis in "XYZ"], axis=1)


def _inside(places: NDArray[np.float64], shape: tuple[int, ...], voxel: float) -> NDArray[np.int64]:
    """Places (z, y, x) in voxels whose box lies within the volume."""
    whole = np.rint(places[:, ::-1]).astype(np.int64)
    half = round(BOX_ANG / voxel / 2)
    return whole[((whole >= half) & (whole < np.array(shape) - half)).all(axis=1)]


def _empty(places: NDArray[np.int64], raw: list[Volume], voxel: float) -> NDArray[np.int64]:
    """Places in the specimen's slab, far from all bodies, from each other, and from what else is strong."""
    from scipy.ndimage import gaussian_filter

    random = np.random.default_rng(0)
    smooth = np.abs(gaussian_filter(raw[0] + raw[1], 60.0 / voxel))
    calm = float(np.percentile(smooth, 70))
    half = round(BOX_ANG / voxel / 2)
    low = np.maximum(half, [places[:, 0].min(), 0, 0])
    high = np.minimum(np.array(raw[0].shape) - half, [places[:, 0].max() + 1, 10**9, 10**9])
    found: list[NDArray[np.int64]] = []
    for place in random.integers(low, high, size=(20000, 3)):
        others = np.concatenate([places, np.array(found).reshape(-1, 3)])
        near = np.linalg.norm((others - place) * voxel, axis=1).min()
        box = smooth[tuple(slice(p - half // 2, p + half // 2) for p in place)]
        if near > APART_ANG and box.max() < 3 * calm:
            found.append(place)
        if len(found) == PLANTED:
            break
    return np.array(found).reshape(-1, 3)


def _denoise(volume: Volume, settings: dict[str, Any]) -> Volume:
    from lamella.records import ArrayVolume
    from lamella.tomograms import DenoiseSettings, denoise
    from lamella.tomograms.networks.checkpoint import read_model

    model = read_model(Path(settings["model"])) if "model" in settings else None
    how = settings if model is None else {"method": model.method}
    out = ArrayVolume(np.empty_like(volume))
    denoise(ArrayVolume(volume), DenoiseSettings(**how), out, model=model)
    return out.array


def _mean_body(clean: list[Volume], places: NDArray[np.int64], voxel: float) -> Volume:
    """Mean of the denoised true bodies of both halves, soft at its edge."""
    half = round(BOX_ANG / voxel / 2)
    boxes = [volume[tuple(slice(p - half, p + half) for p in place)] for volume in clean for place in places]
    mean = np.mean(boxes, axis=0)
    radius = np.sqrt(sum(line**2 for line in np.meshgrid(*[np.arange(-half, half) * voxel] * 3, indexing="ij")))
    mask = 1 / (1 + np.exp((radius - 0.4 * BOX_ANG) / 12))
    edge = float(mean[np.abs(radius - 0.45 * BOX_ANG) < voxel].mean())
    return ((mean - edge) * mask).astype(np.float32)


def _plant(volume: Volume, body: Volume, places: NDArray[np.int64]) -> Volume:
    out, half = volume.copy(), body.shape[0] // 2
    for place in places:
        out[tuple(slice(p - half, p + half) for p in place)] += body
    return out


def _painted(volume: Volume, like: Volume) -> Volume:
    """Texture of the denoised volume's contrast, made from the half's own noise."""
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(volume, 1.5) - gaussian_filter(volume, 4.0)
    return (like.std() * np.tanh(3 * smooth / smooth.std())).astype(np.float32)


def _measure(raw: list[Volume], clean: list[Volume], voxel: float, series: Any) -> tuple[Volume, Any]:
    from lamella.records import ArrayVolume
    from lamella.tomograms import Halves, measure_support

    out = ArrayVolume(np.empty_like(raw[0]))
    parts = [ArrayVolume(volume) for volume in (*raw, *clean)]
    halves = Halves(even=parts[0], odd=parts[1], denoised_even=parts[2], denoised_odd=parts[3])
    return out.array, measure_support(halves, voxel, out, geometry=series.geometry)


def _row(name: str, contrast: float, raw: list[Volume], clean: list[Volume], voxel: float, series: Any,
         places: NDArray[np.int64], empty: NDArray[np.int64]) -> None:  # fmt: skip
    start = time.perf_counter()
    _map, result = _measure(raw, clean, voxel, series)
    seconds = time.perf_counter() - start
    verdict = result.verdict
    true, fake = (tuple((where // result.block_px).T) for where in (places, empty))
    flagged = [100 * float(verdict.flagged[where].mean()) for where in (true, fake)]
    slopes = [np.percentile(verdict.slope[where], (5, 50, 95)) for where in (true, fake)]
    texts = [_text(slope) for slope in slopes]
    texture = result.texture
    numbers = (texture.contrast, texture.supported, texture.passed) if texture else (np.nan,) * 3
    print(f"{name:<24}{contrast or '-':>9}{flagged[0]:>12.0f} %{flagged[1]:>15.0f} %{texts[0]:>18}"
          f"{texts[1]:>18}{result.median:>8.2f}{verdict.overall:>9.2f}"
          f"{result.unsupported:>13.3f}{numbers[0]:>14.2f}{numbers[1]:>11.2f}{numbers[2]:>8.2f}{seconds:>7.1f}",
          flush=True)  # fmt: skip


def _text(slope: NDArray[np.float64]) -> str:
    return "/".join(f"{value:.2f}" for value in slope)


def _weak(settings: dict[str, Any], contrast: float, raw: list[Volume], voxel: float, series: Any,
          places: NDArray[np.int64], empty: NDArray[np.int64]) -> None:  # fmt: skip
    """Bodies of so much of a true one's contrast: true ones in the raw halves, false ones in the denoised only."""
    name = settings.get("method") or Path(settings["model"]).stem
    true, false = empty[::2], empty[1::2]
    body = _mean_body(raw, places, voxel) * contrast
    given = [_plant(volume, body, true) for volume in raw]
    clean = [_denoise(volume, settings) for volume in given]
    drawn = _mean_body(clean, true, voxel)
    _map, result = _measure(given, [_plant(volume, drawn, false) for volume in clean], voxel, series)
    verdict = result.verdict
    at = [tuple((where // result.block_px).T) for where in (true, false)]
    seen, flagged = ([float(mask[where].mean()) * 100 for where in at] for mask in (verdict.visible, verdict.flagged))
    slopes = [verdict.slope[where] for where in at]
    texts = [_text(np.percentile(slope, (5, 50, 95))) for slope in slopes]
    order = slopes[0][:, None] - slopes[1][None]
    area = float((order > 0).mean() + (order == 0).mean() / 2)
    print(f"{name:<24}{contrast:>9}{seen[0]:>9.0f} %{flagged[0]:>7.0f} %{seen[1]:>10.0f} %{flagged[1]:>7.0f} %"
          f"{area:>16.3f}{texts[0]:>18}{texts[1]:>18}", flush=True)  # fmt: skip


def _draw(raw: list[Volume], clean: list[Volume], voxel: float, series: Any, path: Path) -> None:
    from lamella.records import ArrayVolume, Tomogram
    from lamella.report.plots import plot_support

    support, result = _measure(raw, clean, voxel, series)
    nz, ny, nx = raw[0].shape
    tomogram = Tomogram(tilt_series=series, size_px=(nx, ny, nz), binning=voxel / series.pixel_size_ang)
    rings = [(*position, diameter) for _place, position, diameter in result.places]
    plot_support(tomogram, ArrayVolume((clean[0] + clean[1]) / 2), ArrayVolume(support), rings).savefig(path, dpi=70)


if __name__ == "__main__":
    main(*sys.argv[1:])
