"""Gold painted over in the tilt images as they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lamella.errors import ImageError
from lamella.records import ImageSource
from lamella.tomograms.gold_noise import (
    Kind,
    Texture,
    detail_of,
    draw,
    gain_of,
    noise_bytes,
    texture_bytes,
    texture_of,
    white_noise,
)
from lamella.tomograms.gold_patch import Disc, Prediction

__all__ = ["GoldPaint", "PaintedImages", "Painter"]

Array = NDArray[np.float64]
Image = NDArray[np.float32]
Mask = NDArray[np.bool_]

_PREDICTING_BYTES = 24 * 2**20  # matrices of a few hundred cells, however wide a disc is


@dataclass(frozen=True, eq=False)
class GoldPaint:
    """How the views of one series are painted: one plan for the whole images and for their halves.

    Attributes
    ----------
    images
        the whole images, from which each view's texture is taken.
    places_px
        per view ``(k, 2)`` (x, y) of what is painted over, pixels from the middle of pixel 0.
    radius_px
        of the discs that are painted.
    numbers
        ``(n,)`` a number of each view that stays its own when others are left out.
    seed
        of the series; each view has its own noise, the same in every run.

    Notes
    -----
    Halves: even and odd images are drawn from noise of their own, e and o; the whole image from (e + o)/√2. So the two
    half tomograms share nothing under the paint but what their own surroundings say, and as everything is linear, the
    whole is painted with the sum (or mean) of what the halves are painted with.
    """

    images: ImageSource
    places_px: tuple[Array, ...]
    radius_px: float
    numbers: NDArray[np.int64]
    seed: int = 0
    _textures: dict[int, Texture] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if len(self.places_px) != len(self.images):
            raise ImageError(
                f"{len(self.images)} images, places in {len(self.places_px)} views", mend="give as many of each"
            )
        if self.disc.size > min(self.images.shape[1:]):
            raise ImageError(
                f"discs of {2 * self.radius_px:.0f} px are to be painted in images of {self.images.shape[1:]} px",
                mend="state a smaller reconstruct.gold_diameter, or set reconstruct.gold = keep",
            )

    @cached_property
    def disc(self) -> Disc:
        """The disc that is painted at each place."""
        return Disc(self.radius_px)

    def mask(self, view: int) -> Mask:
        """``(h, w)`` what is painted in a view."""
        mask = np.zeros(self.images.shape[1:], dtype=bool)
        for corner in self._corners(view):
            part, own = _overlap(corner, self.disc.size, mask.shape)
            mask[part] |= self.disc.mask[own]
        return mask

    @cached_property
    def painted_fraction(self) -> float:
        """Mean part of the images that is painted."""
        return float(np.mean([self.mask(view).mean() for view in range(len(self.images))]))

    def paint(self, view: int, image: Image, kind: Kind = "full") -> Image:
        """A view with its gold painted over.

        Parameters
        ----------
        view
            number of the view.
        image
            `(h, w)` its whole image, or that of its even or odd frames.
        kind
            which of them it is.
        """
        mask = self.mask(view)
        if not mask.any():
            return image
        texture = self._texture(view, image if kind == "full" else None, mask)
        out = image.copy()
        canvas = _Canvas(out, ~mask, self.disc)
        prediction = Prediction(self.disc, texture)
        corners, size = self._corners(view), self.disc.size
        noise = draw(texture, white_noise(self.seed, int(self.numbers[view]), kind, (len(corners), size, size)))
        for corner, own in zip(corners, noise, strict=True):
            (rows, columns), _ = _overlap(corner, size, image.shape)
            canvas.fill(
                corner, own * gain_of(detail_of(image[rows, columns]), ~mask[rows, columns], texture), prediction
            )
        return out

    def bytes_of(self, view: int) -> int:
        """Most that painting a view holds, beside its image and what it becomes."""
        height, width = self.images.shape[1:]
        discs = len(self._corners(view))
        if not discs:
            return 0
        # masks; the image without gold and its tiles; or the discs' noise with its transform
        texture = texture_bytes((height, width), self.disc.size)
        return (
            _PREDICTING_BYTES + 2 * height * width + max(texture, noise_bytes((discs, self.disc.size, self.disc.size)))
        )

    def _corners(self, view: int) -> NDArray[np.int64]:
        """``(m, 2)`` row and column of the windows of the discs that touch the image."""
        height, width = self.images.shape[1:]
        places = np.round(self.places_px[view]).astype(np.int64)[:, ::-1]
        near = ((places > -self.radius_px) & (places < (height + self.radius_px, width + self.radius_px))).all(axis=1)
        corners: NDArray[np.int64] = places[near] - self.disc.size // 2
        return corners

    def _texture(self, view: int, image: Image | None, mask: Mask) -> Texture:
        if view not in self._textures:
            whole = self.images.view(view) if image is None else image
            self._textures[view] = texture_of(whole, mask, self.disc.size)
        return self._textures[view]


@dataclass(frozen=True, eq=False)
class _Canvas:
    """An image that is painted on, and which of its pixels are to be believed so far."""

    image: Image
    known: Mask
    disc: Disc

    def fill(self, corner: NDArray[np.int64], noise: Image, prediction: Prediction) -> None:
        """Paint what is unknown in the disc of a window; afterwards it is known."""
        part, own = _overlap(corner, self.disc.size, self.image.shape)
        pixels, known = np.zeros_like(noise), np.zeros(noise.shape, dtype=bool)
        pixels[own], known[own] = self.image[part], self.known[part]
        whole = self.disc.averaged(known[None].astype(np.float32))[0] == 1
        lacking = self.disc.averaged((pixels - noise)[None])[0]
        level = float(np.median(lacking[whole])) if whole.any() else self._level()
        added = prediction.inside(lacking - level, whole) + np.float32(level)
        rows, columns = self.disc.pixels.T
        painted = noise.copy()
        painted[rows, columns] += added
        here = self.disc.mask[own] & ~self.known[part]
        self.image[part][here] = painted[own][here]
        self.known[part][here] = True

    def _level(self) -> float:
        """Level of the image where nothing round a disc is known."""
        known = self.image[self.known]
        return float(np.median(known)) if known.size else float(np.median(self.image))


def _overlap(
    corner: NDArray[np.int64], size: int, shape: Sequence[int]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """The part of an image that a window covers, and the part of the window that covers it."""
    low = np.clip(corner, 0, shape)
    high = np.clip(corner + size, low, shape)
    part = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    own = tuple(slice(int(a - c), int(b - c)) for a, b, c in zip(low, high, corner, strict=True))
    return (part[0], part[1]), (own[0], own[1])


class Painter(Protocol):
    """Paints something over in the views of one series."""

    @property
    def painted_fraction(self) -> float:
        """Mean part of the images that is painted."""
        ...

    def paint(self, view: int, image: Image, kind: Kind = "full") -> Image:
        """A view `(h, w)`, painted; `kind` says which frames it is the sum of."""
        ...

    def bytes_of(self, view: int) -> int:
        """Most that painting a view holds, beside its image and what it becomes."""
        ...


@dataclass(frozen=True, eq=False)
class PaintedImages:
    """Tilt images that are painted as they are read.

    Attributes
    ----------
    source
        the images: whole ones, or those of even or odd frames.
    painters
        of the series, in the order in which they paint.
    views
        ``(len(source),)`` which view of the series each image is of.
    kind
        what the images are sums of.
    """

    source: ImageSource
    painters: tuple[Painter, ...]
    views: NDArray[np.int64]
    kind: Kind = "full"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(views, height, width)."""
        return self.source.shape

    def __len__(self) -> int:
        return len(self.source)

    def view(self, index: int) -> Image:
        """One image `(height, width)`, painted."""
        return self.painted(index, self.source.view(index))

    def painted(self, index: int, image: Image) -> Image:
        """Paint an image `(height, width)` that `source` gave: the part of the work that threads can share."""
        for painter in self.painters:
            image = painter.paint(int(self.views[index]), image, self.kind)
        return image

    @property
    def bytes_per_view(self) -> int:
        """Most that painting one view holds: its image, what it becomes, and the painter's work."""
        work = max((painter.bytes_of(int(view)) for painter in self.painters for view in self.views), default=0)
        return 2 * 4 * self.shape[1] * self.shape[2] + work
