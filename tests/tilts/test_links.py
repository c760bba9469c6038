from __future__ import annotations

import numpy as np

from lamella.tilts.links import neighbour_links, solve_links


def test_links_are_the_pairs_a_step_apart() -> None:
    order = np.array([3, 1, 0, 2])
    pairs = neighbour_links(order, (1, 3))
    assert pairs.tolist() == [[3, 1], [1, 0], [0, 2], [3, 2]]


def test_exact_differences_give_exact_places(rng: np.random.Generator) -> None:
    places = rng.normal(size=(12, 2)) * 30
    pairs = neighbour_links(np.arange(12), (1, 2, 3))
    differences = places[pairs[:, 0]] - places[pairs[:, 1]]
    solution = solve_links(pairs, differences, np.ones((len(pairs), 2)), 12, tolerance=1.0)
    np.testing.assert_allclose(solution.places, places - places.mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(solution.robust_weights, 1.0)


def test_wrong_links_are_outvoted(rng: np.random.Generator) -> None:
    places = np.cumsum(rng.normal(size=(30, 2)) * 3, axis=0)
    pairs = neighbour_links(np.arange(30), (1, 2, 3))
    differences = places[pairs[:, 0]] - places[pairs[:, 1]] + rng.normal(scale=0.2, size=(len(pairs), 2))
    wrong = np.arange(5, len(pairs), 9)
    differences[wrong] += rng.uniform(20, 60, size=(len(wrong), 2))
    solution = solve_links(pairs, differences, np.ones((len(pairs), 2)), 30, tolerance=1.0)
    off = solution.places - places
    assert np.abs(off - off.mean(axis=0)).max() < 1.0
    assert solution.robust_weights[wrong].max() < 0.01
    assert np.median(solution.robust_weights) > 0.9


def test_variances_are_those_of_repeated_measurements(rng: np.random.Generator) -> None:
    pairs = neighbour_links(np.arange(8), (1, 2))
    found = []
    for _ in range(400):
        noise = rng.normal(scale=0.1, size=(len(pairs), 2))
        found.append(solve_links(pairs, noise, np.full((len(pairs), 2), 100.0), 8, tolerance=10.0).places)
    stated = solve_links(pairs, np.zeros((len(pairs), 2)), np.full((len(pairs), 2), 100.0), 8, tolerance=10.0).variances
    np.testing.assert_allclose(np.var(found, axis=0), stated, rtol=0.3)


def test_a_view_that_nothing_links_has_no_place() -> None:
    pairs = np.array([[0, 1], [1, 2]])
    solution = solve_links(pairs, np.ones((2, 2)), np.ones((2, 2)), 4, tolerance=1.0)
    assert np.isinf(solution.variances[3]).all()
    np.testing.assert_allclose(solution.places[:3, 0], [1, 0, -1], atol=1e-9)


def test_links_without_information_are_no_links() -> None:
    solution = solve_links(np.array([[0, 1]]), np.ones((1, 2)), np.zeros((1, 2)), 2, tolerance=1.0)
    assert np.isinf(solution.variances).all()
    np.testing.assert_array_equal(solution.places, 0)
