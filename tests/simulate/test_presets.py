"""Presets, and how their numbers follow the field."""

from __future__ import annotations

import time

import numpy as np
import pytest
from pydantic import ValidationError

from lamella.errors import InputError
from lamella.simulate import PRESETS, SimulateSettings, build_specimen, preset_settings
from lamella.simulate.preset_table import PRESET_TABLE

NAMES = ("quick", "purified", "beads", "cellular", "lamella", "virions", "dual", "movies")
COUNTS = ("particles", "small_particles", "beads", "vesicles", "virions", "sheets", "contamination")
COUNTS += ("microtubules", "actin", "hot_pixels", "dead_pixels", "hot_columns")


def test_the_presets_that_are_offered_exist() -> None:
    assert tuple(PRESETS) == tuple(PRESET_TABLE) == NAMES
    assert all(preset.summary for preset in PRESET_TABLE.values())
    quick = PRESETS["quick"]
    assert (quick.image_shape_px, quick.pixel_size) == ((512, 512), 8.0)
    assert quick == SimulateSettings()
    assert quick.movies
    assert quick.axis != quick.nominal_axis
    with pytest.raises(TypeError):
        PRESETS["other"] = quick  # type: ignore[index]


def test_movies_have_the_dose_they_are_known_for() -> None:
    movies = PRESETS["movies"]
    assert movies.dose * movies.pixel_size**2 / movies.frames == pytest.approx(0.7)
    assert (movies.image_shape_px, movies.frames, movies.thickness) == ((2048, 2048), 8, 1000.0)
    assert movies.hot_columns > 0


@pytest.mark.parametrize("name", NAMES)
def test_the_same_field_changes_nothing(name: str) -> None:
    own = PRESETS[name]
    assert preset_settings(name) == own
    assert preset_settings(name, dose=2.0, seed=3) == own.model_copy(update={"dose": 2.0, "seed": 3})
    assert preset_settings(name, size=own.size, thickness=own.thickness) == own


@pytest.mark.parametrize("name", NAMES)
def test_of_what_there_is_any_one_stays(name: str) -> None:
    own, tiny = PRESETS[name], preset_settings(name, size=32)
    for count in COUNTS:
        assert (getattr(tiny, count) > 0) == (getattr(own, count) > 0), count


def test_numbers_follow_the_field_so_that_the_density_stays() -> None:
    half = preset_settings("purified", size=512)
    assert (half.particles, half.beads, half.hot_pixels, half.dead_pixels) == (50, 2, 3, 2)
    thin = preset_settings("purified", thickness=550.0)
    assert (thin.particles, thin.beads) == (100, 10)
    finer = preset_settings("purified", pixel_size=1.7, width=2048, height=1024)
    assert (finer.particles, finer.hot_pixels) == (100, 24)
    crowd = preset_settings("lamella", size=2048, thickness=850.0)
    assert (crowd.particles, crowd.small_particles, crowd.vesicles, crowd.sheets) == (160, 1400, 8, 2)
    assert (crowd.microtubules, crowd.actin, crowd.contamination) == (1, 3, 8)
    assert crowd.bend == pytest.approx(4 * 120.0)
    movies = preset_settings("movies", size=1024)
    assert (movies.particles, movies.hot_columns, movies.hot_pixels) == (15, 2, 10)
    assert movies.xrays == pytest.approx(0.5)
    inside = preset_settings("beads", thickness=3000.0, bead_surfaces="inside")
    assert (inside.beads, inside.contamination) == (120, 3)


def test_what_is_asked_for_is_exact() -> None:
    asked = preset_settings("purified", size=256, particles=37, beads=0, thickness=900.0, hot_pixels=5)
    assert (asked.particles, asked.beads, asked.hot_pixels) == (37, 0, 5)
    assert asked.dead_pixels == 1
    assert preset_settings("cellular", size=256, bend=90.0).bend == 90.0


def test_presets_and_changes_that_cannot_be_are_refused() -> None:
    with pytest.raises(InputError, match=r"no preset 'beeds'; did you mean beads"):
        preset_settings("beeds")
    with pytest.raises(InputError, match="choose one of quick, purified"):
        preset_settings("x")
    with pytest.raises(ValidationError):
        preset_settings("beads", size=2)
    with pytest.raises(ValidationError):
        preset_settings("beads", thickness=50.0)


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_can_be_built(name: str) -> None:
    """At a coarse pixel the same matter is quick to make; nothing lacks room."""
    own = PRESETS[name]
    size = round(own.size * own.pixel_size / 16.0)
    started = time.perf_counter()
    specimen = build_specimen(preset_settings(name, size=size, pixel_size=16.0, tilt_range=30.0))
    assert time.perf_counter() - started < 30
    assert np.isfinite(specimen.bodies.places_ang).all()
    assert (specimen.film is not None) == (name == "cellular")
    assert (len(specimen.beads_ang) == 0) == (name in ("cellular", "lamella", "movies"))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_preset_can_be_built_in_a_small_field(name: str, seed: int) -> None:
    """The field of 256 px of the preset's own pixels, sampled more coarsely."""
    own = PRESETS[name]
    pixel = max(8.0, own.pixel_size)
    settings = preset_settings(name, size=round(256 * own.pixel_size / pixel), pixel_size=pixel, seed=seed)
    specimen = build_specimen(settings)
    named = [specimen.templates[kind].name for kind in specimen.particles_in_view().template]
    for small in ("groel", "ternary_complex"):
        assert (small in named) == (own.small_particles > 0)
    assert named.count("ribosome") == settings.particles
