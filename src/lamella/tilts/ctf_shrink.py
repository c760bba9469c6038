"""What the views of a series tell of each other's defocus: how far focus is set anew from view to view."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Shrunk", "shrink"]

Array = NDArray[np.float64]

_FAR = 4.0  # standard deviations beyond which a view has a reason of its own, and nothing of the others is taken
_LEAST_ANG = 30.0  # least scatter of a focus that is set anew
_USUAL_ANG = 600.0  # scatter up to which it is sought at least


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


def shrink(value_ang: Array, error_ang: Array, covariance: Array | None = None) -> Shrunk:
    """Posterior means of views whose focus scatters about one value by a width that is estimated from them.

    Parameters
    ----------
    value_ang, error_ang
        ``(n,)`` each view's own defocus and its standard error; infinite where it tells nothing.
    covariance
        ``(n, n)`` of the errors, where views share some; rows of views that tell nothing do not count.

    Notes
    -----
    Empirical Bayes (Efron & Morris 1973): the width is the mean under the marginal likelihood of those that lie
    together. An error that all views share moves them together, so it is left out where they are compared, and added
    to what is stated. A view far from all others keeps its own value. With fewer than four views nothing is taken.
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
    full = (
        np.diag(np.where(told, error_ang, 0.0) ** 2)
        if covariance is None
        else np.where(told[:, None] & told, covariance, 0.0)
    )
    between = full[told][:, told]
    shared = max(float((between.sum() - np.trace(between)) / (len(between) * (len(between) - 1))), 0.0)
    error = np.sqrt(np.maximum(np.diag(full) - shared, 0.1 * np.diag(full)))
    together = told.copy()
    middle, scatter = float(np.median(value_ang[told])), 0.0
    for _ in range(5):
        scatter, middle = _width(value_ang[together], error[together])
        spread = np.sqrt(scatter**2 + error**2)
        together = told & (np.abs(value_ang - middle) <= _FAR * spread)
        if together.sum() < 4:
            together = told
    own = np.zeros(n)
    own[together] = scatter**2 / (scatter**2 + error[together] ** 2)
    own[told & ~together] = 1.0
    weight = np.where(together, 1 / (scatter**2 + error**2), 0.0)
    weight /= weight.sum()
    value = own * np.where(told, value_ang, middle) + (1 - own) * middle
    with_middle = full @ weight
    variance = own**2 * np.diag(full) + 2 * own * (1 - own) * with_middle
    variance += (1 - own) ** 2 * (scatter**2 + weight @ with_middle + scatter**2 * (weight @ weight))
    return Shrunk(value_ang=value, error_ang=np.sqrt(variance), own=own, middle_ang=middle, scatter_ang=scatter)


def _width(value: Array, error: Array) -> tuple[float, float]:
    """Scatter, as the root of its mean square under its likelihood, and middle of the values.

    Where errors are larger than the scatter, the likeliest scatter is 0 as often as not; its mean is not.
    """
    widths = np.linspace(_LEAST_ANG, max(float(np.ptp(value)), _USUAL_ANG), 200)
    variance = widths[:, None] ** 2 + error**2
    middle = (value / variance).sum(axis=1) / (1 / variance).sum(axis=1)
    likely = -0.5 * (np.log(variance) + (value - middle[:, None]) ** 2 / variance).sum(axis=1)
    likely -= 0.5 * np.log((1 / variance).sum(axis=1))  # the middle is estimated too
    weight = np.exp(likely - likely.max())
    weight /= weight.sum()
    return float(np.sqrt(weight @ widths**2)), float(weight @ middle)
