"""The plan's part on augmentation."""

from __future__ import annotations

from pydantic import Field

from unetkit.records.saved import Saved

_CHANCES = (
    "rotation",
    "scaling",
    "elastic",
    "noise",
    "blur",
    "brightness",
    "contrast",
    "low_resolution",
    "gamma",
    "mixup",
    "cutmix",
    "copy_paste",
    "cascade_morphology",
    "cascade_removal",
)


class AugmentationPlan(Saved):
    """Probabilities and ranges of the batched augmentation; a probability of 0 switches a part off.

    Args:
        rotation: Probability of a rotation.
        rotation_degrees: Largest angle, one per rotation plane: ``(in-plane,)`` for rank 2,
            ``(about axis 0, about axis 1, about axis 2)`` for rank 3.
        scaling: Probability of zooming.
        scaling_range: Zoom factors.
        elastic: Probability of an elastic deformation.
        elastic_share: Largest displacement as a share of the patch edge.
        flip_axes: Spatial axes mirrored with probability one half each.
        noise: Probability of Gaussian noise.
        noise_variance: Largest variance (inputs have variance about 1).
        blur: Probability of a Gaussian blur.
        blur_sigma: Range of sigma, pixels.
        brightness: Probability of a multiplicative change.
        brightness_range: Factors.
        contrast: Probability of a change of contrast.
        contrast_range: Factors.
        low_resolution: Probability of down- and up-sampling.
        low_resolution_range: Zoom factors.
        gamma: Probability of a gamma change.
        gamma_range: Exponents.
        gamma_inverted: Share of gamma changes made on the inverted image.
        mixup: Probability that a patch is blended with its partner in the batch.
        mixup_alpha: Both parameters of the Beta distribution that the blend is drawn from.
        cutmix: Probability that a box of a partner is pasted over a patch.
        cutmix_alpha: Both parameters of the Beta distribution that the box's share is drawn from.
        copy_paste: Probability that foreground of a partner is pasted over a patch: the rarest class always,
            the others by the square root of how many times more cases have them.
        cascade_morphology: Probability that what the first stage of a cascade found is dilated, eroded,
            opened or closed, each class with probability one half.
        cascade_radius: Range of the radius of that, pixels.
        cascade_removal: Probability that an object which the first stage found is taken away, of each class
            with probability one half.
        cascade_removal_share: Only objects that fill less than this share of the patch.
    """

    rotation: float = 0.2
    rotation_degrees: tuple[float, ...] = (180.0,)
    scaling: float = 0.2
    scaling_range: tuple[float, float] = (0.7, 1.4)
    elastic: float = 0.0
    elastic_share: float = 0.05
    flip_axes: tuple[int, ...] = ()
    noise: float = 0.1
    noise_variance: float = 0.01
    blur: float = 0.2
    blur_sigma: tuple[float, float] = (0.5, 1.0)
    brightness: float = 0.15
    brightness_range: tuple[float, float] = (0.75, 1.25)
    contrast: float = 0.15
    contrast_range: tuple[float, float] = (0.75, 1.25)
    low_resolution: float = 0.25
    low_resolution_range: tuple[float, float] = (0.5, 1.0)
    gamma: float = 0.3
    gamma_range: tuple[float, float] = (0.7, 1.5)
    gamma_inverted: float = 0.25
    mixup: float = Field(default=0.0, ge=0.0, le=1.0)
    mixup_alpha: float = Field(default=0.2, gt=0.0)
    cutmix: float = Field(default=0.0, ge=0.0, le=1.0)
    cutmix_alpha: float = Field(default=1.0, gt=0.0)
    copy_paste: float = Field(default=0.0, ge=0.0, le=1.0)
    cascade_morphology: float = Field(default=0.0, ge=0.0, le=1.0)
    cascade_radius: tuple[int, int] = (1, 8)
    cascade_removal: float = Field(default=0.0, ge=0.0, le=1.0)
    cascade_removal_share: float = Field(default=0.15, ge=0.0, le=1.0)

    @property
    def still(self) -> AugmentationPlan:
        """The same with every part switched off: patches as they are."""
        return self.model_copy(update={**dict.fromkeys(_CHANCES, 0.0), "flip_axes": ()})
