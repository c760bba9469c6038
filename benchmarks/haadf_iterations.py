"""Pictures of a dark-field series by weighted back-projection, the SIRT-like filter, SIRT and SART.

    python -m benchmarks.haadf_iterations STACK.mrc ANGLES.rawtlt PIXEL_ANG AXIS_DEG FIGURE.png [ALIGN_METHOD]

The series is aligned here, each tomogram is made at twice the pixel size, and the middle planes z, y and x are drawn
beside each other. Printed are the correlation of some views with the tomogram projected again, and the rounds that
held-out views chose.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from lamella.runtime import prepare

METHODS: dict[str, dict[str, Any]] = {
    "wbp": {"method": "wbp"},
    "sirt-like filter": {"method": "wbp", "filter": "sirt-like", "filter_iterations": 20},
    "sirt": {"method": "sirt", "iterations": "auto"},
    "sirt, not negative": {"method": "sirt", "iterations": "auto", "non_negative": True},
    "sart": {"method": "sart", "iterations": "auto"},
}


def main(stack: str, angles: str, pixel_ang: str, axis_deg: str, figure: str, method: str = "auto") -> None:
    """Align, reconstruct in every way, and draw."""
    prepare(torch=True)
    from lamella.formats.mrc import open_mrc
    from lamella.records import ArrayVolume, TiltSeries
    from lamella.tilts.align import align
    from lamella.tilts.align_settings import AlignSettings
    from lamella.tomograms import ReconstructSettings, plan_tomogram, reconstruct
    from lamella.tomograms.box import tomogram_shape

    images, pixel = open_mrc(Path(stack)), float(pixel_ang)
    tilts = np.loadtxt(angles)
    series = TiltSeries(
        name="HAADF", pixel_size_ang=pixel, image_shape_px=images.shape[1:], nominal_tilt_deg=tilts,
        nominal_axis_deg=np.full(len(tilts), float(axis_deg)), imaging="dark",
    )  # fmt: skip
    series = align(series, images, AlignSettings.model_validate({"method": method})).series
    made = {}
    for label, how in METHODS.items():
        settings = ReconstructSettings(pixel_size=2 * pixel, thickness=128 * pixel, halves="off", **how)
        tomogram = plan_tomogram(series, settings)
        volume = np.empty(tomogram_shape(tomogram), np.float32)
        result = reconstruct(series, images, tomogram, settings, ArrayVolume(volume))
        made[label] = volume
        rounds = "" if result.rounds is None else f"; {result.rounds.in_words()}"
        print(f"{label:20s} agrees with the views to {result.reprojection_correlation:.4f}{rounds}", flush=True)
    _draw(made, Path(figure))


def _draw(volumes: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shape = next(iter(volumes.values())).shape
    ratios = [shape[1], shape[0], shape[0]]
    figure, grid = plt.subplots(
        3, len(volumes), figsize=(3 * len(volumes), 3 * sum(ratios) / shape[2]), height_ratios=ratios, squeeze=False
    )
    for column, (label, volume) in enumerate(volumes.items()):
        place = np.unravel_index(int(np.argmax(_smooth(next(iter(volumes.values()))))), shape)
        cuts = (volume[place[0]], volume[:, place[1]], volume[:, :, place[2]])
        low, high = np.percentile(volume, (1, 99.8))
        for row, (cut, name) in enumerate(zip(cuts, ("z", "y", "x"), strict=True)):
            grid[row][column].imshow(cut, cmap="gray", vmin=low, vmax=high, origin="lower", aspect="auto")
            grid[row][column].set(xticks=[], yticks=[])
            if column == 0:
                grid[row][column].set_ylabel(f"{name} = {place[row] - shape[row] // 2}")
        grid[0][column].set_title(label, fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=100)


def _smooth(volume: Any) -> Any:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(volume, 3)


if __name__ == "__main__":
    main(*sys.argv[1:])
