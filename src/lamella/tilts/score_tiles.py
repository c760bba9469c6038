"""A specimen's views cut into tiles, each about the depth at which its content lies, whatever frame describes it.

A rigid motion of the specimen changes no picture, and must change no score. So the frame is set anew, by the views
alone: z along their mean beam, y along the tilt axis, the origin at the point that appears nearest to the images'
centres. Within it a tile is followed at the depth that makes its views agree best, which is where its content lies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamella.fourier import soft_mask
from lamella.geometry import TiltGeometry
from lamella.geometry.regauge import regauge
from lamella.parallel import each
from lamella.tilts.score_spectra import FINEST, ViewSpectra
from lamella.tilts.working import Grid, SpecimenShape, WorkingImages, plane_matrices

__all__ = ["TermLayout", "TileFrame", "Tiles", "cut_tiles", "standard_frame", "tile_centres", "tile_depths"]

Array = NDArray[np.float64]

_STEP = 0.5  # distance of tiles over their edge
_COVERED = 0.85  # of a tile's window inside the image, or it is not seen
_FLAT, _FADE = 0.25, 0.24  # of a tile's edge: radius of the window's level part, and width over which it fades
_COARSEST = 1.5  # periods in a tile: coarser detail is brightness
_DEPTH_STEPS = 31
_DEPTH_FINEST = 0.2  # cycles per pixel: detail by which a depth is found
_DEPTH_REACH = 0.7  # of slope or radian: views farther apart say nothing of a depth


@dataclass(frozen=True, eq=False)
class TileFrame:
    """How each view sees the specimen's plane, or a compact object, in the frame of the score.

    Attributes
    ----------
    geometry
        in that frame.
    plane
        ``(n, 2, 2)`` from the specimen's plane to the image, shifts and field left out.
    parallax
        ``(n, 2)`` place in the plane at which a point 1 Å above it appears, Å per Å.
    place
        ``(n, 2)`` where the views' slices lie: those of views v, w meet frequency k at heights that differ by
        k · (place_v − place_w). For a film it is minus the parallax; for a compact object the beam's angles.
    """

    geometry: TiltGeometry
    plane: Array
    parallax: Array
    place: Array

    @classmethod
    def of(cls, geometry: TiltGeometry, shape: SpecimenShape) -> TileFrame:
        """The frame of a geometry."""
        own = standard_frame(geometry)
        plane = plane_matrices(own, shape)
        parallax: Array = np.linalg.solve(plane, own.matrices()[:, :, 2:])[..., 0].astype(np.float64)
        if shape == "film":
            return cls(own, plane, parallax, -parallax)
        beam = own.rotations()[:, 2]
        return cls(own, plane, parallax, np.asarray(np.arctan2(beam[:, :2], beam[:, 2:]), np.float64))


@dataclass(frozen=True, eq=False)
class TermLayout:
    """Which Fourier terms of a tile are kept, and what they are in each view.

    Attributes
    ----------
    k_y, k_x
        ``(r,)`` and ``(c,)`` frequencies in the plane, cycles per working pixel.
    view_frequency
        ``(n, r, c)`` of each term in its view, cycles per working pixel.
    coherence
        ``(n, r, c)`` the part of each term that is signal.
    """

    k_y: Array
    k_x: Array
    view_frequency: Array
    coherence: Array

    @classmethod
    def of(cls, spectra: ViewSpectra, frame: TileFrame, size_px: int) -> TermLayout:
        """Of square tiles of that size."""
        keep = int(np.floor(FINEST * size_px))
        k_y = (np.r_[0 : keep + 1, -keep:0] / size_px).astype(np.float64)
        k_x = (np.arange(keep + 1) / size_px).astype(np.float64)
        frequency = _view_frequency(frame, k_y, k_x)
        fine = np.hypot(k_y[:, None], k_x) * size_px >= _COARSEST
        return cls(k_y, k_x, frequency, spectra.coherence(frequency) * fine)

    def every_second_column(self) -> TermLayout:
        """Half of the frequencies along x."""
        return TermLayout(self.k_y, self.k_x[::2], self.view_frequency[..., ::2], self.coherence[..., ::2])


@dataclass(frozen=True, eq=False)
class Tiles:
    """Tiles of every view as whitened Fourier terms.

    Attributes
    ----------
    terms
        ``(n, p, r, c)`` complex, of mean square 1; 0 where a tile is not seen.
    seen
        ``(n, p)``.
    layout
        of the terms.
    """

    terms: Tensor
    seen: NDArray[np.bool_]
    layout: TermLayout


def standard_frame(geometry: TiltGeometry) -> TiltGeometry:
    """The same pictures in the frame that the views set: alike for all geometries that differ by a rigid motion."""
    rotations = geometry.rotations()
    beams = rotations[:, 2]
    z = beams.mean(axis=0)
    z = z / np.linalg.norm(z)
    spread = np.linalg.svd(beams - beams.mean(axis=0), full_matrices=True)[2]
    # the axis lies in every image along Rz(z_rot)·ŷ; its sense is the microscope's
    turn = np.deg2rad(geometry.z_rot_deg)
    along = np.stack([-np.sin(turn), np.cos(turn), np.zeros_like(turn)], axis=-1)
    axis = np.einsum("nij,ni->j", rotations, along)
    y = spread[2] - z * (spread[2] @ z)
    y = y / np.linalg.norm(y) * (1.0 if spread[2] @ axis >= 0 else -1.0)
    rotation = np.stack([np.cross(y, z), y, z])
    matrices, shifts = geometry.matrices().reshape(-1, 3), geometry.shifts_ang().reshape(-1)
    origin = np.linalg.lstsq(matrices, -shifts, rcond=None)[0]
    return regauge(geometry, rotation, -rotation @ origin).geometry


def tile_centres(frame: TileFrame, field_ang: tuple[float, float], edge_ang: float) -> Array:
    """``(p, 3)`` centres at z = 0 on a grid over what the least tilted view sees."""
    places = []
    for width in field_ang:
        room = max(width - edge_ang, 0.0)
        count = int(np.ceil(room / (_STEP * edge_ang))) + 1
        places.append((np.arange(count) - (count - 1) / 2) * (room / max(count - 1, 1)))
    x, y = np.meshgrid(*places)
    seen = np.stack([x.ravel(), y.ravel()], axis=-1)
    least = int(np.argmax(frame.geometry.rotations()[:, 2, 2]))
    flat = (seen - frame.geometry.shifts_ang()[least]) @ np.linalg.inv(frame.plane[least]).T
    return np.concatenate([flat, np.zeros((len(flat), 1))], axis=1)


def cut_tiles(images: WorkingImages, spectra: ViewSpectra, frame: TileFrame, centres_ang: Array, size_px: int) -> Tiles:
    """Cut square tiles of `size_px` about points ``(p, 3)`` of the frame from every view."""
    spacing = max(images.pixel_ang)
    grid = Grid.centred(size_px, size_px, spacing)
    window = soft_mask((size_px, size_px), _FLAT * size_px, _FADE * size_px)
    layout = TermLayout.of(spectra, frame, size_px)
    columns = len(layout.k_x)
    rows = torch.from_numpy(np.round(layout.k_y * size_px).astype(np.int64) % size_px)
    power = np.maximum(spectra.power(layout.view_frequency), 1e-20) * float((window**2).sum())
    scale = (layout.coherence > 0) / np.sqrt(power)
    places = frame.geometry.project(centres_ang)
    maps = _local_maps(frame, centres_ang, places, size_px * spacing / 4)

    def one(view: int) -> tuple[Tensor, NDArray[np.bool_]]:
        values, weight = _sampled(images, view, grid, maps[view], places[view])
        weight = weight * window
        total = weight.sum(dim=(-2, -1))
        mean = (values * weight).sum(dim=(-2, -1)) / total.clamp_min(1e-6)
        terms = torch.fft.rfft2((values - mean[:, None, None]) * weight)[:, rows, :columns]
        terms = terms * torch.from_numpy(scale[view].astype(np.float32))
        # a tile that holds an edge of film or ice shall count no more than others
        energy = (terms.abs() ** 2).sum(dim=(-2, -1)) / max(int((scale[view] > 0).sum()), 1)
        seen = total >= _COVERED * window.sum()
        return terms * (seen / energy.clamp_min(1.0).sqrt())[:, None, None], seen.numpy()

    cut = each(one, range(len(frame.geometry)))
    return Tiles(torch.stack([terms for terms, _ in cut]), np.stack([seen for _, seen in cut]), layout)


def tile_depths(tiles: Tiles, frame: TileFrame, spacing_ang: float, thickness_ang: float) -> Array:
    """``(p,)`` depth of each tile's content: where its views, moved by their parallax, agree best.

    Views that lie as far apart as half the thickness lets them share detail are compared; a depth far from the others'
    must be told by a clear peak.
    """
    columns = int((tiles.layout.k_x <= _DEPTH_FINEST).sum())
    apart = frame.place[:, None, 0] - frame.place[None, :, 0]
    k_x = tiles.layout.k_x[:columns, None, None] / spacing_ang
    shared = np.exp(-2 * np.pi**2 * (thickness_ang / 2) ** 2 / 12 * (k_x * apart) ** 2)
    shared *= (np.abs(apart) < _DEPTH_REACH) & (np.abs(apart) > 1e-6)
    gain = torch.from_numpy(np.sqrt(tiles.layout.coherence[:, :, :columns]).astype(np.float32))
    heights = np.linspace(-0.85, 0.85, _DEPTH_STEPS) * thickness_ang
    parallax = frame.parallax[:, None, 0] - frame.parallax[None, :, 0]
    upper = np.triu_indices(len(apart), 1)
    phases = 2 * np.pi * (k_x * parallax)[:, upper[0], upper[1]]  # (c, pairs)
    turns = torch.from_numpy(np.exp(1j * phases[None] * heights[:, None, None]).astype(np.complex64))
    turns = turns.reshape(len(heights), -1)  # (h, c · pairs)
    weights = torch.from_numpy(shared[:, upper[0], upper[1]].astype(np.float32))
    rises = []
    for tile in range(tiles.terms.shape[1]):
        terms = (tiles.terms[:, tile, :, :columns] * gain).permute(2, 0, 1)  # (c, n, r)
        products = torch.matmul(terms, terms.conj().transpose(-1, -2))[:, upper[0], upper[1]] * weights
        rises.append((turns @ products.flatten()).real.numpy())
    agreed = np.stack(rises)  # (p, h)
    usual = heights[int(np.argmax(np.maximum(agreed, 0).sum(axis=0)))]
    doubt = agreed.std(axis=1).mean() * ((heights - usual) / (thickness_ang / 2)) ** 2
    return np.asarray(heights[np.argmax(agreed - doubt, axis=1)])


def _view_frequency(frame: TileFrame, k_y: Array, k_x: Array) -> Array:
    """``(n, r, c)`` length of each of the plane's frequencies in the views: k_image = P⁻ᵀ · k."""
    inverse = np.linalg.inv(frame.plane)  # (n, 2, 2)
    along_x = inverse[:, 0, 0, None, None] * k_x + inverse[:, 1, 0, None, None] * k_y[:, None]
    along_y = inverse[:, 0, 1, None, None] * k_x + inverse[:, 1, 1, None, None] * k_y[:, None]
    return np.hypot(along_x, along_y)


def _local_maps(frame: TileFrame, centres_ang: Array, places_ang: Array, reach_ang: float) -> Array:
    """``(n, p, 2, 2)`` from the plane about each centre to the image, the local field with it."""
    n, p = places_ang.shape[:2]
    maps = np.broadcast_to(frame.plane[:, None], (n, p, 2, 2))
    field = frame.geometry.field
    if field is None:
        return maps
    out = np.empty((n, p, 2, 2))
    steps = reach_ang * np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
    for view in range(n):
        # the field is a function of the place that the global terms give; that of the centre is near enough for slopes
        start = places_ang[view] - field.displacement(view, places_ang[view])
        near = start[None] + steps[:, None]
        bend = field.displacement(view, near)  # (4, p, 2)
        slope = np.stack([bend[0] - bend[1], bend[2] - bend[3]], axis=-1) / (2 * reach_ang)
        out[view] = (np.eye(2) + slope) @ maps[view]
    return out


def _sampled(images: WorkingImages, view: int, grid: Grid, maps: Array, origins: Array) -> tuple[Tensor, Tensor]:
    """``(p, s, s)`` values of one view on many grids at once, and how much each counts."""
    height, width = images.stack.shape[-2:]
    scale = 2 / (np.array(images.pixel_ang) * [width - 1, height - 1])
    start = 2 * np.array(images.origin_px) / [width - 1, height - 1] - 1
    maps_t = torch.from_numpy(maps * scale[:, None]).float()
    starts = torch.from_numpy(origins * scale + start).float()
    size = (len(maps), len(grid.y_ang), len(grid.x_ang))
    places = torch.empty((*size, 2))
    for axis in (0, 1):
        along_x = maps_t[:, axis, 0, None] * grid.x_ang + starts[:, axis, None]
        along_y = maps_t[:, axis, 1, None] * grid.y_ang
        torch.add(along_x[:, None], along_y[..., None], out=places[..., axis])
    inside = ((places[..., 0].abs() <= 1) & (places[..., 1].abs() <= 1)).float()
    flat = places.reshape(1, size[0] * size[1], size[2], 2)

    def read(image: Tensor, mode: str) -> Tensor:
        values = torch.nn.functional.grid_sample(
            image[None, None], flat, mode=mode, padding_mode="border", align_corners=True
        )
        return values.reshape(size)

    weight = inside if images.valid is None else inside * read(images.valid[view].float(), "bilinear")
    return read(images.stack[view], "bicubic") * inside, weight
