"""What the lens makes of a specimen in one view: relative change of intensity, in the weak-phase approximation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from threading import Lock

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from lamella.fourier import fast_size
from lamella.geometry import TiltGeometry
from lamella.optics import electron_wavelength_ang
from lamella.simulate.gaussians import Gaussians, project_gaussians
from lamella.simulate.mount import MountedSpecimen
from lamella.simulate.settings import SimulateSettings
from lamella.simulate.slices import TemplateSpectrum, template_spectrum
from lamella.simulate.specimen import Specimen
from lamella.simulate.transfer import ViewOptics, apply_transfer, apply_transfer_full

__all__ = ["Contrast", "TemplateSpectra", "padded_shape", "view_contrast"]

Array = NDArray[np.float64]
Image = NDArray[np.float32]
Spectrum = NDArray[np.complex64]

LAYER_PHASE_RAD = 0.05
"""Largest error of the aberration's phase that comes from imaging membranes in layers of one defocus."""
FINEST_OF_MEMBRANES = 0.06
"""1/Å: beyond, a membrane shows nothing that would have to be kept from wrapping round the image's edge."""
LARGEST_PIECE_PX = 1280
"""Edge of the largest piece on which one body is imaged: what would need more is left out, frequency by frequency."""
_ROOM_PX = 24


@dataclass(frozen=True, kw_only=True, eq=False)
class Contrast:
    """Spectra (rfft2 of the padded image) of the relative change of intensity in one view.

    Attributes
    ----------
    fading, lasting
        of matter that the dose destroys, and of what it does not (gold, ice crystals).
    """

    fading: Spectrum
    lasting: Spectrum


class TemplateSpectra:
    """The transforms of a specimen's templates, each made when it is first needed; for several threads."""

    def __init__(self, specimen: Specimen) -> None:
        self._templates = specimen.templates
        self._made: dict[int, TemplateSpectrum] = {}
        self._lock = Lock()

    def __getitem__(self, index: int) -> TemplateSpectrum:
        with self._lock:
            if index not in self._made:
                self._made[index] = template_spectrum(self._templates[index])
            return self._made[index]


def padded_shape(settings: SimulateSettings) -> tuple[int, int]:
    """(height, width) of the image with room around it for what transfer and motion carry across its edge."""
    reach = float(_ROOM_PX)
    if settings.ctf:
        wavelength = electron_wavelength_ang(settings.voltage)
        finest = min(0.5 / settings.pixel_size, FINEST_OF_MEMBRANES)
        reach += wavelength * (abs(settings.defocus) + settings.thickness) * finest / settings.pixel_size
    moved = 2.5 * (settings.motion_start + settings.motion_drift + settings.local_motion + settings.doming)
    margin = math.ceil(reach + (moved / settings.pixel_size if settings.movies else 0.0))
    height, width = settings.image_shape_px
    return fast_size(height + 2 * margin), fast_size(width + 2 * margin)


def view_contrast(
    mounted: MountedSpecimen,
    geometry: TiltGeometry,
    optics: ViewOptics,
    spectra: TemplateSpectra,
    settings: SimulateSettings,
) -> Contrast:
    """Image all matter but the film as one view shows it; `geometry` is that of the one view."""
    shape = padded_shape(settings)
    fading, lasting = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)
    specimen = mounted.specimen
    images = [fading if template.damaged else lasting for template in specimen.templates]
    _add_bodies(images, specimen, geometry, optics, spectra, settings.pixel_size)
    out = [scipy.fft.rfft2(image, workers=1) for image in (fading, lasting)]
    if len(specimen.cloud):
        _add_cloud(out[0], specimen.cloud, geometry, optics, settings.pixel_size, shape)
    return Contrast(fading=out[0], lasting=out[1])


def _add_bodies(
    images: list[Image],
    specimen: Specimen,
    geometry: TiltGeometry,
    optics: ViewOptics,
    spectra: TemplateSpectra,
    pixel_size_ang: float,
) -> None:
    """Add each body's picture, sharp at its own defocus, to the image of its template."""
    bodies = specimen.bodies
    if len(bodies) == 0:
        return
    height, width = images[0].shape
    places = geometry.project(bodies.places_ang)[0] / pixel_size_ang + (width // 2, height // 2)
    depths = geometry.depth_ang(bodies.places_ang)[0]
    turns = geometry.rotations()[0] @ bodies.rotations()
    scale = float(geometry.magnification[0])
    reach = optics.reach_ang(float(np.abs(depths).max(initial=0.0)), 0.5 / pixel_size_ang) / pixel_size_ang
    for number, template in enumerate(specimen.templates):
        size = _piece_size(template.volume.shape[0], reach)
        margin = template.volume.shape[0] / 2 + reach
        seen = (bodies.template == number) & (places > -margin).all(axis=1)
        seen &= (places < np.array([width, height]) + margin).all(axis=1)
        for body in np.flatnonzero(seen):
            projected = spectra[number].project(turns[body], scale) * np.float32(template.voxel_size_ang)
            whole = np.floor(places[body]).astype(np.int64)
            shift = places[body] - whole
            terms = scipy.fft.rfft2(_in_piece(projected, size), workers=1)
            apply_transfer(
                terms,
                size,
                pixel_size_ang,
                optics,
                float(depths[body]),
                template.absorption,
                (float(shift[0]), float(shift[1])),
            )
            picture = scipy.fft.irfft2(terms, s=(size, size), workers=1)
            _add_piece(images[number], picture, int(whole[0]) - size // 2, int(whole[1]) - size // 2)


def _piece_size(template_px: int, reach_px: float) -> int:
    """Edge of the piece of image that holds a body and what transfer carries out of it; even, fast to transform."""
    wanted = 2 * scipy.fft.next_fast_len(math.ceil(template_px / 2 + reach_px + 4), real=True)
    return int(max(template_px, min(wanted, LARGEST_PIECE_PX)))


def _in_piece(projected: Image, size: int) -> Image:
    """Put a projection into a larger empty piece, pixel n // 2 upon pixel n // 2."""
    small = projected.shape[0]
    piece = np.zeros((size, size), dtype=np.float32)
    first = size // 2 - small // 2
    piece[first : first + small, first : first + small] = projected
    return piece


def _add_piece(image: Image, piece: Image, left: int, top: int) -> None:
    """Add what of the piece lies inside the image."""
    height, width = image.shape
    size = piece.shape[0]
    y0, y1, x0, x1 = max(top, 0), min(top + size, height), max(left, 0), min(left + size, width)
    if y0 < y1 and x0 < x1:
        image[y0:y1, x0:x1] += piece[y0 - top : y1 - top, x0 - left : x1 - left]


def _add_cloud(
    spectrum: Spectrum,
    cloud: Gaussians,
    geometry: TiltGeometry,
    optics: ViewOptics,
    pixel_size_ang: float,
    shape_px: tuple[int, int],
) -> None:
    """Add membranes, layer by layer of defocus."""
    places = geometry.project(cloud.places_ang)[0]
    depth = geometry.depth_ang(cloud.places_ang)[0]
    inside = (np.abs(places) < np.array(shape_px[::-1]) * pixel_size_ang / 2 + 8 * cloud.sigma_ang.max()).all(axis=1)
    if not inside.any():
        return
    step = _layer_ang(cloud, optics, pixel_size_ang)
    layers = np.rint(depth / step).astype(np.int64)
    chosen = np.flatnonzero(inside)
    by_layer = chosen[np.argsort(layers[chosen], kind="stable")]
    for here in np.split(by_layer, np.flatnonzero(np.diff(layers[by_layer])) + 1):
        part = Gaussians(cloud.places_ang[here], cloud.weights[here], cloud.sigma_ang[here])
        projected = project_gaussians(part, places[here], pixel_size_ang, shape_px)[0]
        terms = scipy.fft.rfft2(projected, workers=1)
        apply_transfer_full(terms, shape_px, pixel_size_ang, optics, float(layers[here[0]] * step))
        spectrum += terms


def _layer_ang(cloud: Gaussians, optics: ViewOptics, pixel_size_ang: float) -> float:
    """Thickness of a layer whose matter may share one defocus: π λ (Δz / 2) k² ≤ `LAYER_PHASE_RAD` at the finest k."""
    if not optics.contrast_transfer:
        return 1e9
    finest = min(0.5 / pixel_size_ang, 0.5 / float(cloud.sigma_ang.min()))  # beyond, a Gaussian has < 1 %
    return 2 * LAYER_PHASE_RAD / (math.pi * electron_wavelength_ang(optics.voltage_kv) * finest**2)
