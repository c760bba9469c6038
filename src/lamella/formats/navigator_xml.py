"""The XML form of SerialEM's navigator files, taken into the text form that the rest of the library reads.

IMOD's library writes either form of the same "autodoc": in XML the root holds one element for each section, with the
section's name as its attribute ``name`` and an element for each key; the global values stand in an element ``PreData``
without a name. SerialEM reads both.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from lamella.errors import FormatError
from lamella.formats.mdoc import Mdoc, new_mdoc

__all__ = ["is_xml", "parse_xml"]


def is_xml(text: str) -> bool:
    """Whether a file's text is the XML form."""
    return text.lstrip().startswith("<?xml")


def parse_xml(text: str, path: Path | str) -> Mdoc:
    """The same sections, keys and values as text.

    Raises
    ------
    FormatError
        if it is no XML, or holds no section.
    """
    mend = "open it in SerialEM and save it again"
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise FormatError(f"{path}: XML with declarations of its own: no navigator file", mend=mend)
    try:
        root = ElementTree.fromstring(text.lstrip())
    except ElementTree.ParseError as error:
        raise FormatError(f"{path}: broken XML: {error}", mend=mend) from None
    values: dict[str, object] = {}
    sections: list[tuple[str, object, dict[str, object]]] = []
    for child in root:
        name = child.get("name")
        if name is not None:
            sections.append((child.tag, _line(name), _values(child)))
        elif len(child):
            values |= _values(child)
        else:
            values[child.tag] = _line(child.text)
    if not values and not sections:
        raise FormatError(f"{path}: XML without a section: no navigator file", mend=mend)
    return new_mdoc(path, values, (), sections)


def _values(element: ElementTree.Element) -> dict[str, object]:
    return {child.tag: _line(child.text) for child in element}


def _line(text: str | None) -> str:
    """A value on one line: in text it would end there."""
    return " ".join((text or "").split())
