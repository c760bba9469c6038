"""What `reconstruct` says and writes of the rounds of an iterative reconstruction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.formats.star import StarTable, number_text, write_star
from lamella.tomograms.reconstruct_settings import ReconstructSettings
from lamella.workflow.context import Context

if TYPE_CHECKING:
    from lamella.tomograms.rounds import Rounds  # torch comes with it

__all__ = ["tell_rounds", "with_rounds_of"]


def with_rounds_of(settings: ReconstructSettings, rounds: Rounds | None) -> ReconstructSettings:
    """Settings for a half tomogram: as many rounds as the whole took."""
    return settings if rounds is None else settings.model_copy(update={"iterations": rounds.count})


def tell_rounds(rounds: Rounds, settings: ReconstructSettings, context: Context) -> None:
    """Say how the rounds went, and write ``NAME_held_out.star`` where held-out views chose their number.

    Its columns: lamellaRound, and lamellaHeldOutError, the mean square by which the voxels' projections miss the views
    that were left out, over these views' own mean square. lamellaView is a view's place in the series, from 1.
    """
    context.say(f"{settings.method}: {rounds.in_words()}")
    context.measure(Rounds=rounds.count, Residual=rounds.residual)
    held = rounds.held_out
    if held is None:
        return
    context.measure(HeldOutError=float(held.errors[held.best - 1]), HeldOutBestRound=held.best)
    columns = {
        "lamellaRound": tuple(str(number + 1) for number in range(len(held.errors))),
        "lamellaHeldOutError": tuple(number_text(float(error)) for error in held.errors),
    }
    chosen = {"lamellaRounds": (str(rounds.count),), "lamellaHeldOutBestRound": (str(held.best),)}
    views = {"lamellaView": tuple(str(view + 1) for view in held.views)}
    with context.new_file("_held_out.star") as path:
        write_star(
            path,
            [
                StarTable("general", chosen, is_list=True),
                StarTable("rounds", columns),
                StarTable("views", views),
            ],
        )
