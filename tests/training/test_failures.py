import multiprocessing

import pytest
from torch import nn

from maskmill.training.failures import explained
from small_trainings import ActAt


class Pooled(nn.Module):
    """Batch norm after global pooling, as in the image branch of DeepLabV3 and PSPNet."""

    def __init__(self):
        super().__init__()
        self.head = nn.Conv2d(3, 4, 1)
        self.pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))

    def forward(self, image):
        image = image.float() / 255
        return {"semantic": self.head(image) + self.pooled(image)}


def test_batch_norm_of_one_image_names_the_batch_size(train, tmp_path):
    message = r"got a batch of one - either set data\.batch_size to 2"
    with pytest.raises(ValueError, match=message), explained():
        train(tmp_path, network=Pooled, batch_size=1)


@pytest.mark.slow
def test_the_last_image_of_an_epoch_is_never_a_batch_of_one(train, tmp_path):
    _, trainer = train(tmp_path, network=Pooled, batch_size=3)  # ten images
    assert trainer.global_step == 9


def test_lightnings_own_complaints_become_one_message(train, tmp_path):
    message = "cannot use these settings: .*limit_train_batches"
    with pytest.raises(ValueError, match=message), explained():
        train(tmp_path, limit_train_batches=0.01)


class KillLoader(ActAt):
    """Kills the loader processes, as the kernel does when memory runs out."""

    def act(self):
        for process in multiprocessing.active_children():
            if type(process).__module__.startswith("multiprocessing."):  # not joblib's
                process.kill()
                process.join()


@pytest.mark.slow
def test_a_loader_process_that_the_kernel_ends_is_explained(train, tmp_path):
    message = r"one ended: .* lower data\.num_workers or data\.batch_size.*DataLoader worker"
    with pytest.raises(ValueError, match=message), explained():
        train(tmp_path, KillLoader(0, 1), workers=1)
