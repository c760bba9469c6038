"""What the documentation shows of the geometry runs as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from lamella.geometry import angular_grid, grid_spacing_deg

PAGE = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "geometry.md"


def test_examples_run() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 2
    scope: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), scope)


@pytest.mark.parametrize(
    ("order", "spacing", "orientations"), [(0, 60, 72), (1, 30, 576), (2, 15, 4608), (3, 7.5, 36864)]
)
def test_table_of_grids(order: int, spacing: float, orientations: int) -> None:
    assert grid_spacing_deg(order) == spacing
    assert len(angular_grid(order)) == orientations


def test_records_load_without_scipy() -> None:
    """Geometry is part of every record, and records are what light commands read."""
    code = "import sys, lamella.records, lamella.geometry; print([m for m in ('scipy', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
