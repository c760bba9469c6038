"""The page: whole, offline, safe from what names and messages hold, honest about what is missing."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from lamella.errors import FormatError, OutputError
from lamella.geometry import TiltGeometry
from lamella.records import ArrayImages, ArrayVolume, TiltSeries, Tomogram
from lamella.records.tracks import Tracks
from lamella.report import RunRow, Section, SeriesReport, write_report
from lamella.report.plots import plot_shell_correlation

EVIL = '<script>alert("x")</script>&\'"'
VOID = {"meta", "img", "br", "link", "input", "hr", "source"}


class Checker(HTMLParser):
    """Collects tags and attributes, and sees that every tag is closed in turn."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style",):
            self.words.append(data)


def checked(path: Path) -> Checker:
    checker = Checker()
    checker.feed(path.read_text(encoding="utf-8"))
    checker.close()
    assert checker.open == []
    return checker


def raw_series(name: str = "TS_01", views: int = 9) -> TiltSeries:
    return TiltSeries(
        name=name,
        pixel_size_ang=8.0,
        image_shape_px=(48, 64),
        nominal_tilt_deg=np.linspace(-40, 40, views),
        nominal_axis_deg=np.full(views, 85.0),
        pre_exposure=np.arange(views) * 3.0,
    )


def whole_entry(name: str = "TS_01") -> SeriesReport:
    rng = np.random.default_rng(3)
    raw = raw_series(name)
    images = rng.normal(100, 10, (9, 48, 64)).astype(np.float32)
    geometry = TiltGeometry.from_angles(raw.nominal_tilt_deg + 1.5, 86.7, x_shift_ang=20.0)
    aligned = raw.with_changes(geometry=geometry, thickness_ang=1500.0).select(range(1, 9))
    aligned = aligned.with_changes(scores={"AlignResidualAngst": np.full(8, 3.2)})
    points = rng.uniform(-150, 150, (12, 3))
    seen = aligned.geometry.project(points)
    tracks = Tracks(
        observations_ang=seen,
        weights=np.ones(seen.shape[:2]),
        points_ang=points,
        residuals_ang=rng.normal(scale=2.0, size=seen.shape),
    )
    volume = rng.normal(size=(20, 48, 64)).astype(np.float32)
    return SeriesReport(
        raw=raw,
        raw_images=ArrayImages(images),
        cleaned=aligned,
        excluded=raw.select([0]),
        excluded_reasons=(f"dark {EVIL}",),
        aligned=aligned,
        aligned_images=ArrayImages(images[1:]),
        tracks=tracks,
        tomogram=Tomogram(tilt_series=aligned, size_px=(64, 48, 20)),
        volume=ArrayVolume(volume),
        denoised=ArrayVolume(volume * 0.5),
        notes=(f"warning: {EVIL}", "assumed: Cs 2.7 mm"),
    )


RUNS = (
    RunRow(step="clean", label="clean", series="TS_01", seconds=1.25, peak_bytes=300 * 2**20, quality={"excluded": 1}),
    RunRow(step="align", label=EVIL, series="TS_01", seconds=200.0, message=EVIL, quality={"residual_px": 0.4321}),
    RunRow(step="denoise", series="TS_02", status="failed", message="out of <memory>"),
)


def test_a_whole_report_stands_alone(tmp_path: Path) -> None:
    (page,) = write_report(tmp_path / "report" / "index.html", "My project", [whole_entry()], RUNS)
    html = page.read_text(encoding="utf-8")
    checker = checked(page)
    # Nothing is fetched: every address is inside the page or in a data URI.
    for tag, name, value in checker.attributes:
        if name in ("src", "href", "xlink:href", "data", "action", "poster", "srcset"):
            assert value.startswith(("#", "data:image/webp;base64,", "data:image/png;base64,")), (tag, name, value[:80])
    assert not re.search(r"url\((?!#)", html)
    assert "@import" not in html
    assert checker.tags["script"] == 0
    assert checker.tags["svg"] >= 6
    assert checker.tags["img"] >= 6
    words = " ".join(checker.words)
    for expected in ("86.70°", "1 excluded", "3.2 Å", "0.40 px", "64 × 48 × 20 voxels", "residual_px 0.4321", "3 min"):
        assert expected in words, expected
    assert "-0.0°" not in words


def test_every_picture_is_named_lazy_and_every_id_unique(tmp_path: Path) -> None:
    (page,) = write_report(tmp_path / "index.html", "t", [whole_entry("A"), whole_entry("B")], RUNS)
    checker = checked(page)
    ids = [value for _, name, value in checker.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    targets = {
        value[1:] for _, name, value in checker.attributes if name in ("href", "xlink:href") and value[:1] == "#"
    }
    assert targets <= set(ids)
    pictures = checker.tags["img"]
    assert sum(1 for tag, name, value in checker.attributes if (tag, name) == ("img", "alt") and value) == pictures
    assert (
        sum(1 for tag, name, value in checker.attributes if (tag, name, value) == ("img", "loading", "lazy"))
        == pictures
    )
    assert sum(1 for tag, name, _ in checker.attributes if (tag, name) == ("svg", "aria-label")) == checker.tags["svg"]


def test_names_and_messages_are_text_not_markup(tmp_path: Path) -> None:
    entry = whole_entry(EVIL)
    sections = (Section(title=EVIL, text=EVIL, numbers={EVIL: EVIL}),)
    (page,) = write_report(tmp_path / "index.html", EVIL, [entry], RUNS, sections=sections)
    checker = checked(page)
    assert checker.tags["script"] == 0
    assert " ".join(checker.words).count(EVIL) >= 8
    assert "default-src 'none'" in page.read_text(encoding="utf-8")


def test_what_has_not_run_is_said(tmp_path: Path) -> None:
    entries = [
        SeriesReport(raw=raw_series("only_imported")),
        SeriesReport(raw=raw_series("with_images"), raw_images=ArrayImages(np.ones((9, 48, 64), np.float32))),
        SeriesReport(raw=raw_series("clean"), cleaned=raw_series("clean")),
    ]
    (page,) = write_report(tmp_path / "index.html", "t", entries)
    words = " ".join(checked(page).words)
    for expected in ("not reconstructed yet", "not aligned yet", "no tilt images at hand", "no view was excluded"):
        assert expected in words
    assert "no step has run yet" in words


def test_no_series_at_all(tmp_path: Path) -> None:
    (page,) = write_report(tmp_path / "index.html", "empty", [])
    assert "0 tilt series" in " ".join(checked(page).words)


def test_a_failure_stands_in_the_table(tmp_path: Path) -> None:
    entry = SeriesReport(raw=raw_series("TS_02"))
    (page,) = write_report(tmp_path / "index.html", "t", [entry], RUNS)
    words = " ".join(checked(page).words)
    assert "failed at denoise: out of <memory>" in words
    assert "1 failed" in words


class BrokenImages:
    shape = (9, 48, 64)

    def __len__(self) -> int:
        return 9

    def view(self, index: int):
        raise FormatError("stack.mrc: cut short <here>", mend="copy it again")


def test_a_picture_that_cannot_be_drawn_is_said_in_its_place(tmp_path: Path) -> None:
    entry = SeriesReport(raw=raw_series(), raw_images=BrokenImages())
    (page,) = write_report(tmp_path / "index.html", "t", [entry])
    words = " ".join(checked(page).words)
    assert "could not be drawn: stack.mrc: cut short <here>; copy it again" in words


def test_many_series_get_a_page_each(tmp_path: Path) -> None:
    entries = [SeriesReport(raw=raw_series(f"../TS {number}")) for number in range(9)]
    pages = write_report(tmp_path / "index.html", "t", entries)
    assert len(pages) == 10
    table = checked(pages[0])
    links = [value for tag, name, value in table.attributes if (tag, name) == ("a", "href") and value[:1] != "#"]
    assert links == [f"index_series/{number:04d}.html" for number in range(1, 10)]
    for link in links:
        one = checked(tmp_path / link)
        for tag, name, value in one.attributes:
            if (tag, name) == ("a", "href") and value[:1] != "#":
                assert (tmp_path / "index_series" / value).is_file()
    assert pages[0].stat().st_size < 60_000


def test_a_further_section_takes_numbers_and_curves(tmp_path: Path) -> None:
    k = np.linspace(0, 0.5, 30)
    figure = plot_shell_correlation({"found": (k, np.exp(-5 * k)), "true": (k, np.exp(-4 * k))}, 10.0)
    section = Section(title="Truth", text="known", numbers={"rms": "0.4 px"}, figures=(("shell correlation", figure),))
    (page,) = write_report(tmp_path / "index.html", "t", [], sections=[section])
    checker = checked(page)
    assert checker.tags["svg"] == 1
    assert "0.4 px" in checker.words


def test_the_page_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("old")

    class Bomb:
        shape = (9, 48, 64)

        def __len__(self) -> int:
            return 9

        def view(self, index: int):
            raise RuntimeError("a mistake in the program, not in the data")

    with pytest.raises(RuntimeError):
        write_report(tmp_path / "index.html", "t", [SeriesReport(raw=raw_series(), raw_images=Bomb())])
    assert (tmp_path / "index.html").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]
    with pytest.raises(OutputError):
        write_report(tmp_path / "index.html" / "below" / "index.html", "t", [])
