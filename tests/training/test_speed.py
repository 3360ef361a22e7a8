from functools import partial

import pytest
import torch
from lightning import Callback

from maskmill.training.speed import ChannelsLast, Compiled


class Losses(Callback):
    def __init__(self):
        self.values = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.values.append(float(outputs["loss"]))


OPTIONS = [
    pytest.param([], {}, id="as-it-is"),
    pytest.param([ChannelsLast], {}, id="channels-last"),
    pytest.param([Compiled], {}, id="compiled", marks=pytest.mark.slow),
    pytest.param(
        [ChannelsLast, Compiled],
        {"precision": "bf16-mixed"},
        id="all-together",
        marks=pytest.mark.slow,
    ),
    pytest.param([], {"precision": "bf16-mixed"}, id="bf16"),
    pytest.param(
        [], {"precision": "16-mixed", "accelerator": "gpu"}, id="fp16", marks=pytest.mark.gpu
    ),
    pytest.param([], {"accumulate_grad_batches": 2}, id="accumulation"),
    pytest.param([], {"gradient_clip_val": 1.0}, id="clipping"),
    pytest.param([], {"optimizer": partial(torch.optim.AdamW, lr=0.02, fused=True)}, id="fused"),
]


@pytest.mark.parametrize(("callbacks", "settings"), OPTIONS)
def test_every_option_trains_and_its_checkpoint_fits_the_plain_network(
    train, tmp_path, callbacks, settings
):
    if settings.get("accelerator") == "gpu" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    losses = Losses()
    state, _ = train(tmp_path, losses, *(make() for make in callbacks), max_epochs=6, **settings)
    assert sum(losses.values[-5:]) < 0.95 * sum(losses.values[:5])  # an epoch each
    plain, _ = train(tmp_path / "plain", max_epochs=1)
    assert state.keys() == plain.keys()


def test_channels_last_reaches_kernels_and_images(train, tmp_path):
    seen = []

    class Look(Callback):
        def on_train_start(self, trainer, pl_module):
            first = pl_module.network.layers[0]
            first.register_forward_pre_hook(
                lambda _, inputs: seen.append(
                    inputs[0].is_contiguous(memory_format=torch.channels_last)
                )
            )
            seen.append(first.weight.is_contiguous(memory_format=torch.channels_last))

    train(tmp_path, ChannelsLast(), Look(), max_epochs=1)
    assert len(seen) > 2
    assert all(seen)
