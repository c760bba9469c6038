"""`lamella train PROJECT`: one network from several tomograms."""

from __future__ import annotations

import json as json_text
from typing import Annotated, Any

from lamella.cli.options import Json, Option, ProjectPath, given_settings, with_options
from lamella.cli.run import How, Series
from lamella.tomograms.denoise_settings import TRAINING_SETTINGS, DenoiseSettings

__all__ = ["train"]


def _train(
    project: ProjectPath,
    /,
    *,
    input_: Annotated[
        str | None, Option(name="--input", help="record of tomograms to train on (default: what denoise reads)")
    ] = None,
    only: Series = None,
    as_: Annotated[str | None, Option(name="--as", help="label: makes train.LABEL instead of train")] = None,
    device: How = None,
    json: Json = False,
    given: dict[str, Any],
) -> int:
    from lamella.checked_settings import validate
    from lamella.cli.view import open_view
    from lamella.workflow.project import Project
    from lamella.workflow.record_name import RecordName
    from lamella.workflow.training import train_network

    opened = Project.open(project)
    stated = opened.read_settings().settings(RecordName("denoise")).model_dump()
    values = {"method": "n2n"} if stated["method"] not in ("n2n", "n2v", "wedge") else {}
    values |= given_settings(DenoiseSettings, given, "denoise")
    settings = validate(DenoiseSettings, stated | values, "denoise")
    with open_view() as view:
        done = train_network(
            opened,
            settings,
            source=RecordName.parse(input_) if input_ else None,
            only=only or (),
            label=as_,
            device=device or "auto",
            progress=view.work("train"),
            say=view.say,
        )
    best = done.model.best
    print(
        f"{done.path}: {len(done.model.curve)} epochs in {done.seconds:.0f} s, the best {best.number}; loss "
        f"{best.loss:.4f}, held out {best.held_out:.4f}; denoise takes it with --method {settings.method} "
        f"--model {opened.root / done.path}"
    )
    if json:
        told = {"model": str(done.path), "source": str(done.source), "trained_on": done.model.trained_on}
        numbers = {"epochs": len(done.model.curve), "loss": best.loss, "held_out": best.held_out}
        print(json_text.dumps(told | numbers | {"seconds": round(done.seconds, 1)}, ensure_ascii=False))
    return 0


train = with_options(
    _train,
    DenoiseSettings,
    leave_out=tuple(name for name in DenoiseSettings.model_fields if name not in (*TRAINING_SETTINGS, "memory")),
    describe="Train one network on the tomograms of a project, for denoise.model to apply to these or others.\n\n"
    "Settings not given are those of [denoise] in lamella.toml. A training that was stopped goes on where it was.",
)
