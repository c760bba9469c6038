"""Examples that take seconds run as they stand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.parametrize(("name", "files"), [("one_geometry.py", []), ("record_a_session.py", ["session-plan.png"])])
def test_an_example_runs(name: str, files: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    for file in files:
        assert (tmp_path / file).stat().st_size > 10_000


def test_every_example_is_told_of() -> None:
    told = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert all(path.name in told for path in EXAMPLES.glob("*.py"))
