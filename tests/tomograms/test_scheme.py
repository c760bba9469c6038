"""Groups of views and their order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamella.errors import SettingsError
from lamella.tomograms.reconstruct_settings import ReconstructSettings
from lamella.tomograms.scheme import multilevel_order, plan_scheme, view_groups


@given(st.integers(1, 200))
def test_multilevel_order_is_a_permutation(count):
    assert sorted(multilevel_order(count).tolist()) == list(range(count))


def test_multilevel_order_is_spread_evenly():
    for count in (16, 41, 60):
        order = multilevel_order(count)
        for some in (4, 8, 16):
            gaps = np.diff(np.concatenate([[0], np.sort(order[:some]), [count - 1]]))
            assert gaps.max() <= 2.1 * count / some


@given(st.integers(2, 60), st.data())
def test_groups_take_every_view_once_and_are_alike(views, data):
    count = data.draw(st.integers(1, views))
    tilts = data.draw(st.permutations(list(range(views))))
    groups = view_groups(tilts, count)
    assert len(groups) == count
    assert sorted(np.concatenate(groups).tolist()) == list(range(views))
    sizes = {len(group) for group in groups}
    assert max(sizes) - min(sizes) <= 1
    if count > 1:
        for group in groups:
            taken = np.sort(np.asarray(tilts)[group])
            assert (np.diff(taken) == count).all()


def test_the_scheme_that_settings_ask_for():
    tilts = np.arange(-60, 61, 3.0)
    sirt = plan_scheme(tilts, ReconstructSettings(method="sirt", subsets=7))
    assert [group.tolist() for group in sirt.groups] == [list(range(41))]
    assert sirt.relaxation == 1
    sart = plan_scheme(tilts, ReconstructSettings(method="sart"), sign=-1, without=[3, 20])
    assert len(sart.groups) == 39
    assert {int(group[0]) for group in sart.groups} == set(range(41)) - {3, 20}
    assert (sart.relaxation, sart.sign, sart.sizes) == (pytest.approx(39**-0.5), -1, {1})
    stated = plan_scheme(tilts, ReconstructSettings(method="sart", subsets=10, relaxation=0.4))
    assert (len(stated.groups), stated.relaxation, stated.sizes) == (10, 0.4, {4, 5})
    with pytest.raises(SettingsError, match="50 subsets of 41 views"):
        plan_scheme(tilts, ReconstructSettings(method="sart", subsets=50))
