"""The steps `initial-model` and `classify`: what they write, and what the records say of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.particles.model_cases import BODY, body_map, pictures_of, tilt_series
from tests.workflow.particle_project import make_project

from lamella.errors import InputError, SettingsError
from lamella.formats.mrc import open_mrc, read_mrc, write_mrc
from lamella.formats.particle_images import ParticleWriter
from lamella.particles.classify_settings import ClassifySettings
from lamella.particles.model_settings import ModelSettings
from lamella.particles.refine_settings import RefineSettings
from lamella.records import Map, ParticleSet
from lamella.workflow.context import Context
from lamella.workflow.enabling import is_enabled
from lamella.workflow.record_name import RecordName
from lamella.workflow.settings_file import SettingsFile
from lamella.workflow.steps import classify, initial_model
from lamella.workflow.steps import refine as refine_step

BOX, PIXEL, COUNT = 16, 20.0, 12


@pytest.fixture
def record(tmp_path: Path) -> ParticleSet:
    """A dozen particles in two series, with their pictures in files."""
    series = [tilt_series("TS_01", views=7), tilt_series("TS_02", views=7)]
    kinds = np.zeros(COUNT, dtype=np.int64)
    particles, source, matrices, _ = pictures_of([BODY], kinds, box_px=BOX, pixel_ang=PIXEL, series=series)
    write = ParticleWriter(folder=tmp_path / "extract", root=tmp_path, pixel_size_ang=PIXEL)
    members, first = [], 0
    for member, pose in zip(particles.members, particles.split(matrices), strict=True):
        names = tuple(write(name, source.read(first + k), None)[0] for k, name in enumerate(member.names or ()))
        first += len(member)
        assert member.images is not None
        members.append(member.with_poses(pose).with_changes(images=replace(member.images, names=names)))
    return replace(particles, members=tuple(members))


def context(root: Path, name: str) -> Context:
    (root / name).mkdir()
    return Context(root=root, folder=root / name, series="particles", whole=True)


def test_a_first_model_is_the_records_map(record: ParticleSet, tmp_path: Path) -> None:
    around = context(tmp_path, "initial-model")
    settings = ModelSettings(iterations=10, resolution=60.0, classes=2)
    made = initial_model.run(record, settings, around)
    assert made.map is not None
    assert made.map.volume == "initial-model/map.mrc"
    assert made.map.classes == ("initial-model/class_1.mrc", "initial-model/class_2.mrc")
    assert all((tmp_path / name).is_file() for name in (made.map.volume, *made.map.classes))
    volume, voxel = read_mrc(tmp_path / made.map.volume)
    assert volume.shape == (BOX,) * 3
    assert voxel == pytest.approx(PIXEL)
    sizes = np.bincount(np.concatenate([one.classes for one in made.members]), minlength=3)[1:]
    np.testing.assert_array_equal(volume, read_mrc(tmp_path / made.map.classes[int(sizes.argmax())])[0])
    assert around.quality["Class1Particles"] + around.quality["Class2Particles"] == COUNT
    assert len(around.outputs) == 3


def test_classes_stand_beside_the_map_that_was_there(record: ParticleSet, tmp_path: Path) -> None:
    (tmp_path / "refine").mkdir()
    write_mrc(tmp_path / "refine/map.mrc", body_map(BODY, BOX, PIXEL), PIXEL)
    known = Map(volume="refine/map.mrc", half1="refine/a.mrc", half2="refine/b.mrc", voxel_size_ang=PIXEL, box_px=BOX)
    around = context(tmp_path, "classify")
    made = classify.run(replace(record, map=known), ClassifySettings(classes=2), around)
    assert made.map is not None
    assert made.map.volume == "refine/map.mrc"
    assert made.map.halves == known.halves
    assert made.map.classes == ("classify/class_1.mrc", "classify/class_2.mrc")
    assert open_mrc(tmp_path / made.map.classes[0]).shape == (BOX,) * 3
    np.testing.assert_allclose(made.matrices(), record.matrices(), atol=1e-9)


def test_without_a_map_the_largest_class_is_it(record: ParticleSet, tmp_path: Path) -> None:
    made = classify.run(record, ClassifySettings(classes=2), context(tmp_path, "classify"))
    assert made.map is not None
    assert made.map.volume == "classify/map.mrc"


def test_a_mask_of_another_shape_is_refused(record: ParticleSet, tmp_path: Path) -> None:
    write_mrc(tmp_path / "mask.mrc", np.ones((4, 5, 6), np.float32), PIXEL)
    with pytest.raises(InputError, match="cube"):
        classify.run(record, ClassifySettings(mask="mask.mrc"), context(tmp_path, "classify"))


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ({"pick": {"template": "template.mrc"}}, False),
        ({"refine": {"reference": "reference.mrc"}}, False),
        ({"pick": {"method": "import", "coordinates": "points.csv"}}, True),
        ({"pick": {"method": "import", "coordinates": "points.csv", "template": "unused.mrc"}}, True),
        ({"pick": {"template": "template.mrc"}, "initial-model": {"enabled": True}}, True),
        ({"pick": {"method": "import", "coordinates": "points.csv"}, "initial-model": {"enabled": False}}, False),
    ],
)
def test_a_first_model_is_made_where_nothing_else_is_a_reference(
    tmp_path: Path, given: dict[str, dict[str, object]], made: bool
) -> None:
    project, _ = make_project(tmp_path)
    settings = SettingsFile.default(tmp_path / "settings.toml")
    for step, values in given.items():
        settings.change(RecordName(step), values)
    assert is_enabled(project, settings, RecordName("initial-model")) is made


def test_refinement_of_one_class_begins_with_its_map() -> None:
    known = Map(volume="m/map.mrc", classes=("m/class_1.mrc", "m/class_2.mrc"), voxel_size_ang=PIXEL, box_px=BOX)
    assert [refine_step.map_of(known, classes) for classes in ("", "2", "1,2", "3")] == [
        "m/map.mrc", "m/class_2.mrc", "m/map.mrc", "m/map.mrc"
    ]  # fmt: skip


def test_a_first_model_without_the_symmetry_is_not_refined_with_it(record: ParticleSet, tmp_path: Path) -> None:
    made = initial_model.run(record, ModelSettings(iterations=4, resolution=60.0), context(tmp_path, "initial-model"))
    with pytest.raises(SettingsError, match="axes lie anywhere"):
        refine_step.run(made, RefineSettings(symmetry="D2"), context(tmp_path, "refine"))
