"""Which numbers of the geometry a solve may change, and how they may vary from view to view."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline

from lamella.errors import SettingsError

__all__ = ["TERMS", "Mode", "SolveModel", "Term", "basis"]

Array = NDArray[np.float64]
Mode = Literal["fixed", "common", "smooth", "free"]

TERMS = ("x_shift", "y_shift", "z_rot", "y_tilt", "x_tilt", "magnification")
"""The global terms of the projection model, in the order in which a solve keeps them."""


@dataclass(frozen=True, kw_only=True)
class Term:
    """How one term of the geometry may change.

    Attributes
    ----------
    mode
        ``fixed``: not at all. ``common``: one change for all views. ``smooth``: a cubic spline over the tilt angle.
        ``free``: one change per view.
    prior
        standard deviation of a change that is thought likely, in the term's unit (degrees; magnification: a ratio);
        infinite where nothing is known.
    knots
        degrees of freedom of a ``smooth`` change, at least 2.
    """

    mode: Mode = "fixed"
    prior: float = np.inf
    knots: int = 5

    def __post_init__(self) -> None:
        if not self.prior > 0 or self.knots < 2:
            raise SettingsError(
                f"a term with prior {self.prior} and {self.knots} knots", mend="give a prior > 0 and at least 2 knots"
            )


@dataclass(frozen=True, kw_only=True)
class SolveModel:
    """What a solve may change. Shifts are free in every view, points too.

    The tilt offset and the common x-tilt are rigid motions of the specimen: no track can tell them, a solve leaves
    them where they were, and levelling sets them.
    """

    z_rot: Term = field(default_factory=lambda: Term(mode="common"))
    y_tilt: Term = field(default_factory=Term)
    x_tilt: Term = field(default_factory=Term)
    magnification: Term = field(default_factory=Term)


def basis(term: Term, tilt_deg: Array) -> Array:
    """``(n, k)`` columns whose combinations are the changes that a term may make to n views."""
    n = len(tilt_deg)
    if term.mode == "free":
        return np.eye(n)
    if term.mode == "common":
        return np.ones((n, 1))
    if term.mode == "fixed":
        return np.zeros((n, 0))
    count = min(term.knots, n)
    degree = min(3, count - 1)
    low, high = float(np.min(tilt_deg)), float(np.max(tilt_deg))
    if high - low < 1e-6:
        return np.ones((n, 1))
    inner = np.linspace(low, high, count - degree + 1)
    knots = np.concatenate([[low] * degree, inner, [high] * degree])
    columns: Array = BSpline.design_matrix(tilt_deg, knots, degree).toarray()
    return columns
