from __future__ import annotations

import numpy as np
import pytest

from lamella.errors import SettingsError
from lamella.tilts.terms import LocalTerm, Term, basis

TILT = np.linspace(-60, 60, 41)


def test_fixed_common_and_free() -> None:
    assert basis(Term(), TILT).shape == (41, 0)
    np.testing.assert_array_equal(basis(Term(mode="common"), TILT), np.ones((41, 1)))
    np.testing.assert_array_equal(basis(Term(mode="free"), TILT), np.eye(41))


@pytest.mark.parametrize("knots", [2, 3, 4, 5, 9])
def test_a_smooth_term_holds_constants_and_straight_lines(knots: int) -> None:
    columns = basis(Term(mode="smooth", knots=knots), TILT)
    assert columns.shape == (41, knots)
    for wanted in (np.ones(41), TILT):
        fitted = columns @ np.linalg.lstsq(columns, wanted, rcond=None)[0]
        np.testing.assert_allclose(fitted, wanted, atol=1e-9)


def test_a_smooth_term_of_few_views_is_no_more_than_free() -> None:
    assert basis(Term(mode="smooth", knots=9), TILT[:4]).shape == (4, 4)


def test_refuses_senseless_terms() -> None:
    with pytest.raises(SettingsError):
        Term(prior=0.0)
    with pytest.raises(SettingsError):
        Term(mode="smooth", knots=1)


@pytest.mark.parametrize("fading", [0.0, -0.5, 1.5])
def test_a_local_term_fades_by_a_factor(fading):
    with pytest.raises(SettingsError, match="fades"):
        LocalTerm(fading=fading)
