"""Which numbers of the geometry a solve may change, and how they may vary from view to view."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline

from lamella.errors import SettingsError

__all__ = ["PRIORS", "TERMS", "LocalTerm", "Mode", "SolveModel", "Term", "basis"]

Array = NDArray[np.float64]
Mode = Literal["fixed", "common", "smooth", "free"]

TERMS = ("x_shift", "y_shift", "z_rot", "y_tilt", "x_tilt", "magnification")
"""The global terms of the projection model, in the order in which a solve keeps them."""

PRIORS = {"z_rot": 0.1, "y_tilt": 0.1, "x_tilt": 0.1, "magnification": 1e-3}
"""How far a view's own term usually lies from that of the others: degrees, magnification as a ratio.

A goniometer returns to an angle within some hundredths of a degree and reads it to about 0.1°; the image turns by about
as much as the lenses settle and the specimen bends; focus set anew in each view changes the magnification by about the
change of defocus over the focal length of some millimetres, 1e-4 to 1e-3. They are where an estimate of a width begins.
"""


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
        infinite where nothing is known. Of a ``smooth`` or ``free`` term it is that of a view's change about the mean
        change of all views, which is not held: it is no picture's (tilt offset, x-tilt, scale) or well seen (axis).
    estimated
        whether the width is found from the data, starting at `prior` (by the marginal likelihood), between a hundredth
        and thirty times of it.
    knots
        degrees of freedom of a ``smooth`` change, at least 2.
    """

    mode: Mode = "fixed"
    prior: float = np.inf
    estimated: bool = False
    knots: int = 5

    def __post_init__(self) -> None:
        if not self.prior > 0 or self.knots < 2:
            raise SettingsError(
                f"a term with prior {self.prior} and {self.knots} knots", mend="give a prior > 0 and at least 2 knots"
            )
        if self.estimated and not np.isfinite(self.prior):
            raise SettingsError("an infinite prior cannot be where an estimate begins", mend="give a finite width")


@dataclass(frozen=True, kw_only=True)
class LocalTerm:
    """Local deformation: a smooth displacement beside the global terms.

    Attributes
    ----------
    kind
        ``image``: a displacement in the image plane, a polynomial of the place in the image. ``specimen``: matter moves
        by u(x, y), a polynomial of the place in the specimen's plane, and each view projects that motion.
    over
        what its coefficients follow: ``tilt`` angle, or ``dose``.
    degree
        of the polynomials, 1 to 3. Degree 1 holds a stretch along one direction (skew), which no global term has.
    shapes
        degrees of freedom over tilt or dose.
    prior_ang
        rms displacement, Å, where the estimate of its width begins; one width per degree is found from the data.
    fading
        how much smaller each further degree of freedom over tilt or dose is believed to be than the one before, 0…1.
    """

    kind: Literal["image", "specimen"] = "image"
    over: Literal["tilt", "dose"] = "tilt"
    degree: int = 3
    shapes: int = 3
    prior_ang: float = 2.0
    fading: float = 1.0

    def __post_init__(self) -> None:
        if self.degree not in (1, 2, 3) or self.shapes < 1 or not 0 < self.prior_ang < np.inf:
            raise SettingsError(
                f"a local term of degree {self.degree}, {self.shapes} shapes and prior {self.prior_ang} Å",
                mend="give a degree from 1 to 3, one shape at least and a finite prior > 0",
            )
        if not 0 < self.fading <= 1:
            raise SettingsError(f"a local term that fades by {self.fading}", mend="give a factor above 0, 1 at most")


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
    local: LocalTerm | None = None


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
