"""The pieces of an HTML page. Every text that comes from outside passes through `text`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files

__all__ = ["Cell", "details", "facts", "film", "page", "picture", "section", "svg", "table", "text"]

Cell = str | tuple[str, str]
"""The HTML of a table's cell, and its CSS class where it has one."""


def text(value: object) -> str:
    """Text as HTML: nothing in it is markup."""
    return escape(str(value), quote=True)


def page(
    title: str, links: Sequence[tuple[str, str]], body: Iterable[str], footer: str, *, refresh_s: int | None = None
) -> str:
    """A whole page that needs no other file.

    Parameters
    ----------
    title
        plain text.
    links
        (address, plain text) of the navigation.
    body
        HTML of the sections.
    footer
        HTML.
    refresh_s
        after which a browser loads the page anew; None: it does not.
    """
    refresh = [] if refresh_s is None else [f'<meta http-equiv="refresh" content="{refresh_s}">']
    style = files("lamella.report").joinpath("style.css").read_text(encoding="utf-8")
    menu = "".join(f'<a href="{text(address)}">{text(name)}</a>' for address, name in links)
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            # Nothing is fetched and nothing runs, whatever a name or a message may hold.
            '<meta http-equiv="Content-Security-Policy" '
            "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">",
            *refresh,
            f"<title>{text(title)}</title>",
            f"<style>\n{style}</style>",
            "</head>",
            "<body>",
            '<a class="skip" href="#content">Skip to the content</a>',
            f'<nav aria-label="Sections"><b>lamella</b>{menu}</nav>',
            '<main id="content">',
            *body,
            f"<footer>{footer}</footer>",
            "</main>",
            "</body>",
            "</html>",
            "",
        ]
    )


def section(anchor: str, title: str, parts: Iterable[str]) -> str:
    """A section with a heading; empty where it has no parts."""
    inner = "\n".join(part for part in parts if part)
    return f'<section id="{text(anchor)}">\n<h2>{text(title)}</h2>\n{inner}\n</section>'


def facts(pairs: Mapping[str, str]) -> str:
    """Names and values as small cards."""
    if not pairs:
        return ""
    cards = "".join(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in pairs.items())
    return f"<dl>{cards}</dl>"


def table(head: Sequence[Cell], rows: Sequence[Sequence[Cell]], label: str) -> str:
    """A table whose cells are HTML; it scrolls sideways by itself where the screen is narrow."""
    if not rows:
        return ""
    top = "".join(_cell("th", cell, ' scope="col"') for cell in head)
    body = "".join("<tr>" + "".join(_cell("td", cell) for cell in row) + "</tr>\n" for row in rows)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(label)}">'
        f"<table><thead><tr>{top}</tr></thead><tbody>\n{body}</tbody></table></div>"
    )


def picture(source: str, description: str, caption: str, *, wide: bool = True) -> str:
    """A picture from a data URI, with its caption; a wide one scrolls sideways on a phone."""
    kind = ' class="wide"' if wide else ""
    image = f'<img loading="lazy" decoding="async" src="{text(source)}" alt="{text(description)}">'
    return (
        f'<figure{kind}><div class="scroll" tabindex="0" role="region" aria-label="{text(description)}">{image}</div>'
        f"<figcaption>{text(caption)}</figcaption></figure>"
    )


def film(source: str, still: str, description: str, caption: str) -> str:
    """A film and a still of it, both data URIs: the still is shown where the system asks for less motion."""
    image = f'<img loading="lazy" decoding="async" src="{text(source)}" alt="{text(description)}">'
    calm = f'<source media="(prefers-reduced-motion: reduce)" srcset="{text(still)}">'
    return f"<figure><picture>{calm}{image}</picture><figcaption>{text(caption)}</figcaption></figure>"


def svg(drawing: str, caption: str) -> str:
    """A line plot, with its caption."""
    return f'<figure><div class="scroll">{drawing}</div><figcaption>{text(caption)}</figcaption></figure>'


def details(title: str, inner: str, *, is_open: bool = False) -> str:
    """A part that opens and closes."""
    return (
        f"<details{' open' if is_open else ''}><summary>{text(title)}</summary>\n{inner}\n</details>" if inner else ""
    )


def _cell(tag: str, cell: Cell, more: str = "") -> str:
    inner, kind = (cell, "") if isinstance(cell, str) else cell
    return f"<{tag}{more}{f' class={chr(34)}{kind}{chr(34)}' if kind else ''}>{inner}</{tag}>"
