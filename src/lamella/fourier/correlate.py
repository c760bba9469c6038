"""Cross-correlation of images, and the place of its highest peak to a fraction of a pixel."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lamella.errors import ImageError
from lamella.fourier.chunks import as_float, per_image
from lamella.fourier.grids import frequency_axes

__all__ = ["cross_correlate", "find_peak"]


def cross_correlate(a: Tensor, b: Tensor, filter: Tensor | None = None, normalise: bool = True) -> Tensor:
    """Periodic cross-correlation of images: at [y, x], how well `a` agrees with `b` shifted by (y, x).

    Parameters
    ----------
    a, b
        `(..., h, w)` of one size; leading axes broadcast.
    filter
        `(h, w // 2 + 1)`, real and not negative: weight of each frequency, as if √filter had been applied
        to both.
    normalise
        give correlation coefficients, −1…1, of the images as weighted and without their means (0 where one is
        constant); otherwise Σ a·b over the pixels.

    Returns
    -------
    Tensor
        `(..., h, w)`; the shift of zero stands at [0, 0], negative shifts at the far ends.
    """
    a, b = as_float(a), as_float(b)
    height, width = inner = tuple(a.shape[-2:])
    if b.shape[-2:] != a.shape[-2:]:
        raise ImageError(f"images of {inner} and {tuple(b.shape[-2:])} pixels", mend="bring them to one size")
    if normalise:
        a, b = a - a.mean(dim=(-2, -1), keepdim=True), b - b.mean(dim=(-2, -1), keepdim=True)
    terms_a, terms_b = (per_image(torch.fft.rfft2, image, 2) for image in (a, b))
    product = terms_a * terms_b.conj()
    if filter is not None:
        product = product * filter
    correlation = per_image(lambda part: torch.fft.irfft2(part, s=inner), product, 2)
    if not normalise:
        return correlation
    power = _power(terms_a, filter, width) * _power(terms_b, filter, width) / (height * width) ** 2
    scale = torch.where(power > 0, power.clamp_min(torch.finfo(power.dtype).tiny).rsqrt(), 0.0)
    return correlation * scale[..., None, None].to(correlation.dtype)


def find_peak(correlation: Tensor, max_shift: float | None = None) -> tuple[Tensor, Tensor]:
    """The highest peak of a periodic correlation, as `cross_correlate` makes it.

    Parameters
    ----------
    correlation
        `(..., h, w)`.
    max_shift
        look only at shifts up to this length, pixels.

    Returns
    -------
    shift_px
        `(..., 2)` as (y, x), −h/2…h/2: `b` shifted by it (`shift_image`) matches `a`.
    height
        `(...)` the correlation there, interpolated.

    Notes
    -----
    Starts at the highest pixel and climbs by Newton steps to the maximum of the trigonometric polynomial through the
    pixels, which for band-limited images is exact; where that polynomial is not concave or the climb leaves the pixel's
    neighbourhood, a parabola through the nearest pixels along each axis is used.
    """
    correlation = as_float(correlation)
    leading, inner = correlation.shape[:-2], tuple(correlation.shape[-2:])
    stack = correlation.reshape(-1, *inner)
    start = _highest_pixel(stack, max_shift)
    shift, height = _parabola(stack, start)
    climbed, top = _climb(stack, start)
    better = (
        ((climbed - start).abs() <= 1).all(dim=-1) & torch.isfinite(top) & (top >= height.double() - 1e-4 * top.abs())
    )
    shift = torch.where(better[:, None], climbed, shift)
    height = torch.where(better, top, height.double())
    return shift.reshape(*leading, 2).to(stack.dtype), height.reshape(leading).to(stack.dtype)


def _power(terms: Tensor, filter: Tensor | None, width: int) -> Tensor:
    """Σ filter · |terms|² over the whole plane, float64, from its stored half."""
    weights = torch.full((terms.shape[-1],), 2.0, device=terms.device)
    weights[0] = 1.0
    if width % 2 == 0:
        weights[-1] = 1.0
    if filter is not None:
        weights = weights * filter
    square = terms.real**2 + terms.imag**2
    return (square * weights).sum(dim=-1, dtype=torch.float64).sum(dim=-1)


def _signed(index: Tensor, size: int) -> Tensor:
    """Index 0…size − 1 of a periodic axis as a shift, the upper half negative."""
    return torch.where(index > (size - 1) // 2, index - size, index)


def _highest_pixel(stack: Tensor, max_shift: float | None) -> Tensor:
    """`(n, 2)` shift of the highest allowed pixel, float64."""
    height, width = stack.shape[-2:]
    rows = _signed(torch.arange(height, device=stack.device), height)
    columns = _signed(torch.arange(width, device=stack.device), width)
    if max_shift is not None:
        allowed = rows[:, None] ** 2 + columns[None, :] ** 2 <= max_shift**2
        stack = stack.masked_fill(~allowed, -math.inf)
    flat = stack.flatten(1).argmax(dim=1)
    return torch.stack([rows[flat // width], columns[flat % width]], dim=-1).double()


def _parabola(stack: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """Vertex of the parabolas along y and x through the highest pixel and its neighbours."""
    item = torch.arange(len(stack), device=stack.device)
    place = start.long()
    centre = stack[item, place[:, 0], place[:, 1]].double()
    shift, height = start.clone(), centre.clone()
    for axis in (0, 1):
        size = stack.shape[1 + axis]
        step = torch.zeros_like(place)
        step[:, axis] = 1
        below, above = (
            (place + sign * step).remainder(torch.tensor(stack.shape[1:], device=stack.device)) for sign in (-1, 1)
        )
        left, right = (stack[item, at[:, 0], at[:, 1]].double() for at in (below, above))
        slope, bend = (right - left) / 2, left - 2 * centre + right
        peaked = (
            (bend < 0) & (centre >= left) & (centre >= right)
            if size > 2
            else torch.zeros_like(centre, dtype=torch.bool)
        )
        offset = torch.where(peaked, -slope / torch.where(peaked, bend, -1.0), 0.0)
        shift[:, axis] += offset
        height += torch.where(peaked, slope * offset + bend * offset**2 / 2, 0.0)
    return shift, height


def _climb(stack: Tensor, start: Tensor, steps: int = 6) -> tuple[Tensor, Tensor]:
    """Newton's method on the trigonometric polynomial; NaN height where it is not concave on the way."""
    inner = tuple(stack.shape[-2:])
    terms = per_image(torch.fft.rfft2, stack, 2)
    # Twice the stored half less the columns stored once is the whole plane, as long as the real part is taken.
    terms[..., 1 : (inner[1] + 1) // 2] *= 2
    lines = [2 * math.pi * line.reshape(-1) for line in frequency_axes(inner, stack.device)]
    place = start.clone()
    lost = torch.zeros(len(stack), dtype=torch.bool, device=stack.device)
    for step in range(steps):
        height, slope, bend = _derivatives(terms, lines, place)
        determinant = bend[:, 0, 0] * bend[:, 1, 1] - bend[:, 0, 1] ** 2
        lost |= ~((bend[:, 0, 0] < 0) & (determinant > 0))
        if step == steps - 1:
            break
        # solved for every item at once; a lost one gets a harmless matrix and stays
        safe = torch.where(lost[:, None, None], -torch.eye(2, dtype=bend.dtype, device=bend.device), bend)
        move = -torch.linalg.solve(safe, slope).clamp(-1e3, 1e3)
        move = torch.where(lost[:, None], 0.0, move)
        if not bool((move.abs() > 1e-5).any()):
            break
        place = place + move / move.norm(dim=-1, keepdim=True).clamp_min(0.7).div(0.7)
    return place, torch.where(lost, math.nan, height / (inner[0] * inner[1]))


def _derivatives(terms: Tensor, lines: list[Tensor], place: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Value `(n,)`, gradient `(n, 2)` and Hessian `(n, 2, 2)` of Re Σ terms · exp(i k·place)."""
    powers = []
    for axis, line in enumerate(lines):
        turns = place[:, axis, None] * line
        wave = torch.polar(torch.ones_like(turns), turns)
        parts = torch.stack([wave, 1j * line * wave, -(line**2) * wave], dim=-1)  # (n, size, 3)
        if axis == 0 and len(line) % 2 == 0:
            # The term at −Nyquist stands for both signs: a cosine.
            middle = len(line) // 2
            k, turned = line[middle], turns[:, middle]
            cosine, sine = torch.cos(turned), torch.sin(turned)
            parts[:, middle] = torch.stack([cosine, -k * sine, -(k**2) * cosine], dim=-1).to(parts.dtype)
        powers.append(parts)
    rows, columns = (part.to(terms.dtype) for part in powers)
    moments = (rows.transpose(1, 2) @ (terms @ columns)).real.double()  # (n, 3, 3): order in y, order in x
    slope = torch.stack([moments[:, 1, 0], moments[:, 0, 1]], dim=-1)
    bend = torch.stack([moments[:, 2, 0], moments[:, 1, 1], moments[:, 1, 1], moments[:, 0, 2]], dim=-1)
    return moments[:, 0, 0], slope, bend.reshape(-1, 2, 2)
