"""Addition."""

import torch

from unetkit.networks.fusions.add import Add


def test_equal_widths_are_added_and_nothing_is_learned():
    up, skip = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    fusion = Add(3, 3, (2, 2))
    assert torch.equal(fusion(up, skip), up + skip)
    assert not list(fusion.parameters())


def test_another_width_is_projected_to_that_of_the_way_up():
    up, skip = torch.randn(2, 3, 4, 5), torch.randn(2, 6, 4, 5)
    fusion = Add(3, 6, (2, 2))
    wanted = up + torch.einsum("ki,bihw->bkhw", fusion.project.weight, skip)
    torch.testing.assert_close(fusion(up, skip), wanted)
    assert fusion.channels == 3
