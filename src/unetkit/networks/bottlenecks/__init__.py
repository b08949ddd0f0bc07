"""Bottlenecks: what happens to the coarsest features. Built as ``Bottleneck(channels: int, rank: int)``."""

BOTTLENECKS = {"identity": "torch.nn:Identity"}
