"""Run the benchmarks named on the command line, or all of them, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.machine import machine_name


def main(names: list[str]) -> int:
    """Run each benchmark; the exit code is 1 if any failed."""
    there = sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py"))
    if unknown := sorted(set(names) - set(there)):
        print(f"no benchmark named {', '.join(unknown)}; there are {', '.join(there)}", file=sys.stderr)
        return 2
    print(machine_name(), flush=True)
    failed = []
    for name in names or there:
        print(f"\n## {name}", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.bench_{name}"], check=False).returncode:
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
