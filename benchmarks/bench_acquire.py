"""Sessions on the simulated microscope: how well each predictor hits its targets in each world, over many seeds.

For every world and predictor: median and interquartile range of the absolute errors of targeting and defocus over all
targets, tilts and seeds, beside them the medians of the seeds (their median and the worst); what tracking left (median
and worst of the seeds); the share of targets finished; minutes per series; and the targeting error's median over the
order of the tilts. Below each world (but not each single error): in how many of its seeds `shared` is worse than the
better of the published ways, and the seeds where it is most.

    python -m benchmarks.bench_acquire                                    all of it, as `make bench` prints it:
    … --worlds bisect,pace --predictors shared --seeds 5                  some of it
    … --set stage.jump_rate=0 --session settle=20                         other worlds, other sessions
    … --wider 2             errors drawn from ranges twice as wide
    … --budget              each error of a world alone, and all of them
    … --faults              each fault of the world `faults` alone, and all

LAMELLA_BENCH_ACQUIRE_SEEDS shortens it (30 seeds of everything are about 2 h of one core).
"""

from __future__ import annotations

import argparse
import os
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any, cast

import numpy as np

from benchmarks.machine import machine_name
from benchmarks.perfect_predictor import perfect_session
from lamella.acquire.microscope.simulated.score import Spread
from lamella.acquire.simulated_session import simulate_session
from lamella.acquire.world import World, load_world, wider_world
from lamella.errors import LamellaError

PREDICTORS = ("flat", "incremental", "bisect", "shared")
PERFECT = "perfect"  # who knows the truth: what it leaves, no prediction can take away
OURS, PUBLISHED = "shared", ("incremental", "bisect")
WHOLE = (
    ("Worlds", "--worlds rigid,bisect,pace --predictors flat,incremental,bisect,shared,perfect"),
    ("Twice as wide", "--worlds bisect,pace --wider 2 --predictors incremental,bisect,shared"),
    ("Faults", "--faults --predictors shared"),
    ("Budget of errors", "--worlds bisect --budget --predictors bisect,shared"),
)
"""What `make bench` prints: title and arguments of each table."""
_EQUAL = 1e-6  # µm: errors of a world without any are those of rounding
_SHOWN = 5  # seeds at most, that are named
SEEDS = int(os.environ.get("LAMELLA_BENCH_ACQUIRE_SEEDS", "30"))


@dataclass(frozen=True)
class Case:
    """One session."""

    label: str
    name: str
    predictor: str
    world: World
    seed: int
    targets: int
    session: Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What its truth was; `failed`: why there is none."""

    case: Case
    failed: str = ""
    targeting: np.ndarray = field(default_factory=lambda: np.zeros(0))
    defocus: np.ndarray = field(default_factory=lambda: np.zeros(0))
    tilt: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    tracking_nm: float = float("nan")
    finished: float = 0.0
    minutes: float = float("nan")

    def median(self, name: str) -> float:
        """Of an error, µm; NaN where nothing was recorded."""
        median = Spread.of(getattr(self, name)).median
        return float("nan") if median is None else median

    def iqr(self, name: str) -> float:
        """Its interquartile range, µm."""
        iqr = Spread.of(getattr(self, name)).iqr
        return float("nan") if iqr is None else iqr


def run_case(case: Case) -> Outcome:
    """Record one session and keep the errors of its views."""
    try:
        if case.predictor == PERFECT:
            score = perfect_session(case.world, case.seed, case.targets, case.session)
        else:
            score = simulate_session(case.world, case.seed, targets=case.targets, overrides=case.session).score
    except LamellaError as error:
        return Outcome(case, failed=str(error))
    return Outcome(
        case=case,
        targeting=score.targeting,
        defocus=np.abs(score.defocus),
        tilt=score.tilt,
        tracking_nm=float("nan") if score.tracking_nm is None else score.tracking_nm,
        finished=score.targets_finished / case.targets,
        minutes=score.minutes_per_series,
    )


def run_cases(cases: Sequence[Case], processes: int) -> Iterator[Outcome]:
    """Run sessions, some at a time, in the order given."""
    if processes == 1:
        yield from map(run_case, cases)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(run_case, cases)


def line(label: str, outcomes: Sequence[Outcome]) -> str:
    """One line of the table: all seeds of one case."""
    done = [one for one in outcomes if len(one.targeting)]
    if not done:
        return f"{label:34} no session: {outcomes[0].failed}"
    targeting, defocus = (np.concatenate([getattr(one, name) for one in done]) for name in ("targeting", "defocus"))
    tilt = np.concatenate([one.tilt for one in done])
    profile = " ".join(
        f"{1e3 * np.median(targeting[(tilt >= low) & (tilt < high)]):4.0f}" if (tilt >= low).any() else "   –"
        for low, high in ((0, 1), (1, 5), (5, 10), (10, 20), (20, 30), (30, 99))
    )
    columns = [
        f"{label:34}",
        _spread(targeting),
        _of_seeds([one.median("targeting") for one in done]),
        _spread(defocus),
        _of_seeds([one.median("defocus") for one in done]),
        "{:6.1f} {:6.1f}".format(*_middle_and_worst([one.tracking_nm for one in done])),
        f"{100 * np.mean([one.finished for one in outcomes]):6.1f}",
        f"{np.mean([one.minutes for one in done]):5.2f}",
        profile,
    ]
    failed = [one.failed for one in outcomes if one.failed]
    return "  ".join(columns) + (f"  {len(failed)} failed: {failed[0]}" if failed else "")


def _spread(errors: np.ndarray) -> str:
    spread = Spread.of(errors)
    return f"{spread.median:.3f} ± {spread.iqr:.3f}"


def _of_seeds(medians: Sequence[float]) -> str:
    return "{:.3f} {:.3f}".format(*_middle_and_worst(medians))


def _middle_and_worst(values: Sequence[float]) -> tuple[float, float]:
    known = np.array([value for value in values if np.isfinite(value)])
    return (float(np.median(known)), float(known.max())) if known.size else (float("nan"), float("nan"))


HEADER = (
    f"{'world, predictor':34}  {'targeting, µm':13}  {'of seeds':11}  {'defocus, µm':13}  {'of seeds':11}  "
    f"{'tracking, nm':>13}  {'done %':>6}  {'min':>5}  nm at tilts 0, 1–4, 5–9, 10–19, 20–29, 30–"
)


def comparison(name: str, outcomes: Sequence[Outcome]) -> list[str]:
    """Lines that say in how many seeds of a world ours is worse than the better of the published ways, and where."""
    by_predictor = {
        predictor: {one.case.seed: one for one in outcomes if one.case.predictor == predictor}
        for predictor in (OURS, *PUBLISHED)
    }
    ours = by_predictor.pop(OURS)
    others = {predictor: seeds for predictor, seeds in by_predictor.items() if seeds}
    if not ours or not others:
        return []
    lines = [f"  {name}: {OURS} against the better of {', '.join(others)}, seed by seed"]
    measures: dict[str, Callable[[Outcome], float]] = {
        "targeting, median": lambda one: one.median("targeting"),
        "targeting, IQR": lambda one: one.iqr("targeting"),
        "defocus, median": lambda one: one.median("defocus"),
        "defocus, IQR": lambda one: one.iqr("defocus"),
        "targets not finished": lambda one: 1.0 - one.finished,
    }
    for measure, of in measures.items():
        worse = {}
        for seed, one in ours.items():
            known = [value for seeds in others.values() if np.isfinite(value := of(seeds[seed]))]
            best = min(known, default=float("inf"))
            if not of(one) <= best + _EQUAL:
                worse[seed] = of(one) - best
        most = sorted(worse, key=lambda seed: -worse[seed])[:_SHOWN]
        where = "; most in seeds " + ", ".join(f"{seed} (by {worse[seed]:.3f})" for seed in most) if most else ""
        lines.append(f"    {measure:21} worse in {len(worse)} of {len(ours)}{where}")
    return lines


def single_errors(world: World) -> dict[str, World]:
    """The world `rigid` with one error of another world at a time, and with all of them."""
    worlds = {"none": load_world("rigid")}
    tables = world.model_dump()
    for table in ("stage", "optics", "grid"):
        for name, info in type(getattr(world, table)).model_fields.items():
            extra = cast("Mapping[str, Any]", info.json_schema_extra or {})
            if extra.get("error") and np.any(tables[table][name]):
                worlds[f"{table}.{name}"] = load_world("rigid", {f"{table}.{name}": tables[table][name]})
    return worlds | {"all": world}


def single_faults(world: World) -> dict[str, World]:
    """A world with one of its faults at a time, and with all of them."""
    tables = world.model_dump(exclude_none=True)
    worlds = {}
    for number, fault in enumerate(tables["faults"]["script"]):
        alone = {**tables, "faults": {**tables["faults"], "script": [fault]}}
        worlds[f"{number} {fault['kind']}"] = World.model_validate(alone)
    return worlds | {"all": world}


def _worlds(told: argparse.Namespace) -> dict[str, World]:
    changes = dict(_setting(text) for text in told.set)
    if told.faults:
        return single_faults(load_world("faults", changes))
    named = {name: load_world(name, changes) for name in told.worlds.split(",")}
    if told.wider:
        named = {f"{name} ×{told.wider:g}": wider_world(world, told.wider) for name, world in named.items()}
    if told.budget:
        return {f"{name} {part}": one for name, world in named.items() for part, one in single_errors(world).items()}
    return named


def _setting(text: str) -> tuple[str, Any]:
    key, _, value = text.partition("=")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value


def main(words: Sequence[str]) -> None:
    """Print the tables."""
    print(machine_name())
    if words:
        _table(words)
        return
    for title, arguments in WHOLE:
        print(f"\n### {title} ({arguments})")
        _table(arguments.split())


def _table(words: Sequence[str]) -> None:
    told = _told(words)
    session = dict(_setting(text) for text in told.session)
    print(f"{told.seeds} seeds from {told.first_seed}, {told.targets} targets")
    print(HEADER, flush=True)
    predictors = told.predictors.split(",")
    cases = [
        Case(f"{name}, {predictor}", name, predictor, world, seed, told.targets, session | {"predictor": predictor})
        for name, world in _worlds(told).items()
        for predictor in predictors
        for seed in range(told.first_seed, told.first_seed + told.seeds)
    ]
    waiting: list[Outcome] = []
    for outcome in run_cases(cases, told.processes):
        waiting.append(outcome)
        if len(waiting) % told.seeds == 0:
            print(line(outcome.case.label, waiting[-told.seeds :]), flush=True)
        if len(waiting) == told.seeds * len(predictors):
            # One error alone leaves nothing but rounding and noise to most: there is nothing to compare.
            for told_line in [] if told.budget else comparison(outcome.case.name, waiting):
                print(told_line, flush=True)
            waiting = []


def _told(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench_acquire")
    parser.add_argument("--worlds", default="bisect,pace")
    parser.add_argument("--predictors", default=",".join(PREDICTORS))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--first-seed", type=int, default=11)
    parser.add_argument("--targets", type=int, default=25)
    parser.add_argument("--processes", type=int, default=int(os.environ.get("LAMELLA_THREADS", os.cpu_count() or 1)))
    parser.add_argument("--set", action="append", default=[], metavar="TABLE.FIELD=VALUE")
    parser.add_argument("--session", action="append", default=[], metavar="FIELD=VALUE")
    parser.add_argument("--wider", type=float, default=0.0)
    parser.add_argument("--budget", action="store_true")
    parser.add_argument("--faults", action="store_true")
    return parser.parse_args(words)


if __name__ == "__main__":
    main(sys.argv[1:])
