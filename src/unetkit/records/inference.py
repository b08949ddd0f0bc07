"""The part of the plan on prediction: tiles, what is made of their answers, and where they are computed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from unetkit.records.saved import Saved

Axes = tuple[int, ...]


class InferencePlan(Saved):
    """From a prepared sample to labels.

    Args:
        tile_size: Pixels per axis of one network call.
        overlap_fraction: Share of a tile that the next one repeats.
        batch_size: Tiles per network call.
        mirror_axes: Axes of a tile mirrored for test-time augmentation when it is asked for.
        whole_image_pixels: Up to this many pixels an image is predicted in one piece, without tiles.
        minimum_pixels: Pixels that an object needs to stay, one number per foreground class; empty: fitted
            after training on ``fit_cases`` training cases, and every object stays until then.
        largest_only: Whether only the largest object of a class stays, one per foreground class; empty:
            fitted together with ``minimum_pixels``, and every object stays until then.
        fit_cases: At most this many training cases tell ``minimum_pixels`` and ``largest_only``; 0: every
            object stays.
        crf_steps: Mean-field steps of a dense conditional random field over the prediction, 0 for none.
        crf_smoothness_weight: Weight of the kernel that looks at distance alone.
        crf_smoothness_pixels: Its standard deviation in pixels of the finest axis.
        crf_appearance_weight: Weight of the kernel that looks at distance and intensities.
        crf_appearance_pixels: Its standard deviation in pixels of the finest axis.
        crf_appearance_contrast: Its standard deviation in intensities, as a share of the image's own.
        guided_radius: Of a guided filter's windows, in pixels of the finest axis, 0 for none.
        guided_epsilon: Share of the image's variance up to which a window counts as flat.
        runtime: A name of ``runtimes.RUNTIMES``.
        mode: ``blend``: overlapping tiles are averaged. ``exact``: every pixel comes from one tile that shows
            the network all it can see from there, so that the answer is that of the image in one piece.
        stream_above_pixels: Images of more pixels stay in their files and are read, predicted and written
            row by row; 0: those that would take more than a quarter of the free memory.
        pyramid_levels: Smaller copies written into a label file, each of every second row and column of the
            one before, where its format has a place for them (a TIFF of one picture, OME-Zarr).
        skip_tiles: Tiles that are background without being computed: ``empty``, those whose pixels are all 0;
            ``constant``, those with a single value per channel; ``none``.
        screen_factor: Pixels per axis that become one in a first, small pass of the same network, after which
            only tiles that may hold a class are computed; 0: no such pass, every tile is computed.
        screen_thresholds: Probability in that pass from which a tile is computed, one per foreground class;
            ``unet screen`` finds them.
        network_input: What an exported network takes: ``float32``: normalised pixels; ``uint8``: those of the
            files, which it normalises itself. Trained networks take ``float32``.
        network_output: What an exported network answers: ``logits``, or ``classes``: the ids of the largest,
            of which overlapping tiles and mirrored images then vote. Trained networks answer ``logits``.
    """

    tile_size: Axes
    overlap_fraction: float = Field(default=0.5, ge=0.0, lt=1.0)
    batch_size: int = Field(default=1, ge=1)
    mirror_axes: Axes = ()
    whole_image_pixels: int = 0
    minimum_pixels: Axes = ()
    largest_only: tuple[bool, ...] = ()
    fit_cases: int = Field(default=256, ge=0)
    crf_steps: int = Field(default=0, ge=0)
    crf_smoothness_weight: float = Field(default=1.0, ge=0.0)
    crf_smoothness_pixels: float = Field(default=3.0, gt=0.0)
    crf_appearance_weight: float = Field(default=2.0, ge=0.0)
    crf_appearance_pixels: float = Field(default=6.0, gt=0.0)
    crf_appearance_contrast: float = Field(default=0.5, gt=0.0)
    guided_radius: int = Field(default=0, ge=0)
    guided_epsilon: float = Field(default=0.01, gt=0.0)
    runtime: str = "pytorch"
    mode: Literal["blend", "exact"] = "blend"
    stream_above_pixels: int = Field(default=0, ge=0)
    pyramid_levels: int = Field(default=0, ge=0, le=16)
    skip_tiles: Literal["none", "empty", "constant"] = "none"
    screen_factor: int = Field(default=0, ge=0)
    screen_thresholds: tuple[float, ...] = ()
    network_input: Literal["float32", "uint8"] = "float32"
    network_output: Literal["logits", "classes"] = "logits"
