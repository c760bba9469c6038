"""`lamella ctf PROJECT`, the step; and `lamella ctf --image FILE`, one image without a project."""

from __future__ import annotations

import json as json_text
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from lamella.cli.options import Json, Option, given_settings, with_options
from lamella.cli.run import ExecutorName, How, SchedulerAddress, Series, Workers, run_settings
from lamella.cli.step import do_step
from lamella.errors import InputError
from lamella.tilts.ctf_settings import CtfSettings
from lamella.workflow.steps import Step

if TYPE_CHECKING:
    from lamella.workflow.image_ctf import ImageCtf

__all__ = ["ctf_function"]

_DESCRIBE = """\
ctf: {summary}.

With a PROJECT it is a step: settings given are kept in lamella.toml; those not given are taken from there.

With --image it estimates one image, each section of a stack, or the plain sum of a movie's frames, and needs no
project: lamella ctf --image FILE --pixel-size A --voltage KV. Settings given hold for that once.
"""
_ONLY_IMAGE = ("pixel_size", "voltage", "cs", "section", "sum", "output")
_ONLY_PROJECT = ("as", "input", "only", "executor", "workers", "scheduler", "device")
_OF_SERIES = ("hand", "fix", "surface", "spectra", "exclude", "include", "max_fit_resolution")


def ctf_function(step: Step) -> Callable[..., int]:
    """The command of the step `ctf`, which also takes a single image."""

    def do(
        project: Annotated[Path | None, Option(help="the project's folder, unless --image is given")] = None,
        /,
        *,
        amplitude_contrast: Annotated[
            str | None,
            Option(
                name="--amplitude-contrast",
                help="recorded: as the optics state it; fit: one number for the series, from its rings; with --image a "
                "fraction (default: 0.1) or fit [recorded | fit | number] (default: recorded)",
            ),
        ] = None,
        as_: Annotated[
            str | None, Option(name="--as", help="label of a rerun: it has a folder and a table of its own")
        ] = None,
        input_: Annotated[
            str | None, Option(name="--input", help="record to start from, such as align or align.patches")
        ] = None,
        only: Series = None,
        executor: ExecutorName = None,
        workers: Workers = None,
        scheduler: SchedulerAddress = None,
        device: How = None,
        image: Annotated[Path | None, Option(name="--image", help="an image, stack or movie: MRC, TIFF or EER")] = None,
        pixel_size: Annotated[
            str | None, Option(name="--pixel-size", help="with --image: of the image in Å, or header")
        ] = None,
        voltage: Annotated[float | None, Option(name="--voltage", help="with --image: in kV")] = None,
        cs: Annotated[
            float | None, Option(name="--cs", help="with --image: spherical aberration, in mm (default: 2.7)")
        ] = None,
        section: Annotated[
            int | None, Option(name="--section", help="with --image: the one section to take, counted from 1")
        ] = None,
        sum_: Annotated[
            bool,
            Option(
                name="--sum",
                negative="",
                help="with --image: an MRC file's sections are a movie's frames, to be added up (those of TIFF and EER "
                "files always are)",
            ),
        ] = False,
        output: Annotated[
            Path | None, Option(name="--output", help="with --image: picture of rings and spectrum to write, PNG")
        ] = None,
        json: Json = False,
        given: dict[str, Any],
    ) -> int:
        of_project = dict(zip(_ONLY_PROJECT, (as_, input_, only, executor, workers, scheduler, device), strict=True))
        of_image = dict(zip(_ONLY_IMAGE, (pixel_size, voltage, cs, section, sum_ or None, output), strict=True))
        if amplitude_contrast is not None:
            given["amplitude_contrast"] = amplitude_contrast
        of_project |= {name: given.get(name) for name in _OF_SERIES}
        _check_use(project, image, of_project, of_image)
        if image is not None:
            return _do_image(step, image, of_image, given, json)
        how = run_settings(executor, workers, scheduler, device)
        return do_step(step, project, as_, input_, only, how, json, given)

    return with_options(
        do,
        CtfSettings,
        leave_out=("enabled", "amplitude_contrast"),
        describe=_DESCRIBE.format(summary=step.summary),
    )


def _check_use(project: Path | None, image: Path | None, of_project: dict[str, Any], of_image: dict[str, Any]) -> None:
    if (project is None) == (image is None):
        raise InputError(
            "give either a PROJECT or --image" + ("" if project is None else ", not both"),
            mend="lamella ctf PROJECT, or lamella ctf --image FILE --pixel-size A --voltage KV",
        )
    if project is not None and project.is_file():
        raise InputError(
            f"{project} is a file, not a project", mend=f"lamella ctf --image {project} --pixel-size A --voltage KV"
        )
    misplaced, wanted = (of_image, "--image") if image is None else (of_project, "a PROJECT")
    for name, value in misplaced.items():
        if value is not None:
            raise InputError(f"--{name.replace('_', '-')} belongs to {wanted}", mend="leave it out")


def _do_image(step: Step, path: Path, options: dict[str, Any], given: dict[str, Any], json: bool) -> int:
    from lamella.checked_settings import validate
    from lamella.cli.view import open_view
    from lamella.workflow.image_ctf import HEADER, estimate_images, open_image_file

    contrast = _number(given.get("amplitude_contrast"))
    if contrast is not None:
        del given["amplitude_contrast"]
    settings = validate(CtfSettings, given_settings(CtfSettings, given, step.name), step.name)
    size = options["pixel_size"]
    if size is not None and size != HEADER and _number(size) is None:
        raise InputError(f"--pixel-size {size} is no number", mend="write it as a plain number, such as 1.35")
    opened = open_image_file(
        path,
        pixel_size=size if size in (None, HEADER) else _number(size),
        voltage_kv=options["voltage"],
        spherical_aberration_mm=options["cs"],
        amplitude_contrast=contrast,
        section=options["section"],
        add_up=bool(options["sum"]),
    )
    for note in opened.notes:
        print(f"  {note}")
    told = []
    several = opened.sections is not None and len(opened.sections) > 1
    with open_view() as view:
        for found in estimate_images(opened, settings, view.work(f"ctf {path.name}")):
            view.say(_line(found))
            for note in found.result.notes:
                view.say(f"  {note}")
            numbers = _numbers(found)
            if options["output"] is not None and found.result.profiles is not None:
                picture = _picture_path(options["output"], found.section if several else None)
                _draw(found, picture)
                numbers["picture"] = str(picture)
                view.say(f"  {picture}")
            told.append(numbers)
    if json:
        print(json_text.dumps({"image": str(path), "notes": opened.notes, "estimates": told}, ensure_ascii=False))
    return 0 if any(not numbers["no_estimate"] for numbers in told) else 1


def _number(text: Any) -> float | None:
    try:
        return float(text)
    except (TypeError, ValueError):
        return None


def _numbers(found: ImageCtf) -> dict[str, Any]:
    """What was found, by names with units; where there is no estimate, why."""
    series = found.result.series
    defocus = series.defocus
    if found.result.passed_on or defocus is None:
        return {"section": found.section, "no_estimate": found.result.passed_on or "no estimate was possible"}
    values: dict[str, Any] = {
        "section": found.section,
        "no_estimate": "",
        "defocus_u_ang": defocus.u_ang,
        "defocus_v_ang": defocus.v_ang,
        "angle_deg": defocus.angle_deg,
        "phase_shift_deg": defocus.phase_shift_deg,
        "score": defocus.figure_of_merit,
        "max_resolution_ang": defocus.max_resolution_ang,
        "defocus_error_ang": series.scores.get("CtfDefocusErrorAngst"),
        "astigmatism_error_ang": series.scores.get("CtfAstigmatismErrorAngst"),
    }
    if "CtfAmplitudeContrastError" in series.quality:  # it was fitted
        values["amplitude_contrast"] = [series.quality["CtfAmplitudeContrast"]]
    return {
        name: value if isinstance(value, (str, int)) or value is None else float(value[0])
        for name, value in values.items()
    }


def _line(found: ImageCtf) -> str:
    name, numbers = found.result.series.name, _numbers(found)
    if numbers["no_estimate"]:
        return f"{name}: no estimate: {numbers['no_estimate']}"
    parts = [
        f"defocus U {numbers['defocus_u_ang']:.0f} Å, V {numbers['defocus_v_ang']:.0f} Å, U at "
        f"{numbers['angle_deg']:.1f}°"
    ]
    for key, text in (
        ("defocus_error_ang", "± {:.0f} Å (mean)"),
        ("astigmatism_error_ang", "± {:.0f} Å (U − V)"),
        ("phase_shift_deg", "phase shift {:.1f}°"),
        ("amplitude_contrast", "amplitude contrast {:.3f}"),
        ("score", "score {:.3f}"),
        ("max_resolution_ang", "fit to {:.1f} Å"),
    ):
        if numbers.get(key) is not None:
            parts.append(text.format(numbers[key]))
    return f"{name}: {', '.join(parts)}"


def _picture_path(output: Path, section: int | None) -> Path:
    """Of several sections each has a picture of its own."""
    return output if section is None else output.with_name(f"{output.stem}_{section:04d}{output.suffix}")


def _draw(found: ImageCtf, path: Path) -> None:
    from lamella.report.pictures import write_png
    from lamella.report.plots import plot_ctf_image

    assert found.result.profiles is not None  # asked before
    write_png(path, plot_ctf_image(found.result.series, found.result.profiles, _line(found)))
