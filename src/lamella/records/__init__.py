"""Frozen records of what is known: they go into a stage function, and new ones come out."""

from lamella.records.images import ArrayImages, ArrayVolume, ImageSink, ImageSource, VolumeSink, VolumeSource
from lamella.records.notes import Note
from lamella.records.optics import Optics
from lamella.records.tilt_series import Defocus, TiltSeries
from lamella.records.tomogram import Tomogram

__all__ = [
    "ArrayImages",
    "ArrayVolume",
    "Defocus",
    "ImageSink",
    "ImageSource",
    "Note",
    "Optics",
    "TiltSeries",
    "Tomogram",
    "VolumeSink",
    "VolumeSource",
]
