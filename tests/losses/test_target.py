"""What losses are measured against: one class per pixel, or shares."""

import pytest
import torch
from torch.nn.functional import one_hot

from unetkit.losses.target import class_shares, count_known, is_soft, wide


@pytest.mark.parametrize("size", [(3, 4), (2, 3, 4)])
def test_shares_of_class_ids_are_one_hot_and_zero_where_unknown(size):
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(0, 3, (2, *size), generator=generator)
    known = torch.rand(target.shape, generator=generator) > 0.4
    like = torch.zeros(2, 3, *size, dtype=torch.float64)
    wanted = one_hot(target, 3).movedim(-1, 1).double()
    assert torch.equal(class_shares(target, None, like=like), wanted)
    assert torch.equal(class_shares(wanted.float(), None, like=like), wanted)
    wanted = wanted * known.unsqueeze(1)
    target[~known] = 255
    assert torch.equal(class_shares(target, known, like=like), wanted)
    soft = torch.where(known.unsqueeze(1), wanted, torch.nan)
    assert torch.equal(class_shares(soft, known, like=like), wanted)


def test_types_and_counts():
    logits = torch.zeros(2, 3, 4, 5)
    assert not is_soft(torch.zeros(2, 4, 5, dtype=torch.uint8))
    assert is_soft(logits)
    assert wide(logits.half()).dtype == torch.float32
    assert wide(logits.double()).dtype == torch.float64
    assert count_known(logits, None) == 40
    known = torch.zeros(2, 4, 5, dtype=torch.bool)
    assert count_known(logits, known) == 1
    known[0, 1] = True
    assert count_known(logits, known) == 5
