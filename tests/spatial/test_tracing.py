"""An exporter is told from a compiler, and a compiler from nobody."""

import torch
from torch import nn

from unetkit.spatial.tracing import exported, plainly, traced

SEEN: list[tuple[bool, bool]] = []
"""Outside of the module: what an exported forward pass does to its own module is taken back."""


class Witness(nn.Module):
    def forward(self, x):
        SEEN.append((traced(), exported()))
        return x + 1


def test_only_an_exporter_is_an_exporter():
    SEEN.clear()
    witness = Witness()
    witness(torch.zeros(2))
    torch.export.export(witness, (torch.zeros(2),), strict=False)
    witness(torch.zeros(2))
    assert SEEN[0] == SEEN[-1] == (False, False)
    assert set(SEEN[1:-1]) == {(True, True)}


def test_plain_operations_are_asked_for_until_the_block_ends():
    with plainly():
        assert (traced(), exported()) == (True, False)
    assert not traced()
