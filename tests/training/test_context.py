from pathlib import Path

import pytest
import torch
from lightning import Callback

from maskmill.training.callbacks import ExamplePictures
from maskmill.training.checkpoints import BestCheckpoint, ResumeCheckpoint
from maskmill.training.context import RunContext, attach


class Unrelated(Callback):
    """A callback that needs no context."""


class OwnFolder(Callback):
    """A user's callback that asks for the context."""

    def attach(self, context):
        self.folder = context.folder


def test_every_callback_with_attach_gets_the_context(tmp_path):
    best = BestCheckpoint()
    resume = ResumeCheckpoint()
    own = OwnFolder()
    context = RunContext(tmp_path, flush=lambda: None, show=lambda *_: None)
    attach([best, Unrelated(), resume, own], context)
    assert Path(best.dirpath) == tmp_path.resolve()
    assert resume.path == tmp_path / "last.ckpt"
    assert own.folder == tmp_path


@pytest.mark.slow
def test_metrics_are_flushed_before_every_checkpoint(train, tmp_path):
    step_before = []  # the step of the last checkpoint, at each flush

    def flush():
        path = tmp_path / "last.ckpt"
        step = torch.load(path, weights_only=True)["global_step"] if path.is_file() else None
        step_before.append(step)

    train(tmp_path, flush=flush, max_epochs=1)  # four checkpoints in the epoch, one at its end
    assert step_before == [None, 1, 2, 3, 4]


@pytest.mark.slow
def test_example_pictures_are_shown_every_n_epochs_and_in_the_last(train, tmp_path):
    shown = []
    pictures = ExamplePictures(num_images=2, every_n_epochs=2)

    def show(image, target, prediction, name, step):
        assert image.shape[:2] == target.size == prediction.size
        shown.append((name, step))

    train(tmp_path, pictures, show=show)  # three epochs of five steps
    assert shown == [("example-0", 10), ("example-1", 10), ("example-0", 15), ("example-1", 15)]
