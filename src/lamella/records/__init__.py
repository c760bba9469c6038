"""Frozen records of what is known: they go into a stage function, and new ones come out."""

from lamella.records.ctf_profiles import CtfProfiles
from lamella.records.images import (
    ArrayFrames,
    ArrayImages,
    ArrayParticles,
    ArrayVolume,
    FrameSource,
    ImageSink,
    ImageSource,
    ParticleSink,
    ParticleSource,
    VolumeSink,
    VolumeSource,
)
from lamella.records.map import Map
from lamella.records.motion import LocalMotion, MovieMotion
from lamella.records.notes import Note
from lamella.records.optics import Optics
from lamella.records.particles import PARTICLE_DIAMETER, ParticleImages, Particles, ParticleSet
from lamella.records.tilt_scheme import TiltScheme, doses_of_tilts, recording_order
from lamella.records.tilt_series import (
    SESSION_DEFOCUS,
    SESSION_SHIFT_ERROR,
    SESSION_SHIFTS,
    Defocus,
    TiltSeries,
)
from lamella.records.tomogram import Tomogram

__all__ = [
    "PARTICLE_DIAMETER",
    "SESSION_DEFOCUS",
    "SESSION_SHIFTS",
    "SESSION_SHIFT_ERROR",
    "ArrayFrames",
    "ArrayImages",
    "ArrayParticles",
    "ArrayVolume",
    "CtfProfiles",
    "Defocus",
    "FrameSource",
    "ImageSink",
    "ImageSource",
    "LocalMotion",
    "Map",
    "MovieMotion",
    "Note",
    "Optics",
    "ParticleImages",
    "ParticleSet",
    "ParticleSink",
    "ParticleSource",
    "Particles",
    "TiltScheme",
    "TiltSeries",
    "Tomogram",
    "VolumeSink",
    "VolumeSource",
    "doses_of_tilts",
    "recording_order",
]
