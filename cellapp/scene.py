"""The parameters of the simulator and its presets, calibrated on the VGG cells and on BBBC005."""

from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

MOST_CELLS = 5000
BBBC005_COUNTS = (1, 5, 10, 14, 18, 23, 27, 31, 35, 40, 44, 48, 53, 57, 61, 66, 70, 74, 78, 83, 87, 91, 96, 100)

Count = Annotated[int, Field(ge=0, le=MOST_CELLS)]
Radius = Annotated[float, Field(ge=1.5, le=500)]
Share = Annotated[float, Field(ge=0, le=1)]
Range = tuple[Annotated[float, Field(ge=0, le=50)], Annotated[float, Field(ge=0, le=50)]]


class Scene(BaseModel):
    """Every parameter of the simulator. A (low, high) pair is drawn uniformly, once an image."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    height: int = Field(256, ge=16, le=4096, description="image height, px")
    width: int = Field(256, ge=16, le=4096, description="image width, px")

    count_mean: float = Field(176, ge=0, le=5000, description="mean number of cells at this height × width")
    count_sd: float = Field(61, ge=0, le=5000, description="standard deviation of the number of cells")
    count_limits: tuple[Count, Count] = Field((74, 317), description="least and most cells; clipped to these")
    counts: tuple[Count, ...] = Field((), description="if any, the number of cells is one of these instead")
    clusters: int = Field(0, ge=0, le=1000, description="number of cluster centres")
    cluster_share: Share = Field(0, description="probability that a cell belongs to a cluster, 0–1")
    cluster_spread: Share = Field(0.05, description="standard deviation of a cluster, share of the image side")
    overlap: Share = Field(1, description="largest share of a cell that another may cover, 0 none – 1 any")
    placement_radius: float = Field(0, ge=0, le=100, description="radius of the overlap rule, px; 0 = `radius`")

    radius: tuple[Radius, Radius] = Field((5, 5), description="mean cell radius, px")
    radius_cv: float = Field(0, ge=0, le=0.1, description="cell-to-cell sd of the radius / its mean")
    roughness: float = Field(0.1, ge=0, le=0.3, description="displacement of contour points / radius")
    wander: float = Field(0.1, ge=0, le=0.3, description="shift of contour points along the contour, rad")

    texture_persistence: float = Field(0.5, gt=0, le=1, description="amplitude of an octave / the one before")
    texture_first: int = Field(2, ge=1, le=6, description="first octave k: a grid of 2^k × 2^k over the cell")
    texture_octaves: int = Field(5, ge=1, le=8, description="number of octaves")
    texture_floor: Share = Field(0.2, description="darkest intensity in a cell, share of full scale")
    brightness_cv: float = Field(0, ge=0, le=0.5, description="cell-to-cell sd of the brightness / its mean")

    depth_blur: float = Field(5, ge=0.5, le=5, description="σ of the most defocused clump, px; 0.5 = in focus")
    blur_window: int = Field(9, ge=3, le=41, description="width of the truncated blur kernel, px, odd")
    global_blur: Range = Field((0, 0), description="σ of the Gaussian blur of the whole image, px")
    global_blur_steps: int = Field(0, ge=0, le=100, description="number of values σ can take; 0 = any")

    illumination: Range = Field((1, 1), description="energy of the uneven light / energy of the cells")
    misalignment: Range = Field((0, 0), description="the light's centre off the image's, half image widths")
    autofluorescence: Range = Field((0, 0), description="energy of a cloudy background / energy of the cells")
    noise_share: Share = Field(0, description="share of images with simplex noise in the background, 0–1")
    noise_amplitude: Range = Field((0.1, 0.4), description="its height / median intensity of a cell")
    noise_wavelength: tuple[Radius, Radius] = Field((60, 150), description="its longest wavelength, px")

    gain: Range = Field((1, 1), description="grey level of a full-scale pixel / 255")
    saturation: float = Field(1, gt=0, le=1, description="brightest grey level before noise / 255")
    read_noise: Range = Field((2.5, 2.5), description="sd of the camera's noise, grey levels")
    soft_noise: Range = Field((0, 0), description="sd of the noise that neighbours share, grey levels")
    soft_noise_reach: float = Field(0.85, gt=0, le=3, description="σ of the blur that makes them share it, px")
    photons: float = Field(0, ge=0, description="photons of a full-scale pixel (shot noise); 0 = no shot noise")

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, value in self:
            if name == "counts" or not isinstance(value, tuple):
                continue
            low, high = value
            if low > high:
                raise ValueError(f"{name}: the low end {low} is above the high end {high}")
        if self.blur_window % 2 == 0:
            raise ValueError("blur_window must be odd")
        return self


@dataclass(frozen=True)
class Draw:
    """The value, in this image, of each of the scene's (low, high) pairs."""

    radius: float
    global_blur: float
    illumination: float
    misalignment: float
    autofluorescence: float
    noise_amplitude: float
    noise_wavelength: float
    gain: float
    read_noise: float
    soft_noise: float

    @classmethod
    def of(cls, scene: Scene, rng: np.random.Generator) -> "Draw":
        """One value of each, uniform."""
        values = {}
        for name in cls.__annotations__:
            low, high = getattr(scene, name)
            share = rng.random()
            if name == "global_blur" and scene.global_blur_steps > 1:
                share = int(share * scene.global_blur_steps) / (scene.global_blur_steps - 1)
            values[name] = low + share * (high - low)
        return cls(**values)


PRESETS: dict[str, Scene] = {
    # by their noise, the VGG images were stored with halved colour resolution: hence blur and soft noise
    "vgg-cells": Scene(
        clusters=5, cluster_share=0.45, cluster_spread=0.2,
        radius=(5.03, 5.15), depth_blur=5, blur_window=9, global_blur=(0.7, 0.9),
        illumination=(0.25, 0.32), misalignment=(0, 0.1), autofluorescence=(0.17, 0.25),
        gain=(0.94, 1.0), saturation=0.98, read_noise=(1.0, 1.2), soft_noise=(2.5, 2.9),
    ),
    "bbbc005": Scene(
        height=520, width=696, counts=BBBC005_COUNTS, clusters=5, cluster_share=0.25, overlap=0.2,
        radius=(15.9, 15.9), radius_cv=0.02, depth_blur=0.5, global_blur=(2, 11), global_blur_steps=16,
        illumination=(0, 0), gain=(1, 1), read_noise=(2.5, 2.9),
    ),
    "bbbc005-bodies": Scene(
        height=520, width=696, counts=BBBC005_COUNTS, clusters=5, cluster_share=0.25, overlap=0.2,
        placement_radius=15.9, radius=(32, 32), radius_cv=0.02, roughness=0.3, wander=0.05,
        texture_persistence=0.9, texture_octaves=8, depth_blur=0.5, global_blur=(2, 11), global_blur_steps=16,
        illumination=(0, 0), gain=(1, 1), read_noise=(2.5, 2.9),
    ),
    "nuclei": Scene(
        height=128, width=128, count_mean=5, count_sd=2, count_limits=(0, 12), clusters=4, cluster_share=0.3,
        overlap=0.1, radius=(8, 14), radius_cv=0.08, roughness=0.15, texture_floor=0.3, depth_blur=3,
        blur_window=5, illumination=(0.2, 1), misalignment=(0, 0.5), autofluorescence=(0, 0.1),
        noise_share=0.5, gain=(0.6, 1), read_noise=(2.5, 8),
    ),
    # for weights that are to count what they have never seen: every parameter wide, cells of 12 to 20 px
    "variety": Scene(
        height=192, width=192, count_mean=50, count_sd=40, count_limits=(0, 180), clusters=4, cluster_share=0.4,
        cluster_spread=0.15, overlap=0.35, radius=(6, 10), radius_cv=0.1, roughness=0.2, wander=0.2,
        texture_persistence=0.7, texture_floor=0.3, brightness_cv=0.35, depth_blur=3, blur_window=9,
        global_blur=(0, 2.5), illumination=(0, 1), misalignment=(0, 0.8), autofluorescence=(0, 0.6), noise_share=0.5,
        gain=(0.3, 1.2), saturation=1.0, read_noise=(0.5, 12), soft_noise=(0, 6),
    ),
}  # fmt: skip
