"""RELION's particles: tables built by hand, RELION's own composition of angles, real projects there and back."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import starfile

from lamella.errors import FormatError, InputError
from lamella.formats.relion_particles import read_particle_table, read_particles, relion_folder, write_particles
from lamella.formats.relion_tomograms import read_tomograms
from lamella.records import ParticleImages, Particles, ParticleSet

TOMOGRAMS = """
data_global

loop_
_rlnTomoName #1
_rlnVoltage #2
_rlnSphericalAberration #3
_rlnAmplitudeContrast #4
_rlnTomoHand #5
_rlnOpticsGroupName #6
_rlnTomoTiltSeriesPixelSize #7
_rlnTomoTiltSeriesStarFile #8
_rlnTomoTomogramBinning #9
_rlnTomoSizeX #10
_rlnTomoSizeY #11
_rlnTomoSizeZ #12
a 300 2.7 0.1 -1 one 2.0 job/tilt_series/a.star 4 400 320 200
b 200 2.7 0.1 -1 two 3.0 job/tilt_series/b.star 4 400 320 200
"""
SERIES = """
data_{name}

loop_
_rlnTomoNominalStageTiltAngle #1
_rlnTomoNominalTiltAxisAngle #2
_rlnTomoXTilt #3
_rlnTomoYTilt #4
_rlnTomoZRot #5
_rlnTomoXShiftAngst #6
_rlnTomoYShiftAngst #7
-30 85 0 -30 85 1 2
0 85 0 0 85 0 0
30 85 0 30 85 3 4
"""
PARTICLES = """
data_general

_rlnTomoSubTomosAre2DStacks 1

data_optics

loop_
_rlnOpticsGroup #1
_rlnOpticsGroupName #2
_rlnVoltage #3
_rlnSphericalAberration #4
_rlnAmplitudeContrast #5
_rlnTomoTiltSeriesPixelSize #6
_rlnCtfDataAreCtfPremultiplied #7
_rlnImageDimensionality #8
_rlnTomoSubtomogramBinning #9
_rlnImagePixelSize #10
_rlnImageSize #11
_rlnBeamTiltX #12
7 one 300 2.7 0.1 2.0 1 2 2.0 4.0 32 0.25
9 two 200 2.7 0.1 3.0 1 2 2.0 6.0 48 -0.5

data_particles

loop_
_rlnTomoName #1
_rlnCenteredCoordinateXAngst #2
_rlnCenteredCoordinateYAngst #3
_rlnCenteredCoordinateZAngst #4
_rlnTomoSubtomogramRot #5
_rlnTomoSubtomogramTilt #6
_rlnTomoSubtomogramPsi #7
_rlnAngleRot #8
_rlnAngleTilt #9
_rlnAnglePsi #10
_rlnOriginXAngst #11
_rlnOriginYAngst #12
_rlnOriginZAngst #13
_rlnTomoParticleName #14
_rlnOpticsGroup #15
_rlnRandomSubset #16
_rlnClassNumber #17
_rlnTomoVisibleFrames #18
_rlnImageName #19
_rlnGroupNumber #20
_rlnNormCorrection #21
b 10.5 -20.25 30 170 98 -164 12 80 33 1.5 -2.5 3.5 b/4 9 1 3 [1,1,0] x/4_stack2d.mrcs 2 0.75
a -1 2 3 0 0 0 -1 97 6 0 0 0 a/1 7 2 1 [0,1,1] x/1_stack2d.mrcs 1 1.25
b 0 0 0 20 30 40 50 60 70 8 9 10 b/5 9 2 1 [1,1,1] x/5_stack2d.mrcs 2 1.0
"""


@pytest.fixture
def job(tmp_path) -> Path:
    """A small project of RELION 5: two tomograms of different pixel size, three particles."""
    (tmp_path / "job/tilt_series").mkdir(parents=True)
    (tmp_path / "job/tomograms.star").write_text(TOMOGRAMS)
    for name in "ab":
        (tmp_path / f"job/tilt_series/{name}.star").write_text(SERIES.format(name=name))
    (tmp_path / "job/particles.star").write_text(PARTICLES)
    (tmp_path / "job/set.star").write_text(
        "\ndata_\n\n_rlnTomoParticlesFile job/particles.star\n_rlnTomoTomogramsFile job/tomograms.star\n"
    )
    return tmp_path


def relion_matrix(rot: float, tilt: float, psi: float) -> np.ndarray:
    """RELION's Euler_angles2matrix, entry by entry as its source has it."""
    ca, cb, cg = np.cos(np.deg2rad([rot, tilt, psi]))
    sa, sb, sg = np.sin(np.deg2rad([rot, tilt, psi]))
    cc, cs, sc, ss = cb * ca, cb * sa, sb * ca, sb * sa
    return np.array(
        [
            [cg * cc - sg * sa, cg * cs + sg * ca, -cg * sb],
            [-sg * cc - cg * sa, -sg * cs + cg * ca, sg * sb],
            [sc, ss, cb],
        ]
    )


def read(root: Path, **how) -> ParticleSet:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read_particles(root / "job/set.star", root, **how)


def changed(root: Path, *changes: tuple[str, str]) -> None:
    text = PARTICLES
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (root / "job/particles.star").write_text(text)


def test_every_column_means_what_relion_means(job):
    a, b = read(job).members
    assert (a.name, b.name) == ("a", "b")
    assert b.names == ("b/4", "b/5")
    np.testing.assert_array_equal(b.half_set, [1, 2])
    np.testing.assert_array_equal(b.classes, [3, 1])
    np.testing.assert_array_equal(b.visible, [[True, True, False], [True, True, True]])
    assert a.images == ParticleImages(names=("x/1_stack2d.mrcs",), pixel_size_ang=4.0, box_px=32)
    assert b.images is not None
    assert (b.images.pixel_size_ang, b.images.box_px) == (6.0, 48)
    assert b.other_columns["rlnNormCorrection"] == ("0.75", "1.0")
    assert (a.optics_columns["rlnBeamTiltX"], b.optics_columns["rlnBeamTiltX"]) == ("0.25", "-0.5")
    sub, own = relion_matrix(170, 98, -164), relion_matrix(12, 80, 33)
    np.testing.assert_allclose(b.matrices()[0], sub @ own, atol=1e-12)
    np.testing.assert_allclose(b.positions_ang()[0], [10.5, -20.25, 30] - sub @ np.array([1.5, -2.5, 3.5]), atol=1e-12)


def test_written_again_nothing_is_lost(job):
    write_particles(job / "again", read(job), job)
    old, new = (starfile.read(job / place / "particles.star") for place in ("job", "again"))
    assert int(new["general"]["rlnTomoSubTomosAre2DStacks"]) == 1
    before = old["particles"].sort_values("rlnTomoParticleName").reset_index(drop=True)
    after = new["particles"].sort_values("rlnTomoParticleName").reset_index(drop=True)
    assert set(after) == set(before)
    for label in set(before) - {"rlnOpticsGroup"}:
        assert after[label].tolist() == before[label].tolist(), label
    groups = new["optics"].set_index("rlnOpticsGroup").loc[after.rlnOpticsGroup]
    wanted = old["optics"].set_index("rlnOpticsGroup").loc[before.rlnOpticsGroup]
    assert set(groups) == set(wanted)
    for label in wanted:
        assert groups[label].tolist() == wanted[label].tolist(), label
    star = starfile.read(job / "again/optimisation_set.star")
    assert star.loc[0, "rlnTomoParticlesFile"] == "again/particles.star"
    back = read_particles(job / "again/optimisation_set.star", job)
    np.testing.assert_array_equal(back.positions_ang(), read(job).positions_ang())


def test_no_particles_are_a_table_without_rows(job):
    empty = ParticleSet(members=tuple(one.select([]) for one in read(job).members), quality={"Count": 0.0})
    write_particles(job / "again", empty, job)
    back = read_particles(job / "again/optimisation_set.star", job)
    assert [len(one) for one in back.members] == [0, 0]
    assert back.quality == {"Count": 0.0}


def test_columns_that_only_some_have(job):
    a, b = read(job).members
    a = a.with_changes(
        images=None, half_set=None, scores={"PickScore": np.array([0.5])}, other_columns={"rlnMore": ("x",)}
    )
    write_particles(job / "again", ParticleSet(members=(a, b)), job)
    a, b = read_particles(job / "again/optimisation_set.star", job).members
    assert [a.half_set, b.half_set, a.images, b.images] == [None] * 4
    np.testing.assert_array_equal([*a.scores["PickScore"], *b.scores["PickScore"]], [0.5, np.nan, np.nan])
    assert b.other_columns["rlnMore"] == ("None", "None")


def test_words_are_kept_as_words_and_numbers_as_scores(job):
    labels = "_rlnTomoName\n" + "".join(f"_rlnCenteredCoordinate{axis}Angst\n" for axis in "XYZ")
    labels += "_lamellaTemplate\n_lamellaPickScore\n"
    rows = "a 1 2 3 ribosome 4.5\nb 4 5 6 proteasome nan\nb 7 8 9 ribosome 5.5\n"
    (job / "job/particles.star").write_text(f"data_particles\nloop_\n{labels}{rows}")
    for place in ("job", "again"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            a, b = read_particles(job / place / "particles.star", job, job / "job/tomograms.star").members
        assert a.other_columns["lamellaTemplate"] == ("ribosome",)
        assert b.other_columns["lamellaTemplate"] == ("proteasome", "ribosome")
        np.testing.assert_array_equal(b.scores["PickScore"], [np.nan, 5.5])
        write_particles(job / "again", ParticleSet(members=(a, b)), job)
    (job / "job/particles.star").write_text(f"data_particles\nloop_\n{labels}{rows.replace('5.5', 'much')}")
    with pytest.raises(FormatError, match="'much', no number"):
        read_particles(job / "job/particles.star", job, job / "job/tomograms.star")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([("_rlnCenteredCoordinateZAngst", "_rlnSomething")], "no coordinates"),
        ([("_rlnTomoName #1\n_rlnCent", "_rlnOther #1\n_rlnCent")], "no table of particles"),
        ([("\na -1 2 3", "\nc -1 2 3")], "particles in c, which is none"),
        ([("b/5 9", "b/5 7")], "rlnTomoTiltSeriesPixelSize 3.0 and 2.0|rlnVoltage 200 and 300"),
        ([("7 one 300 2.7 0.1 2.0", "7 one 300 2.7 0.1 2.7")], "2.7 Å, but the tilt images of a have 2 Å"),
        ([("a/1 7", "a/1 8")], "optics group 8"),
        ([("[0,1,1]", "[0,1]")], "2 entries in rlnTomoVisibleFrames for the 3 views of a"),
        ([("[0,1,1]", "[0,1,2]")], "something else than 0 and 1"),
        ([("a -1 2 3", "a -1 nan 3")], "coordinates_ang of particle 1 is not a number"),
        ([("a -1 2 3", "a -1 two 3")], "'two', no number"),
        ([("a/1 7 2", "a/1 7 0")], "rlnRandomSubset 0"),
        ([("2.0 4.0 32", "2.0 None 32")], "rlnImagePixelSize of an optics group is None"),
    ],
)  # fmt: skip
def test_bad_tables_are_one_clear_error(job, changes, message):
    changed(job, *changes)
    with pytest.raises(InputError, match=message):
        read(job)


def test_sets_that_name_what_is_not_there(job):
    (job / "job/set.star").write_text(
        "data_\n_rlnTomoParticlesFile gone.star\n_rlnTomoTomogramsFile job/tomograms.star\n"
    )
    with pytest.raises(FormatError, match=r"names gone\.star, which is not there"):
        read(job)
    (job / "job/set.star").write_text(
        "data_\n_rlnTomoParticlesFile job/particles.star\n_rlnTomoTomogramsFile gone.star\n"
    )
    with pytest.raises(FormatError, match=r"names gone\.star"):
        read(job)
    assert len(read(job, tomograms=job / "job/tomograms.star")) == 3
    (job / "job/tilt_series/a.star").unlink()
    with pytest.raises(FormatError, match=r"a\.star is not there.*still there"):
        read(job, tomograms=job / "job/tomograms.star")


def test_picks_count_voxels_and_older_tables_pixels(job):
    """RELION's picks are in voxels of the tomogram; RELION 4's particles in pixels of the tilt images."""
    tomograms = [one.tomogram for one in read(job).members]
    labels = "_rlnTomoName\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnCoordinateZ\n_rlnSphereRadius\n"
    (job / "picks.star").write_text(f"data_\nloop_\n{labels}a 51 38 25 10\n")
    found = read_particle_table(job / "picks.star", tomograms).members[0]
    np.testing.assert_allclose(found.positions_ang(), [[8.0, -16.0, 0.0]])
    np.testing.assert_allclose(found.scores["SphereRadiusAngst"], [80.0])
    found = read_particle_table(job / "picks.star", tomograms, 16.0).members[0]
    np.testing.assert_allclose(found.positions_ang(), [[51 * 16 - 400, 38 * 16 - 320, 25 * 16 - 200]])
    old = PARTICLES.replace("_rlnCenteredCoordinate", "_rlnCoordinate")
    for axis in "XYZ":
        old = old.replace(f"_rlnCoordinate{axis}Angst", f"_rlnCoordinate{axis}")
    (job / "old.star").write_text(old.replace("a -1 2 3", "a 204 152 100"))
    found = read_particle_table(job / "old.star", tomograms).members[0]
    np.testing.assert_allclose(found.positions_ang(), [[8.0, -16.0, 0.0]])


JOBS = {
    "Refine3D/job074/run_optimisation_set.star": None,
    "Polish/job070/optimisation_set.star": None,
    "Extract/job020/optimisation_set.star": "Tomograms/job006/tomograms.star",
    "Refine3D/job023/run_optimisation_set.star": "Tomograms/job006/tomograms.star",
}


@pytest.mark.parametrize("name", JOBS)
@pytest.mark.filterwarnings("ignore::lamella.formats.warnings.FormatWarning")
def test_real_projects_come_back_whole(shared_data, tmp_path, name):
    root = shared_data / "relion5"
    assert relion_folder(root / name) == root.resolve()
    found = read_particles(root / name, root, None if JOBS[name] is None else root / JOBS[name])
    write_particles(tmp_path, found, tmp_path)
    table = {"Extract": "Extract/job020/particles.star", "Polish": "Polish/job070/particles.star"}
    old = starfile.read(root / table.get(name.split("/")[0], name.replace("optimisation_set", "data")))
    new = starfile.read(tmp_path / "particles.star")
    for block in ("optics", "particles"):
        assert set(new[block]) == set(old[block])
        for label in old[block]:
            if old[block][label].dtype == object:
                assert new[block][label].tolist() == old[block][label].tolist()
            else:
                np.testing.assert_array_equal(new[block][label], old[block][label], err_msg=label)


@pytest.mark.filterwarnings("ignore::lamella.formats.warnings.FormatWarning")
def test_real_particles_lie_on_the_picked_spheres_and_in_the_images(shared_data):
    root = shared_data / "relion5"
    found = read_particles(root / "Refine3D/job074/run_optimisation_set.star", root)
    tomograms = read_tomograms(root / "Tomograms/job006/tomograms.star", root)
    spheres = read_particle_table(root / "Picks/job009/annotations/TS_01_spheres.star", tomograms).members[0]
    member = found.members[0]
    away = np.linalg.norm(member.positions_ang()[:, None] - spheres.positions_ang()[None], axis=-1)
    off = np.abs(away - spheres.scores["SphereRadiusAngst"]).min(axis=1)
    assert np.median(off) < 20
    assert np.quantile(off, 0.95) < 70
    for one in found.members:
        assert one.tilt_series.geometry is not None
        assert one.visible is not None
        places = one.tilt_series.geometry.project(one.positions_ang()) / one.tilt_series.pixel_size_ang
        seen = places[one.visible.T]
        assert (np.abs(seen) < np.array([3838, 3710]) / 2).all()  # a K2's image


@pytest.mark.filterwarnings("ignore::lamella.formats.warnings.FormatWarning")
def test_real_picks_whose_table_is_gone_say_so(shared_data):
    root = shared_data / "relion5"
    with pytest.raises(FormatError, match=r"Picks/job009/particles\.star, which is not there"):
        read_particles(root / "Picks/job009/optimisation_set.star", root)
    with pytest.raises(FormatError, match=r"Denoise/job008/tilt_series/TS_01\.star is not there"):
        read_particles(root / "Extract/job020/optimisation_set.star", root)


def test_pickled_and_chosen_particles_keep_their_optics(job):
    import pickle

    member = read(job).members[1]
    again: Particles = pickle.loads(pickle.dumps(member.select([1])))
    assert again.optics_columns["rlnBeamTiltX"] == "-0.5"
    assert again.names == ("b/5",)
