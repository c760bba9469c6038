"""Variances of the parts of a covariance."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from lamella.kernels.variances import fit_variances


def test_scatter_that_is_a_sum_of_the_parts_gives_its_variances(rng: np.random.Generator) -> None:
    roots = rng.normal(size=(3, 6, 6))
    parts = roots @ roots.transpose(0, 2, 1)
    wanted = np.array([0.3, 2.0, 7.0])
    scatter = np.einsum("j,jab->ab", wanted, parts)
    np.testing.assert_allclose(fit_variances(scatter, parts, 0.0, 3000), wanted, rtol=1e-6)


def test_nothing_is_likelier(rng: np.random.Generator) -> None:
    """Beside a general minimiser of −2 log-likelihood, log det V + tr V⁻¹ S, on a scatter that is no such sum."""
    roots = rng.normal(size=(3, 5, 5))
    parts = roots @ roots.transpose(0, 2, 1)
    samples = rng.normal(size=(12, 5)) * np.array([1.0, 2.0, 3.0, 1.0, 0.5])
    scatter, ridge = samples.T @ samples / 12, 0.01

    def unlikely(variances: np.ndarray) -> float:
        total = np.einsum("j,jab->ab", variances, parts) + ridge * np.eye(5)
        return float(np.linalg.slogdet(total)[1] + np.trace(np.linalg.solve(total, scatter)))

    found = fit_variances(scatter, parts, ridge, 5000)
    best = minimize(unlikely, np.ones(3), bounds=[(1e-12, None)] * 3, options={"ftol": 1e-14})
    assert (found >= 0).all()
    assert unlikely(found) <= best.fun + 1e-5
