import pytest

from maskmill.training.failures import explained

KEY = {"max_epochs": 3}  # five batches an epoch


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"check_val_every_n_epoch": 4}, "either lower trainer.check_val_every_n_epoch or raise "
         "trainer.max_epochs"),
        ({"check_val_every_n_epoch": 2, "max_steps": 9}, "follow batch 10 .* ends after batch 9 "
         r"\(max_steps=9; 5 batches an epoch\)"),
        ({"max_steps": 4}, "either lower trainer.val_check_interval or raise trainer.max_steps"),
        ({"max_steps": 4, "accumulate_grad_batches": 2, "check_val_every_n_epoch": 2},
         "ends after batch 7 "),
        ({"val_check_interval": 16, "check_val_every_n_epoch": None}, "follow batch 16 "
         r"\(val_check_interval=16\) and training ends after batch 15 \(max_epochs=3"),
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


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"check_val_every_n_epoch": 3},
        {"check_val_every_n_epoch": 2, "max_steps": 10},
        {"max_steps": 3, "accumulate_grad_batches": 2},
        {"max_steps": 4, "val_check_interval": 4},
        {"val_check_interval": 15, "check_val_every_n_epoch": None},
    ],
    ids=str,
)
def test_a_training_whose_only_validation_is_at_its_end_is_accepted(train, tmp_path, settings):
    _, trainer = train(tmp_path, **{**KEY, **settings})
    assert trainer.checkpoint_callback.best_model_path == str(tmp_path / "best.ckpt")
