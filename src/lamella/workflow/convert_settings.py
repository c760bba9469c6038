"""Settings of `lamella convert`; light, for the command line."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, model_validator

from lamella.settings import StepSettings, setting

__all__ = ["ConvertSettings", "sizes"]


def sizes(text: str) -> tuple[int, ...]:
    """``"512"`` or ``"512,512,200"`` as numbers, in the order x, y, z; nothing as an empty tuple."""
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    if len(parts) > 3 or not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise ValueError(f"{text!r} is no size: give one number of pixels, or x,y for a stack, or x,y,z for a volume")
    return tuple(int(part) for part in parts)


def _size(text: str) -> str:
    sizes(text)
    return text.strip()


def _grey(text: str) -> str:
    text = text.strip()
    if text in ("", "auto", "normalise"):
        return text
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"{text!r} is neither auto, normalise nor LOW,HIGH") from None
    if not low < high:
        raise ValueError(f"{text!r}: the first grey value must be below the second")
    return text


Size = Annotated[str, AfterValidator(_size)]


class ConvertSettings(BaseModel):
    """What `lamella convert` does to a stack or volume, in the order of the fields."""

    model_config = StepSettings.model_config

    kind: Literal["auto", "stack", "volume"] = setting(
        "auto", "whether the sections are images, each treated by itself, or one volume; auto goes by the file's header"
    )
    input_pixel_size: float | None = setting(
        None, "pixel size of the input, where its header is wrong or silent", unit="Å", gt=0
    )
    low_pass: float | None = setting(None, "remove detail finer than this", unit="Å", gt=0)
    pixel_size: float | None = setting(
        None, "sample anew in pixels of this size, finer or coarser, about the centre pixel", unit="Å", gt=0
    )
    bin: float = setting(1.0, "make pixels larger by this factor, by cropping the Fourier transform", ge=1, le=64)
    crop: Size = setting("", "crop to N, or to X,Y or X,Y,Z pixels of the output, about the centre pixel", unit="px")
    pad: Size = setting(
        "",
        "pad to N, or to X,Y or X,Y,Z pixels of the output, about the centre pixel; an image with its mean, a volume "
        "with the mean of its faces",
        unit="px",
    )
    box: Size = setting(
        "", "crop or pad, whichever is needed, to N, or to X,Y or X,Y,Z pixels of the output", unit="px"
    )
    invert: bool = setting(False, "swap dark and bright: mirror the grey values about their mean")
    grey: Annotated[str, AfterValidator(_grey)] = setting(
        "",
        "LOW,HIGH: the grey values that become the lowest and the highest of a whole-number type (0 and 1 otherwise); "
        "auto: those that 0.1 % lie below and above; normalise: mean 0, standard deviation 1",
    )
    dtype: Literal["float32", "float16", "int16", "uint16", "int8", "uint8"] = setting(
        "float32", "type of the numbers in the output; what does not fit a whole-number type is clipped and counted"
    )
    ome_zarr: Literal["0.4", "0.5"] = setting(
        "0.4", "version of OME-Zarr that NAME.zarr is written in; 0.4 (zarr format 2) is what most viewers read"
    )

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if self.box and (self.crop or self.pad):
            raise ValueError("box does what crop and pad do: give either it or them")
        if self.pixel_size is not None and self.bin != 1:
            raise ValueError("pixel_size and bin both change the pixels: give either")
        if self.grey == "normalise" and not self.dtype.startswith("float"):
            raise ValueError(f"normalised grey values do not fit {self.dtype}: write float32 or float16")
        return self
