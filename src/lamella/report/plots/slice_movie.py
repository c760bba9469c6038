"""A film through the heights of a tomogram, and a still of it, as WebP."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

from lamella.records import VolumeSource
from lamella.report.plots.style import block_mean, grey_limits

__all__ = ["SliceMovie", "slice_movie"]

Picture = NDArray[np.float32]

LONGEST_PX = 420
MOST_FRAMES = 48
MOST_BYTES = 2_500_000
THICKNESS_ANG = 60.0
"""Of the slab that a frame is the mean of."""
_SMOOTH_PX = 0.8
_QUALITIES = (40, 20)
_MILLISECONDS = 110


class SliceMovie:
    """The film and a still of its middle, both WebP, and what they show.

    Attributes
    ----------
    film, still
        bytes of the files.
    heights_nm
        z of the first and the last frame.
    frames
        their number.
    """

    def __init__(self, film: bytes, still: bytes, heights_nm: tuple[float, float], frames: int) -> None:
        self.film, self.still, self.heights_nm, self.frames = film, still, heights_nm, frames


def slice_movie(
    volume: VolumeSource,
    voxel_size_ang: float,
    *,
    z_range_ang: tuple[float, float] | None = None,
    longest_px: int = LONGEST_PX,
    most_bytes: int = MOST_BYTES,
) -> SliceMovie:
    """Slices across the beam from the lowest height to the highest.

    Parameters
    ----------
    volume
        `(z, y, x)`; one slab of it is read at a time.
    voxel_size_ang
        edge of a voxel, Å.
    z_range_ang
        heights to show, from the centre voxel; None: the whole volume.
    longest_px
        of the film's sides.
    most_bytes
        what the film may weigh: its quality is lowered, then every second frame is left out, until it does not weigh
        more.

    Notes
    -----
    One range of grey values for all frames, from those of the middle, so that what gets fainter is seen to.
    """
    nz, ny, nx = volume.shape
    count = max(1, min(nz, round(THICKNESS_ANG / voxel_size_ang)))
    low, high = (0, nz) if z_range_ang is None else (round(nz // 2 + z / voxel_size_ang) for z in z_range_ang)
    first, last = max(0, min(low, nz - count)), max(0, min(high, nz) - count)
    starts = np.unique(np.rint(np.linspace(first, max(first, last), MOST_FRAMES)).astype(int))
    pictures = [
        block_mean(volume.block(slice(z, z + count), slice(0, ny), slice(0, nx)).mean(axis=0), longest_px)[0]
        for z in starts
    ]
    limits = grey_limits(gaussian_filter(pictures[len(pictures) // 2], _SMOOTH_PX), 0.4)
    heights = (starts + (count - 1) / 2 - nz // 2) * voxel_size_ang / 10
    frames = [_frame(picture, limits, height) for picture, height in zip(pictures, heights, strict=True)]
    still = io.BytesIO()
    frames[len(frames) // 2].save(still, "WEBP", quality=70)
    film, shown = _encoded(frames, most_bytes)
    return SliceMovie(film, still.getvalue(), (float(heights[0]), float(heights[-1])), shown)


def _frame(picture: Picture, limits: tuple[float, float], height_nm: float) -> Image.Image:
    low, high = limits
    calm = gaussian_filter(picture, _SMOOTH_PX)  # fine noise hides structure, and does not compress
    grey = np.rint(255 * np.clip((calm[::-1] - low) / (high - low), 0, 1)).astype(np.uint8)
    image = Image.fromarray(grey)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=max(10, image.height // 26))
    text = f"z = {height_nm:+.0f} nm" if round(height_nm) else "z = 0 nm"
    box = draw.textbbox((8, 6), text, font=font)
    draw.rectangle((box[0] - 4, box[1] - 3, box[2] + 4, box[3] + 3), fill=20)
    draw.text((8, 6), text, font=font, fill=235)
    return image


def _encoded(frames: list[Image.Image], most_bytes: int) -> tuple[bytes, int]:
    """Lighter and lighter until it fits."""
    while True:
        for quality in _QUALITIES:
            out = io.BytesIO()
            frames[0].save(
                out,
                "WEBP",
                save_all=len(frames) > 1,
                append_images=frames[1:],
                duration=_MILLISECONDS,
                loop=0,
                quality=quality,
                method=1,
            )
            if out.tell() <= most_bytes or (len(frames) < 3 and quality == _QUALITIES[-1]):
                return out.getvalue(), len(frames)
        frames = frames[::2]
