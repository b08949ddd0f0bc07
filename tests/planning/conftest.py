"""A data set in numbers, changed where a test asks for it."""

from __future__ import annotations

import pytest

from unetkit.records.fingerprint import ChannelFingerprint, Fingerprint


@pytest.fixture(scope="session")
def fingerprint():
    """Makes a fingerprint of pictures or volumes with two classes."""

    def made(rank=2, **changes):
        names = changes.pop("channels", ("image",))
        channels = tuple(
            ChannelFingerprint(
                name=name, count=100, mean=40.0, std=20.0, median=41.0, low=-100.0, high=240.0,
                minimum=-1000.0, maximum=3000.0, integer=True,
            )
            for name in names
        )  # fmt: skip
        shape = changes.pop("shape", (200, 300) if rank == 2 else (40, 60, 50))
        cases = changes.pop("cases", 40)
        values = {
            "rank": rank,
            "cases": tuple(f"c{n:03}" for n in range(cases)),
            "groups": cases,
            "shapes": (shape,) * cases,
            "original_shapes": (shape,) * cases,
            "spacings_mm": ((1.0,) * rank,) * cases,
            "calibrated": rank == 3,
            "channels": channels,
            "classes": ("background", "a", "b"),
            "voxels": (800, 150, 50),
            "cases_with": (cases,) * 3,
            "unknown": 0,
            "smallest_object": (10.0, 10.0),
            "nonzero_share": 1.0,
            "dtype": "uint8",
        }
        return Fingerprint(**(values | changes))

    return made
