import torch

from unetkit.networks.heads import all_heads
from unetkit.networks.unet import build
from unetkit.records.plan import EXAMPLE, NetworkPlan


def test_every_head_answers_and_all_is_left_as_it_was():
    plan = {**EXAMPLE["network"], "widths": (4, 4, 4), "blocks": (1,) * 3, "decoder_blocks": (1, 1)}
    more = {"kernels": ((3, 3),) * 3, "strides": ((1, 1), (2, 2), (2, 2)), "deep_supervision": 2}
    network = build(NetworkPlan(**{**plan, **more}), rank=2, in_channels=3, classes=2).train()
    network.encoder.eval()
    modes = [module.training for module in network.modules()]
    with all_heads(network) as image:
        assert image.shape == (2, 3, 8, 8)
        assert len(network(image)) == 2
        assert not any(module.training for module in network.modules() if module is not network)
    assert [module.training for module in network.modules()] == modes
    assert torch.count_nonzero(image) == 0
