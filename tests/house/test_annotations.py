"""The shapes that signatures state are enforced while tests run (see ``tests/conftest.py``)."""

from __future__ import annotations

import pytest
import torch
from jaxtyping import TypeCheckError

from unetkit.losses.overlap import dice
from unetkit.networks.fusions.concat import Concat


def test_a_loss_refuses_a_target_of_another_size():
    logits, target = torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 4, dtype=torch.long)
    dice(logits, target, smooth=1)
    with pytest.raises(TypeCheckError, match="target"):
        dice(logits, target[:, 1:])
    with pytest.raises(TypeCheckError, match="target"):
        dice(logits, target.float())


def test_a_fusion_refuses_features_of_another_size():
    fusion = Concat(2, 3, (2, 2))
    fusion(torch.zeros(1, 2, 4, 4), torch.zeros(1, 3, 4, 4))
    with pytest.raises(TypeCheckError, match="skip"):
        fusion(torch.zeros(1, 2, 4, 4), torch.zeros(1, 3, 5, 4))
