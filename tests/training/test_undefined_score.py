"""A score that validation leaves undefined: labels without a single object, or all void."""

import logging

import pytest
import torch
from lightning import Callback

from maskmill.tasks.segmentation import SemanticTask
from maskmill.training.checkpoints import best_score
from maskmill.training.early_stopping import StopWhenFlat


class Undefined(Callback):
    """Removes the score of each validation but those of the given epochs."""

    def __init__(self, *defined):
        self.defined = defined

    def on_validation_epoch_start(self, trainer, pl_module):
        compute = type(pl_module.scores).compute

        def without_score():
            values = compute(pl_module.scores)
            if trainer.sanity_checking or trainer.current_epoch not in self.defined:
                del values[pl_module.monitor]
            return values

        pl_module.scores.compute = without_score


def best_epoch(folder):
    return torch.load(folder / "best.ckpt", weights_only=True)["epoch"]


@pytest.mark.slow
def test_without_any_score_the_last_weights_are_kept_with_one_warning(train, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="maskmill"):
        _, trainer = train(tmp_path, Undefined())
    assert best_epoch(tmp_path) == 2
    assert trainer.callback_metrics[SemanticTask.monitor].isnan()
    assert best_score(trainer) == 0
    (message,) = caplog.messages
    assert message.startswith("val/mIoU is undefined: neither the ground truth nor the predictions")
    assert "a labelled pixel" in message


@pytest.mark.slow
@pytest.mark.parametrize("epoch", [0, 1])
def test_an_undefined_score_is_worse_than_every_score(train, tmp_path, epoch):
    _, trainer = train(tmp_path, Undefined(epoch))
    assert best_epoch(tmp_path) == epoch
    assert best_score(trainer) == float(trainer.checkpoint_callback.best_model_score) > 0


@pytest.mark.slow
def test_an_undefined_score_is_no_improvement_for_early_stopping(train, tmp_path):
    _, trainer = train(tmp_path, Undefined(0), StopWhenFlat(patience=2), max_epochs=9)
    assert trainer.current_epoch == 3  # a score, then two validations without one
    assert best_epoch(tmp_path) == 0


@pytest.mark.slow
def test_the_sanity_check_neither_warns_nor_becomes_best(train, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="maskmill"):
        _, trainer = train(tmp_path, Undefined(0, 1, 2), num_sanity_val_steps=2)
    assert caplog.messages == []
    assert best_score(trainer) > 0
    assert len(trainer.checkpoint_callback.best_k_models) == 1
