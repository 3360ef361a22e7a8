from functools import partial

import pytest
import torch
from lightning import Callback
from torch.nn import functional as F

from maskmill.networks.padding import at_any_size
from maskmill.training.speed import ChannelsLast, Compiled, KeptMemory
from small_trainings import Losses

# Validation batches of one size: the last, of one image, would be compiled again.
FULL_BATCHES = {"limit_val_batches": 2}
FUSED = partial(torch.optim.AdamW, lr=0.02, fused=True)
OPTIONS = [
    pytest.param([], {}, id="default"),
    pytest.param([ChannelsLast], {}, id="channels-last"),
    pytest.param([Compiled], FULL_BATCHES, id="compiled", marks=pytest.mark.slow),
    pytest.param(
        [ChannelsLast, Compiled],
        {"precision": "bf16-mixed", **FULL_BATCHES},
        id="all",
        marks=pytest.mark.slow,
    ),
    pytest.param([], {"precision": "bf16-mixed"}, id="bf16"),
    pytest.param(
        [], {"precision": "16-mixed", "accelerator": "gpu"}, id="fp16", marks=pytest.mark.gpu
    ),
    pytest.param([], {"accumulate_grad_batches": 2}, id="accumulation"),
    pytest.param([], {"gradient_clip_val": 1.0}, id="clipping"),
    pytest.param([], {"optimizer": FUSED}, id="fused"),
    pytest.param(
        [],
        {"optimizer": FUSED, "precision": "bf16-mixed", "gradient_clip_val": 1.0},
        id="fused-bf16-clipping",
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("callbacks", "settings"), OPTIONS)
def test_every_option_trains_and_its_checkpoint_fits_the_plain_network(
    train, uninterrupted, tmp_path, callbacks, settings
):
    if settings.get("accelerator") == "gpu" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    losses = Losses()
    built = [make() for make in callbacks]
    weights, _ = train(tmp_path, losses, *built, max_epochs=6, **settings)
    first_epoch = sum(losses.values[:5])
    last_epoch = sum(losses.values[-5:])
    assert last_epoch < 0.95 * first_epoch
    assert weights.keys() == uninterrupted().weights.keys()


@pytest.mark.slow
def test_memory_that_is_not_filled_changes_no_bit(train, uninterrupted, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    weights, _ = train(tmp_path, KeptMemory())
    assert not torch.utils.deterministic.fill_uninitialized_memory
    expected = uninterrupted().weights
    assert all(torch.equal(weights[key], expected[key]) for key in expected)


def enlarged(images):
    return {"semantic": F.interpolate(images[..., ::2, ::2], scale_factor=2.0, mode="nearest")}


@pytest.mark.slow
def test_a_compiled_network_takes_images_of_other_sizes_as_in_validation():
    compiled = torch.compile(lambda images: at_any_size(enlarged, images, 32), backend="aot_eager")
    for size in ((64, 64), (96, 128), (70, 90)):  # from the second one on for any size
        images = torch.rand(1, 1, *size)
        plain = at_any_size(enlarged, images, 32)
        assert torch.equal(compiled(images)["semantic"], plain["semantic"])


class MemoryFormats(Callback):
    """Whether the first kernel and the images are in channels_last format."""

    def __init__(self):
        self.is_channels_last = []

    def on_train_start(self, trainer, pl_module):
        layer = pl_module.network.layers[0]
        layer.register_forward_pre_hook(lambda _, inputs: self.add(inputs[0]))
        self.add(layer.weight)

    def add(self, tensor):
        is_channels_last = tensor.is_contiguous(memory_format=torch.channels_last)
        self.is_channels_last.append(is_channels_last)


def test_channels_last_applies_to_kernels_and_images(train, tmp_path):
    formats = MemoryFormats()
    train(tmp_path, ChannelsLast(), formats, max_epochs=1)
    assert len(formats.is_channels_last) > 2
    assert all(formats.is_channels_last)
