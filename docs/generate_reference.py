"""Write the parts of the reference that come from the code: every command with its options, every setting.

Run before sphinx (`make docs` does). What it writes is included by `reference/command-line.md` and
`reference/settings.md`; it is not kept in the repository, so it cannot grow old.
"""

from __future__ import annotations

import sys
from pathlib import Path

from lamella.acquire.acquire_settings import AcquireSettings
from lamella.cli.commands import COMMANDS, find_command, root_help
from lamella.cli.help import command_help
from lamella.setting_facts import setting_facts
from lamella.simulate.settings import SimulateSettings
from lamella.workflow import steps
from lamella.workflow.acquisition_settings import MicroscopeSettings
from lamella.workflow.convert_settings import ConvertSettings
from lamella.workflow.run_settings import RunSettings

FOLDER = Path(__file__).parent / "reference" / "generated"
COLUMNS = 100


def commands_page() -> str:
    """The help of every command, as it stands."""
    parts = [f"```text\n{root_help().rstrip()}\n```"]
    names = [*COMMANDS, *(step.name for step in steps.all_steps())]
    for name in names:
        help_text = command_help(name, find_command(name), width=COLUMNS)
        parts.append(f"## lamella {name}\n\n```text\n{help_text.rstrip()}\n```")
    return "\n\n".join(parts) + "\n"


def settings_page() -> str:
    """A table for every settings class."""
    parts = [_table("run", "how work is done; nothing here changes a result", RunSettings)]
    parts += [_table(step.name, step.summary, step.settings_class()) for step in steps.all_steps()]
    parts.append(_table("convert", "options of `lamella convert`; no table of lamella.toml", ConvertSettings))
    parts.append(_table("acquire", "table `[session]` of a session's session.toml", AcquireSettings))
    parts.append(_table("acquire: microscope", "table `[microscope]` of a session's session.toml", MicroscopeSettings))
    parts.append(_table("simulate", "given with `--set`; no table of lamella.toml", SimulateSettings))
    return "\n\n".join(parts) + "\n"


def _table(name: str, summary: str, settings: type) -> str:
    lines = [f"## {name}", "", summary[:1].upper() + summary[1:] + ".", ""]
    facts = list(setting_facts(settings))
    if facts:
        lines += ["| setting | default | unit | allowed | what it is |", "|---|---|---|---|---|"]
    for entry in facts:
        allowed = ", ".join(part for part in (" or ".join(entry.choices) or entry.type, entry.bounds) if part)
        default = f"`{entry.default}`" if entry.default else "not set"
        cells = (f"`{entry.name}`", default, entry.unit, allowed, entry.description)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def main() -> int:
    """Write both parts."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "command-line.inc").write_text(commands_page(), encoding="utf-8")
    (FOLDER / "settings.inc").write_text(settings_page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
