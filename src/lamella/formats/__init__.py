"""Every file format, one module each: what other programs write, brought into lamella's own terms, and back."""

from lamella.formats.warnings import FormatWarning

__all__ = ["FormatWarning"]
