"""What the views of a series tell of each other's defocus: how far focus is set anew from view to view."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Shrunk", "shrink"]

Array = NDArray[np.float64]

_FAR = 4.0  # standard deviations beyond which a view has a reason of its own, and nothing of the others is taken
_LEAST_ANG = 30.0  # least scatter of a focus that is set anew


@dataclass(frozen=True, kw_only=True, eq=False)
class Shrunk:
    """Defoci in the light of their series.

    Attributes
    ----------
    value_ang, error_ang
        ``(n,)`` and standard errors.
    own
        ``(n,)`` how much of each value is the view's own, 0…1.
    middle_ang, scatter_ang
        of the series.
    """

    value_ang: Array
    error_ang: Array
    own: Array
    middle_ang: float
    scatter_ang: float


def shrink(value_ang: Array, error_ang: Array) -> Shrunk:
    """Posterior means of views whose focus scatters about one value by a width that is estimated from them.

    Parameters
    ----------
    value_ang, error_ang
        ``(n,)`` each view's own defocus and its standard error; infinite where it tells nothing.

    Notes
    -----
    Empirical Bayes (Efron & Morris 1973): the width is where the marginal likelihood of those that lie together has its
    maximum. A view far from all others keeps its own value. With fewer than four views nothing is taken.
    """
    n = len(value_ang)
    told = np.isfinite(error_ang)
    if told.sum() < 4:
        middle = float(np.mean(value_ang[told])) if told.any() else float(np.mean(value_ang))
        scatter = float(np.std(value_ang[told])) if told.sum() > 1 else np.inf
        return Shrunk(
            value_ang=np.where(told, value_ang, middle), error_ang=np.where(told, error_ang, scatter),
            own=told.astype(np.float64), middle_ang=middle, scatter_ang=scatter,
        )  # fmt: skip
    together = told.copy()
    middle, scatter = float(np.median(value_ang[told])), 0.0
    for _ in range(5):
        scatter, middle = _width(value_ang[together], error_ang[together])
        spread = np.sqrt(scatter**2 + np.where(told, error_ang, 0) ** 2)
        together = told & (np.abs(value_ang - middle) <= _FAR * spread)
        if together.sum() < 4:
            together = told
    own = np.zeros(n)
    own[together] = scatter**2 / (scatter**2 + error_ang[together] ** 2)
    own[told & ~together] = 1.0
    count = max(int(together.sum()), 1)
    unsure = scatter / np.sqrt(count)  # of the middle itself
    value = own * np.where(told, value_ang, middle) + (1 - own) * middle
    error = np.sqrt(
        (own * np.where(told, error_ang, 0.0)) ** 2 + ((1 - own) * scatter) ** 2 + ((1 - own) * unsure) ** 2
    )
    return Shrunk(value_ang=value, error_ang=error, own=own, middle_ang=middle, scatter_ang=scatter)


def _width(value: Array, error: Array) -> tuple[float, float]:
    """Scatter and middle at which the values are likeliest."""
    most = max(float(np.ptp(value)), 2 * _LEAST_ANG)
    widths = np.geomspace(_LEAST_ANG, most, 60)
    variance = widths[:, None] ** 2 + error**2
    middle = (value / variance).sum(axis=1) / (1 / variance).sum(axis=1)
    likely = -0.5 * (np.log(variance) + (value - middle[:, None]) ** 2 / variance).sum(axis=1)
    likely -= 0.5 * np.log((1 / variance).sum(axis=1))  # the middle is estimated too
    best = int(np.argmax(likely))
    return float(widths[best]), float(middle[best])
