import signal
from functools import partial

import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from omegaconf import OmegaConf

from maskmill.assembly.build import build
from maskmill.training.checkpoint_files import AtomicCheckpointIO
from maskmill.training.checkpoints import BestCheckpoint, ResumeCheckpoint
from maskmill.training.early_stopping import StopWhenFlat
from small_trainings import KillAt, KillAtTheEnd, Killed, Samples, TermAt


def is_same(weights, others):
    return all(torch.equal(weights[key], others[key]) for key in weights)


def best_weights(folder):
    return torch.load(folder / "best.ckpt", weights_only=True)["state_dict"]


# Interval of checkpoints and the position of the kill: five batches an epoch, three epochs. With
# every step, wherever the kill is; with others before, at and after a checkpoint.
KILLS = [
    *[(1, position) for position in [(0, 1), (0, 4), (1, 0), (1, 2), (2, 4)]],
    *[(2, position) for position in [(0, 4), (1, 2)]],
    *[(None, position) for position in [(0, 1), (1, 2)]],
]


@pytest.mark.slow
@pytest.mark.parametrize(("every_n_steps", "position"), KILLS, ids=str)
def test_a_run_killed_at_any_batch_resumes_with_the_same_result(
    train, uninterrupted, tmp_path, position, every_n_steps
):
    expected = uninterrupted()
    with pytest.raises(Killed):
        train(tmp_path, KillAt(*position), every_n_steps=every_n_steps)
    samples = Samples()
    weights, trainer = train(tmp_path, samples, every_n_steps=every_n_steps)
    assert is_same(expected.weights, weights)
    assert is_same(expected.best_weights, best_weights(tmp_path))
    assert expected.batches[-len(samples.batches) :] == samples.batches
    if every_n_steps == 1:  # no step is repeated
        epoch, batch = position
        assert len(samples.batches) == 15 - (epoch * 5 + batch)
    assert trainer.global_step == 15


@pytest.mark.slow
@pytest.mark.parametrize("epoch", [0, 2])
def test_a_run_killed_within_validation_resumes_with_the_same_result(
    train, uninterrupted, tmp_path, epoch
):
    with pytest.raises(Killed):
        train(tmp_path, KillAt(epoch, 1, validating=True))
    weights, _ = train(tmp_path)
    assert is_same(uninterrupted().weights, weights)
    assert is_same(uninterrupted().best_weights, best_weights(tmp_path))


ACCUMULATION = {"accumulate_grad_batches": 2}
EVERY_OTHER_EPOCH = {"check_val_every_n_epoch": 2, "max_epochs": 4}
WITHIN_EPOCHS = {"val_check_interval": 2}
A_PART = {"limit_train_batches": 3}
OTHER_SETTINGS = [
    pytest.param(ACCUMULATION, (0, 1), id="within-the-first-accumulation"),
    pytest.param(ACCUMULATION, (1, 2), id="between-accumulations"),
    pytest.param(EVERY_OTHER_EPOCH, (1, 2), id="before-the-first-validation"),
    pytest.param(EVERY_OTHER_EPOCH, (2, 0), id="after-a-validation-of-every-other-epoch"),
    pytest.param(WITHIN_EPOCHS, (1, 1), id="before-a-validation-within-the-epoch"),
    pytest.param(WITHIN_EPOCHS, (1, 2), id="after-a-validation-within-the-epoch"),
    pytest.param(A_PART, (1, 2), id="in-a-part-of-an-epoch"),
    pytest.param(A_PART, (2, 0), id="after-a-part-of-an-epoch"),
    pytest.param({"precision": "bf16-mixed"}, (1, 2), id="bf16"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("settings", "position"), OTHER_SETTINGS)
def test_a_killed_run_resumes_under_other_settings(
    train, uninterrupted, tmp_path, settings, position
):
    expected = uninterrupted(**settings)
    with pytest.raises(Killed):
        train(tmp_path, KillAt(*position), **settings)
    weights, _ = train(tmp_path, **settings)
    assert is_same(expected.weights, weights)
    assert is_same(expected.best_weights, best_weights(tmp_path))


@pytest.mark.slow
def test_a_run_killed_after_the_last_epoch_does_not_train_again(train, uninterrupted, tmp_path):
    with pytest.raises(Killed):
        train(tmp_path, KillAtTheEnd())
    samples = Samples()
    weights, trainer = train(tmp_path, samples)
    assert is_same(uninterrupted().weights, weights)
    assert not samples.batches
    assert trainer.checkpoint_callback.best_model_path


# No score rises by half, so this stops after the second epoch.
stop_early = partial(StopWhenFlat, patience=1, min_delta=0.5)


@pytest.mark.slow
@pytest.mark.parametrize("position", [(0, 2), (1, 0), (2, 0)], ids=str)
def test_a_resumed_run_stops_early_at_the_same_step(train, uninterrupted, tmp_path, position):
    expected = uninterrupted(stop_early, max_epochs=9)
    assert expected.num_steps == 10
    kill = KillAt(*position) if position < (2, 0) else KillAtTheEnd()
    with pytest.raises(Killed):
        train(tmp_path, stop_early(), kill, max_epochs=9)
    weights, trainer = train(tmp_path, stop_early(), max_epochs=9)
    assert trainer.global_step == 10
    assert is_same(expected.weights, weights)


@pytest.mark.slow
def test_loader_processes_do_not_change_a_resumed_run(train, uninterrupted, tmp_path):
    with pytest.raises(Killed):
        train(tmp_path, KillAt(1, 2), workers=2)
    weights, _ = train(tmp_path, workers=2)
    assert is_same(uninterrupted().weights, weights)


average = partial(EMAWeightAveraging, decay=0.8)


@pytest.mark.slow
def test_averaged_weights_survive_a_kill(train, uninterrupted, tmp_path):
    expected = uninterrupted(average)
    with pytest.raises(Killed):
        train(tmp_path, average(), KillAt(1, 2))
    weights, _ = train(tmp_path, average())
    assert is_same(expected.weights, weights)
    assert not is_same(expected.weights, uninterrupted().weights)
    assert is_same(expected.best_weights, best_weights(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("validating", "saved_step"),
    # the current step is completed; a validation starts again
    [pytest.param(False, 8, id="training"), pytest.param(True, 5, id="validating")],
)
def test_sigterm_saves_and_stops(train, uninterrupted, tmp_path, validating, saved_step):
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(InterruptedError, match=r"received SIGTERM at step .* command resumes"):
        train(tmp_path, TermAt(1, 2, validating), every_n_steps=None)
    assert signal.getsignal(signal.SIGTERM) == handler
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == saved_step
    weights, _ = train(tmp_path, every_n_steps=None)
    assert is_same(uninterrupted().weights, weights)


def test_a_checkpoint_is_saved_by_time(train, tmp_path):
    by_time = ResumeCheckpoint(every_n_seconds=1e-9)
    with pytest.raises(Killed):
        train(tmp_path, by_time, KillAt(0, 3), every_n_steps=None)
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 3


@pytest.mark.slow
def test_an_epoch_ends_without_a_checkpoint_before_it_is_time_but_the_training_does_not(
    train, uninterrupted, tmp_path
):
    by_time = ResumeCheckpoint(every_n_seconds=3600)
    with pytest.raises(Killed):
        train(tmp_path, KillAt(2, 3), resume=by_time)
    assert not (tmp_path / "last.ckpt").exists()
    weights, _ = train(tmp_path, resume=ResumeCheckpoint(every_n_seconds=3600))
    assert is_same(uninterrupted().weights, weights)
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 15


@pytest.mark.slow
def test_sigterm_in_the_first_validation_says_that_there_is_no_checkpoint(train, tmp_path):
    resume = ResumeCheckpoint(every_n_seconds=3600)
    with pytest.raises(InterruptedError, match=r"step 5: stopped, before the first checkpoint"):
        train(tmp_path, TermAt(0, 1, True), resume=resume)
    assert not (tmp_path / "last.ckpt").exists()


def test_a_checkpoint_that_cannot_be_written_leaves_the_previous_one(tmp_path):
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, path)
    with pytest.raises(Exception, match="pickle|local object"):
        AtomicCheckpointIO().save_checkpoint({"step": lambda: None}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}


def node(target, **values):
    return OmegaConf.create({"callbacks": {"_target_": target, **values}}).callbacks


@pytest.mark.parametrize(
    "values",
    [{"every_n_steps": 0}, {"every_n_seconds": 0.0}, {"every_n_seconds": float("nan")}],
    ids=str,
)
def test_intervals_that_are_not_positive_are_refused(values):
    with pytest.raises(ValueError, match=r"callbacks\.every_n_\w+: expected .* but got"):
        build(node("maskmill.training.checkpoints.ResumeCheckpoint", **values), ResumeCheckpoint)


@pytest.mark.slow
def test_the_best_checkpoint_monitors_the_score_of_the_task(train, tmp_path):
    _, trainer = train(tmp_path, max_epochs=1)
    assert trainer.checkpoint_callback.monitor == trainer.lightning_module.monitor
    assert trainer.checkpoint_callback.best_model_path == str(tmp_path / "best.ckpt")


@pytest.mark.slow
def test_the_best_checkpoint_has_no_state_of_the_optimizer(train, tmp_path):
    weights, _ = train(tmp_path, max_epochs=1)
    best = torch.load(tmp_path / "best.ckpt", weights_only=True)
    assert best.keys() == {"state_dict", "epoch", "global_step"}
    assert best["state_dict"].keys() == weights.keys()
    assert "optimizer_states" in torch.load(tmp_path / "last.ckpt", weights_only=True)


def test_more_than_one_best_checkpoint_may_be_kept():
    assert BestCheckpoint(save_top_k=3).save_top_k == 3  # before the score's name is known
