"""An exporter is told from a compiler, and a compiler from nobody."""

import torch
from torch import nn

from unetkit.spatial.tracing import exported, traced


class Witness(nn.Module):
    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen.append((traced(), exported()))
        return x + 1


def test_only_an_exporter_is_an_exporter():
    witness = Witness()
    witness(torch.zeros(2))
    torch.export.export(witness, (torch.zeros(2),), strict=False)
    witness(torch.zeros(2))
    assert witness.seen[0] == witness.seen[-1] == (False, False)
    assert set(witness.seen[1:-1]) == {(True, True)}
