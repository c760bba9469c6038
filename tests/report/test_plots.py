"""Plots show what is in the record: places, values, and no more pixels read than shown."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import center_of_mass

from lamella.errors import GeometryError, InputError
from lamella.geometry import TiltGeometry
from lamella.records import ArrayImages, ArrayVolume, LocalMotion, MovieMotion, TiltSeries, Tomogram
from lamella.records.tracks import Tracks
from lamella.report import RunRow
from lamella.report import plots as plots_room
from lamella.report.pictures import as_svg, as_webp
from lamella.report.plots import (
    plot_axis,
    plot_heights,
    plot_intensity,
    plot_local_motion,
    plot_montage,
    plot_motion_lengths,
    plot_power,
    plot_power_images,
    plot_residuals,
    plot_scores,
    plot_shifts,
    plot_slices,
    plot_timings,
    plot_track_residuals,
    plot_tracks,
    plot_tracks_on_views,
    plot_trajectories,
    tilt_movie,
)
from lamella.report.plots.montage import aligned_view
from lamella.report.plots.slices import orthoslices
from lamella.report.plots.spectra import tile_power
from lamella.report.plots.style import angle_text, block_mean, grey_limits, length_text, nice_length


def series(views: int = 7, shape: tuple[int, int] = (96, 128), axis: float = 84.0) -> TiltSeries:
    rng = np.random.default_rng(4)
    tilt = np.linspace(-45, 45, views)
    return TiltSeries(
        name="TS",
        pixel_size_ang=5.0,
        image_shape_px=shape,
        nominal_tilt_deg=tilt,
        nominal_axis_deg=np.full(views, 85.0),
        geometry=TiltGeometry.from_angles(
            tilt + 2.0,
            axis + 0.5 * np.sin(tilt),
            x_tilt_deg=1.5,
            x_shift_ang=rng.normal(scale=30, size=views),
            y_shift_ang=rng.normal(scale=30, size=views),
        ),
    )


def spots(record: TiltSeries, points: np.ndarray) -> ArrayImages:
    """Pictures of Gaussian spots where the geometry puts points."""
    height, width = record.image_shape_px
    y, x = np.mgrid[:height, :width]
    images = np.zeros((len(record), height, width), np.float32)
    for place in np.moveaxis(record.geometry.project(points), 1, 0):
        for view, (px, py) in enumerate(place / record.pixel_size_ang):
            images[view] += np.exp(-((x - width // 2 - px) ** 2 + (y - height // 2 - py) ** 2) / 8)
    return ArrayImages(images)


@pytest.mark.parametrize(("axis", "longest"), [(84.0, 200), (84.0, 64), (-5.0, 200), (-5.0, 43), (265.0, 64)])
def test_aligned_views_hold_the_mid_plane_still(axis: float, longest: int) -> None:
    record = series(axis=axis)
    point = np.array([60.0, -80.0, 0.0])
    images = spots(record, point[None])
    factor = block_mean(images.view(0), longest)[1]
    for view in range(len(record)):
        picture = np.nan_to_num(aligned_view(record, images, view, longest))
        height, width = picture.shape
        found = center_of_mass(np.where(picture > 0.3 * picture.max(), picture, 0))
        x, y = (found[1] - width // 2) * factor * 5.0, (found[0] - height // 2) * factor * 5.0
        assert np.hypot(x - 60, y + 80) < 2.0 * factor  # 0.4 px of the thumbnail


def test_a_view_without_geometry_cannot_be_aligned() -> None:
    record = series().with_changes(geometry=None)
    images = ArrayImages(np.zeros((7, 96, 128), np.float32))
    for draw in (lambda: aligned_view(record, images, 0, 64), lambda: plot_shifts(record), lambda: plot_axis(record)):
        with pytest.raises(GeometryError, match="no geometry yet"):
            draw()


def texts(figure) -> str:
    import matplotlib.text

    return " | ".join(item.get_text() for item in figure.findobj(matplotlib.text.Text))


def test_the_montage_shows_every_view_with_its_angle() -> None:
    record = series()
    images = spots(record, np.zeros((1, 3)))
    figure = plot_montage(record, images, excluded_places=frozenset({3}))
    words = texts(figure)
    for angle in record.tilt_deg:
        assert angle_text(angle) in words
    assert "no. 3 out" in words
    sheet = figure.axes[0].images[0].get_array()
    assert (np.ma.filled(sheet, np.nan) > 0.9).sum() >= 7


def test_a_long_series_is_thinned() -> None:
    record = series(views=200, shape=(32, 32))
    figure = plot_montage(record, ArrayImages(np.random.default_rng(0).random((200, 32, 32), np.float32)))
    assert texts(figure).count("°") == 67


def test_the_film_has_a_frame_per_view() -> None:
    record = series()
    images = spots(record, np.random.default_rng(0).uniform(-100, 100, (5, 3)))
    film = Image.open(
        io.BytesIO(tilt_movie(record, images, record.select(range(1, 6)), ArrayImages(images.array[1:6])))
    )
    assert film.n_frames == 5


def test_shifts_axis_and_residuals_are_the_records() -> None:
    record = series()
    record = record.with_changes(scores={"AlignResidualAngst": np.full(7, 2.5)})
    upper, lower = plot_shifts(record).axes[:2]
    np.testing.assert_array_equal(upper.lines[0].get_ydata(), record.geometry.x_shift_ang)
    np.testing.assert_array_equal(upper.lines[1].get_ydata(), record.geometry.y_shift_ang)
    assert [bar.get_height() for bar in lower.patches] == [2.5] * 7
    assert "rms 2.5 Å = 0.50 px" in texts(lower.figure)
    figure = plot_axis(record)
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), record.geometry.z_rot_deg)
    np.testing.assert_array_equal(figure.axes[0].lines[1].get_ydata(), record.nominal_axis_deg)
    np.testing.assert_allclose(figure.axes[1].lines[0].get_ydata(), 2.0)
    low, high = figure.axes[2].get_ylim()
    assert high - low >= 1.0  # a constant is drawn as one
    assert len(figure.axes) == 3
    scaled = record.with_changes(geometry=record.geometry.with_terms(magnification=np.linspace(0.99, 1.01, 7)))
    assert len(plot_axis(scaled).axes) == 4


def test_residuals_may_come_from_the_tracks_or_be_absent() -> None:
    record = series()
    points = np.random.default_rng(1).uniform(-100, 100, (6, 3))
    seen = record.geometry.project(points)
    tracks = Tracks(
        observations_ang=seen,
        weights=np.ones((7, 6)),
        points_ang=points,
        residuals_ang=np.broadcast_to([3.0, 4.0], seen.shape),
    )
    assert "rms 5.0 Å" in texts(plot_shifts(record, tracks))
    assert "no residuals" in texts(plot_shifts(record))
    figure = plot_tracks(record, tracks)
    assert "6 points" in texts(figure)
    np.testing.assert_allclose(figure.axes[1].collections[0].get_offsets()[:, 1], points[:, 2] / 10)
    unsolved = Tracks.observed(seen)
    assert "0 points" in texts(plot_tracks(record, unsolved))


def test_excluded_views_stand_out_by_brightness() -> None:
    record = series()
    images = ArrayImages(np.full((7, 96, 128), 50.0, np.float32) * np.arange(1, 8, dtype=np.float32)[:, None, None])
    axis = plot_intensity(record, images, frozenset({2})).axes[0]
    crosses = next(line for line in axis.lines if line.get_marker() == "x")
    np.testing.assert_allclose(crosses.get_ydata(), [100.0])


class CountingVolume(ArrayVolume):
    """Remembers how many voxels were read."""

    def __init__(self, array: np.ndarray) -> None:
        super().__init__(array)
        object.__setattr__(self, "read", [])

    def block(self, z: slice, y: slice, x: slice) -> np.ndarray:
        part = super().block(z, y, x)
        self.read.append(part.size)
        return part


def test_slices_go_through_the_centre_voxel_and_nothing_else_is_read() -> None:
    volume = np.zeros((40, 60, 80), np.float32)
    volume[20, 30, 40] = 9.0
    source = CountingVolume(volume)
    slices = orthoslices(source, 20.0)
    assert slices.averaged == 3
    assert (slices.xy.shape, slices.xz.shape, slices.zy.shape) == ((60, 80), (40, 80), (60, 40))
    assert np.unravel_index(slices.xy.argmax(), slices.xy.shape) == (30, 40)
    assert np.unravel_index(slices.xz.argmax(), slices.xz.shape) == (20, 40)
    assert np.unravel_index(slices.zy.argmax(), slices.zy.shape) == (30, 20)
    assert slices.xy.max() == pytest.approx(3.0)
    assert sum(source.read) == 3 * (60 * 80 + 40 * 80 + 40 * 60)


def test_slices_are_drawn_before_and_after_with_a_scale() -> None:
    rng = np.random.default_rng(2)
    tomogram = Tomogram(tilt_series=series(), size_px=(80, 60, 40), binning=2.0)
    volume = ArrayVolume(rng.normal(size=(40, 60, 80)).astype(np.float32))
    figure = plot_slices(tomogram, volume, volume)
    words = texts(figure)
    assert "reconstructed" in words
    assert "denoised" in words
    assert "20 nm" in words
    assert len(figure.axes) == 6
    assert len(plot_slices(tomogram, volume).axes) == 3
    heights = texts(plot_heights(tomogram, volume))
    assert "z = 0 nm" in heights
    assert len(as_webp(figure)) > 2000


@pytest.mark.parametrize("shape", [(2, 8, 8), (1, 30, 200), (64, 9, 33)])
def test_odd_volumes_are_drawn_too(shape: tuple[int, int, int]) -> None:
    tomogram = Tomogram(tilt_series=series(), size_px=(2 * shape[2], 2 * shape[1], 2 * shape[0]))
    volume = ArrayVolume(np.zeros(shape, np.float32))
    assert as_webp(plot_slices(tomogram, volume))
    assert as_webp(plot_heights(tomogram, volume))


def test_power_is_that_of_the_noise_and_peaks_where_a_wave_is() -> None:
    rng = np.random.default_rng(3)
    noise = rng.normal(scale=3.0, size=(300, 420)).astype(np.float32)
    power = tile_power(noise, 128).numpy()
    assert power[4:, 4:-1].mean() == pytest.approx(9.0, rel=0.03)
    x = np.arange(420)
    wave = noise * 0.01 + np.cos(2 * np.pi * x / 8)[None].astype(np.float32)
    power = tile_power(wave, 128).numpy()
    assert np.unravel_index(power.argmax(), power.shape) == (0, 16)


def test_power_plots_go_to_nyquist() -> None:
    record = series()
    images = ArrayImages(np.random.default_rng(5).normal(size=(7, 96, 128)).astype(np.float32))
    figure = plot_power(record, images)
    axis = figure.axes[0]
    assert axis.get_xlim() == (0.0, 0.1)
    for line in axis.lines:
        assert line.get_xdata()[-1] == pytest.approx(0.1)
    assert "Nyquist 10 Å" in texts(figure)
    pictures = plot_power_images(record, images)
    assert "10 Å" in texts(pictures)
    # A real image's plane is symmetric through its centre: the half that an rfft lacks was put in its place.
    shown = np.asarray(pictures.axes[0].images[0].get_array())
    np.testing.assert_allclose(shown[1:, 1:], shown[1:, 1:][::-1, ::-1], atol=1e-4)


def test_timings_are_summed_over_series() -> None:
    runs = [RunRow(step="align", series=name, seconds=2.5) for name in "ab"] + [RunRow(step="clean", seconds=None)]
    axis = plot_timings(runs).axes[0]
    assert [bar.get_width() for bar in axis.patches] == [5.0]


def test_svgs_take_the_colour_of_the_page_and_ids_of_their_own() -> None:
    first, second = (as_svg(plot_axis(series()), "axis <&>", mark) for mark in ("one", "two"))
    assert "currentColor" in first
    assert 'aria-label="axis &lt;&amp;&gt;"' in first
    assert first.replace("one-", "two-") == second
    assert "#1d2733" not in first


def test_small_things() -> None:
    assert (angle_text(-0.003), angle_text(-3.04), angle_text(60)) == ("0.0°", "-3.0°", "+60.0°")
    assert [nice_length(value) for value in (99.0, 100.0, 2400.0, 5.5)] == [50.0, 100.0, 2000.0, 5.0]
    assert (length_text(5), length_text(500), length_text(20000)) == ("5 Å", "50 nm", "2 µm")
    low, high = grey_limits(np.full((4, 4), 7.0, np.float32))
    assert low < 7 < high
    assert grey_limits(np.full(3, np.nan, np.float32)) == (0.0, 1.0)
    small, factor = block_mean(np.arange(35, dtype=np.float32).reshape(5, 7), 4)
    assert factor == 2
    assert small.shape == (2, 3)
    assert small[0, 0] == pytest.approx(np.mean([0, 1, 7, 8]))


def test_the_room_offers_what_it_lists() -> None:
    for name in plots_room.__all__:
        assert callable(getattr(plots_room, name))


def moved_series(views: int = 5) -> tuple[TiltSeries, list[MovieMotion]]:
    rng = np.random.default_rng(3)
    motions = []
    for view in range(views):
        drift = np.cumsum(rng.normal(0, 1, (6, 2)), axis=0)
        local = LocalMotion(rng.normal(0, 1, (6, 2, 4, 4)), (96, 128)) if view % 2 else None
        motions.append(MovieMotion(shape_px=(96, 128), pixel_size_ang=1.5, global_px=drift - drift[0], local=local))
    columns = {"rlnAccumMotionTotal": tuple(str(view + 1.0) for view in range(views))}
    return series(views).with_changes(other_columns=columns), motions


def test_motion_is_drawn_to_scale() -> None:
    record, motions = moved_series()
    lengths = plot_motion_lengths(record).axes[0].lines[0]
    np.testing.assert_allclose(lengths.get_ydata(), [1, 2, 3, 4, 5])
    panels = plot_trajectories(record, motions).axes[:5]
    for panel, motion in zip(panels, motions, strict=True):
        first, last = (marks.get_offsets()[0] for marks in panel.collections[1:3])
        np.testing.assert_allclose(last - first, motion.global_px[-1] * 1.5)
        assert np.abs(panel.collections[0].get_segments()).max() <= panel.get_xlim()[1]
    arrows = plot_local_motion(record, motions).axes
    assert len(arrows) == 2


def test_motion_that_is_not_there_is_said() -> None:
    record, motions = moved_series()
    with pytest.raises(InputError, match="run motion"):
        plot_motion_lengths(series(5))
    with pytest.raises(InputError, match="4 motions for 5 views"):
        plot_trajectories(record, motions[:4])
    with pytest.raises(InputError, match="no view has local motion"):
        plot_local_motion(record, motions[:1])


def solved_tracks(record: TiltSeries, points: np.ndarray, wrong: float = 0.0) -> Tracks:
    """Tracks of points, the first of them moved by `wrong` along x in the first view."""
    assert record.geometry is not None
    seen_at = record.geometry.project(points)
    moved = seen_at.copy()
    moved[0, 0, 0] += wrong
    return Tracks.observed(moved).with_solution(points, moved - seen_at)


def test_residual_vectors_begin_where_the_point_was_seen() -> None:
    record = series()
    tracks = solved_tracks(record, np.random.default_rng(1).uniform(-150, 150, (5, 3)), wrong=8.0)
    figure = plot_residuals(record, tracks)
    panels = [axis for axis in figure.axes if axis.collections]
    assert len(panels) == 7
    lines = panels[0].collections[0].get_segments()
    np.testing.assert_allclose([line[0] for line in lines], tracks.observations_ang[0] / 10)
    lengths = [np.linalg.norm(line[1] - line[0]) for line in lines]
    assert lengths[0] > 0
    assert max(lengths[1:]) == 0
    assert "rms" in panels[0].get_title()


def test_track_residuals_show_the_worst_first_by_its_number() -> None:
    record = series()
    points = np.random.default_rng(1).uniform(-150, 150, (5, 3))
    tracks = solved_tracks(record, points, wrong=8.0)
    first = next(axis for axis in plot_track_residuals(record, tracks).axes if axis.get_title())
    assert first.get_title().startswith("no. 1:")
    with pytest.raises(GeometryError, match="no track has residuals"):
        plot_track_residuals(record, Tracks.observed(tracks.observations_ang))


def test_tracks_lie_on_what_they_follow() -> None:
    record, points = series(shape=(200, 240)), np.random.default_rng(3).uniform(-300, 300, (4, 3))
    figure = plot_tracks_on_views(record, spots(record, points), solved_tracks(record, points))
    for axis in figure.axes:
        shown = axis.images[0].get_array()
        for x, y in axis.collections[0].get_offsets():
            row, column = round(float(y)), round(float(x))
            if 6 <= row < shown.shape[0] - 6 and 6 <= column < shown.shape[1] - 6:
                window = shown[row - 6 : row + 7, column - 6 : column + 7]
                assert abs(window[6, 6]) > 0.5 * abs(window).max()


def test_scores_name_every_method_that_was_tried() -> None:
    quality = {"AlignScore": 0.4, "AlignScoreBeads": 0.4, "AlignScorePatches": 0.3, "AlignScoreCoarse": 0.1}
    record = series().with_changes(
        quality=quality, other={"lamellaAlignMethod": "beads"}, scores={"AlignScore": np.linspace(0.2, 0.6, 7)}
    )
    left, right = plot_scores(record).axes
    assert [text.get_text() for text in left.get_yticklabels()] == ["beads", "patches", "coarse"]
    assert [bar.get_alpha() for bar in left.patches] == [1.0, 0.35, 0.35]
    np.testing.assert_allclose(right.lines[0].get_ydata(), np.linspace(0.2, 0.6, 7))
    with pytest.raises(GeometryError, match="no scores"):
        plot_scores(series())
