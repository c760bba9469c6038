"""Move the places of an image by a smooth field, without the blur of ordinary interpolation."""

from __future__ import annotations

import numba
import numpy as np
import scipy.special
from numpy.typing import NDArray

from lamella.records import LocalMotion

__all__ = ["warp"]

Array = NDArray[np.float64]
Image = NDArray[np.float32]

TAPS = 8
"""Pixels each way that an interpolated value is made of: windowed sinc, Kaiser's window."""
BETA = 4.6
_STEPS = 2048
_NODES = 40  # about, along the shorter side, of the grid on which the smooth displacement is worked out
_ROUNDS = 4


def warp(
    image: Image, local: LocalMotion, frame: int, corner_px: tuple[int, int], moved_px: tuple[float, float]
) -> Image:
    """Show what stands at p + moved in the image at p + moved + displacement(p), p counted in pixels of the frame.

    Parameters
    ----------
    image
        ``(h, w)`` an image with room around the frame.
    local
        the displacement; it says how large the frame is.
    frame
        which of its frames.
    corner_px
        (x, y) of the frame's pixel 0 in the image.
    moved_px
        (x, y) by which the image is moved already.

    Returns
    -------
    frame
        of the size that `local` states.
    """
    height, width = local.shape_px
    spacing = max(4, min(height, width) // _NODES)
    one = LocalMotion(local.coefficients_px[frame : frame + 1], local.shape_px)
    y, x = (np.arange(0, size + spacing, spacing, dtype=np.float64) for size in (height, width))
    target = np.stack(np.broadcast_arrays(x[None, :], y[:, None]), axis=-1)
    source = target
    for _ in range(_ROUNDS):
        source = target - one.displacement(source - np.array(moved_px))[0]
    moved = np.ascontiguousarray((source - target).transpose(2, 0, 1), dtype=np.float32)
    out = np.empty((height, width), dtype=np.float32)
    _sample(np.ascontiguousarray(image), moved, _table(), spacing, corner_px[0], corner_px[1], out)
    return out


def _table() -> Image:
    """``(steps + 1, TAPS)`` weights of the neighbours for each fraction of a pixel; each row adds up to 1."""
    fraction = np.arange(_STEPS + 1)[:, None] / _STEPS
    distance = np.arange(TAPS) - (TAPS // 2 - 1) - fraction
    window = scipy.special.i0(BETA * np.sqrt(np.clip(1 - (2 * distance / TAPS) ** 2, 0, None)))
    weights = np.sinc(distance) * window
    return np.ascontiguousarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)


@numba.njit(nogil=True, cache=True, fastmath=True)
def _sample(image, moved, table, spacing, left, top, out):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    height, width = image.shape
    steps = table.shape[0] - 1
    nodes = moved.shape[2]
    line_x, line_y = np.empty(nodes, np.float32), np.empty(nodes, np.float32)
    for row in range(out.shape[0]):
        node_y = row // spacing
        part_y = np.float32(row - node_y * spacing) / spacing
        for node in range(nodes):
            line_x[node] = (1 - part_y) * moved[0, node_y, node] + part_y * moved[0, node_y + 1, node]
            line_y[node] = (1 - part_y) * moved[1, node_y, node] + part_y * moved[1, node_y + 1, node]
        for column in range(out.shape[1]):
            node_x = column // spacing
            part_x = np.float32(column - node_x * spacing) / spacing
            by_x = (1 - part_x) * line_x[node_x] + part_x * line_x[node_x + 1]
            by_y = (1 - part_x) * line_y[node_x] + part_x * line_y[node_x + 1]
            whole_x, whole_y = int(np.floor(by_x)), int(np.floor(by_y))
            weights_x = table[int((by_x - whole_x) * steps + 0.5)]
            weights_y = table[int((by_y - whole_y) * steps + 0.5)]
            x0 = left + column + whole_x - (TAPS // 2 - 1)
            y0 = top + row + whole_y - (TAPS // 2 - 1)
            total = np.float32(0)
            if x0 >= 0 and y0 >= 0 and x0 + TAPS <= width and y0 + TAPS <= height:
                window = image[y0 : y0 + TAPS, x0 : x0 + TAPS]
                for b in range(TAPS):
                    part = np.float32(0)
                    for a in range(TAPS):
                        part += weights_x[a] * window[b, a]
                    total += weights_y[b] * part
            else:
                for b in range(TAPS):
                    line = image[min(max(y0 + b, 0), height - 1)]
                    for a in range(TAPS):
                        total += weights_y[b] * weights_x[a] * line[min(max(x0 + a, 0), width - 1)]
            out[row, column] = total
