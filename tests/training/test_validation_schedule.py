import pytest
import torch
from lightning import Callback

from maskmill.training.failures import explained
from small_trainings import KillAt, Killed

KEY = {"max_epochs": 3}  # five batches an epoch


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"val_check_interval": 6}, "^trainer.val_check_interval: expected at most the number of "
         "batches of an epoch .*set trainer.check_val_every_n_epoch=null"),
        ({"limit_val_batches": 0}, "got limit_val_batches=0 - set trainer.limit_val_batches"),
        ({"limit_train_batches": 0}, "got limit_train_batches=0"),
        ({"max_epochs": 0}, "got max_epochs=0"),
        ({"fast_dev_run": True}, "trainer.fast_dev_run: .* set trainer.limit_train_batches"),
    ],
    ids=str,
)  # fmt: skip
def test_a_training_without_validation_is_refused_before_its_first_step(
    train, tmp_path, settings, message
):
    with pytest.raises(ValueError, match=message), explained():
        train(tmp_path, **{**KEY, **settings})
    assert not list(tmp_path.glob("*.ckpt"))


class Validations(Callback):
    """Notes after how many batches a validation runs."""

    def __init__(self):
        self.batches = []

    def on_validation_start(self, trainer, pl_module):
        self.batches.append(trainer.fit_loop.total_batch_idx + 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "batches"),
    [
        ({"check_val_every_n_epoch": 2}, [10, 15]),
        ({"check_val_every_n_epoch": 3}, [15]),
        ({"check_val_every_n_epoch": 4}, [15]),
        ({"check_val_every_n_epoch": 2, "max_steps": 9}, [9]),
        ({"check_val_every_n_epoch": 2, "max_steps": 10}, [10]),
        ({"max_steps": 7}, [5, 7]),
        ({"max_steps": 3, "accumulate_grad_batches": 2}, [5]),
        ({"max_steps": 4, "accumulate_grad_batches": 2, "check_val_every_n_epoch": 2}, [7]),
        ({"max_steps": 4, "val_check_interval": 4}, [4]),
        ({"max_steps": 7, "val_check_interval": 2}, [2, 4, 7]),
        ({"val_check_interval": 7, "check_val_every_n_epoch": None}, [7, 14, 15]),
        ({"val_check_interval": 16, "check_val_every_n_epoch": None}, [15]),
        ({"val_check_interval": {"hours": 1}}, [15]),
        ({"val_check_interval": {"hours": 1}, "max_steps": 7}, [7]),
    ],
    ids=str,
)
def test_the_last_weights_are_validated_at_whatever_interval(train, tmp_path, settings, batches):
    validations = Validations()
    _, trainer = train(tmp_path, validations, **{**KEY, **settings})
    assert validations.batches == batches
    assert trainer.checkpoint_callback.best_model_path == str(tmp_path / "best.ckpt")


OUT_OF_TIME = {"max_time": {"microseconds": 1}, "max_epochs": 9}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "batches"),
    [
        ({"check_val_every_n_epoch": 3}, [1]),
        ({"check_val_every_n_epoch": 3, "min_epochs": 4}, [15, 20]),
        ({"check_val_every_n_epoch": 4, "min_steps": 7}, [7]),
        ({"min_epochs": 3, "max_steps": 12}, [5, 10, 12]),
        ({"min_epochs": 3, "val_check_interval": 16, "check_val_every_n_epoch": None}, [15]),
    ],
    ids=str,
)
def test_the_last_weights_are_validated_when_the_time_is_over(train, tmp_path, settings, batches):
    validations = Validations()
    _, trainer = train(tmp_path, validations, **OUT_OF_TIME | settings)
    assert validations.batches == batches
    assert trainer.global_step == batches[-1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "position"),
    [
        ({"check_val_every_n_epoch": 2}, {"epoch": 2, "batch": 3}),
        ({"check_val_every_n_epoch": 2}, {"epoch": 2, "batch": 1, "validating": True}),
        ({"max_steps": 13}, {"epoch": 2, "batch": 1, "validating": True}),
        (
            {"max_steps": 13, "val_check_interval": {"hours": 1}},
            {"epoch": 2, "batch": 1, "validating": True},
        ),
    ],
    ids=str,
)
def test_a_run_killed_before_or_in_the_last_validation_repeats_it(
    train, uninterrupted, tmp_path, settings, position
):
    expected = uninterrupted(**settings)
    with pytest.raises(Killed):
        train(tmp_path, KillAt(**position), **settings)
    validations = Validations()
    weights, trainer = train(tmp_path, validations, **settings)
    assert validations.batches == [trainer.global_step]
    assert all(torch.equal(weights[key], expected.weights[key]) for key in weights)
