"""What a reader says when it goes on although a file is not quite as its format wants it."""

from __future__ import annotations

__all__ = ["FormatWarning"]


class FormatWarning(UserWarning):
    """A file departs from its format, and was read all the same; the text says what was assumed."""
