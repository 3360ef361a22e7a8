import signal

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, EMAWeightAveraging

from maskmill.training.checkpoints import ResumeCheckpoint, WholeFiles
from small_trainings import KillAt, KillAtTheEnd, Killed, Samples, TermAt


def same(one, other):
    return all(torch.equal(one[key], other[key]) for key in one)


def best_of(folder):
    return torch.load(folder / "best.ckpt", weights_only=True)["state_dict"]


PLACES = [(0, 1), (0, 4), (1, 0), (1, 2), (2, 4)]  # five batches an epoch, three epochs


@pytest.mark.parametrize(
    "every_n_steps",
    [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(None, marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("place", PLACES, ids=str)
def test_killed_at_any_batch_it_ends_as_if_it_had_not_been(train, tmp_path, place, every_n_steps):
    seen, again = Samples(), Samples()
    expected, _ = train(tmp_path / "whole", seen)
    with pytest.raises(Killed):
        train(tmp_path / "killed", KillAt(*place), every_n_steps=every_n_steps)
    got, trainer = train(tmp_path / "killed", again, every_n_steps=every_n_steps)
    assert same(expected, got)
    assert same(best_of(tmp_path / "whole"), best_of(tmp_path / "killed"))
    assert seen.seen[-len(again.seen) :] == again.seen
    if every_n_steps == 1:  # nothing is done twice
        assert len(again.seen) == 15 - (place[0] * 5 + place[1])
    assert trainer.global_step == 15


@pytest.mark.parametrize("epoch", [0, 2])
def test_killed_within_validation_it_ends_as_if_it_had_not_been(train, tmp_path, epoch):
    expected, _ = train(tmp_path / "whole")
    with pytest.raises(Killed):
        train(tmp_path / "killed", KillAt(epoch, 1, validating=True))
    got, _ = train(tmp_path / "killed")
    assert same(expected, got)
    assert same(best_of(tmp_path / "whole"), best_of(tmp_path / "killed"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"accumulate_grad_batches": 2}, id="accumulation"),
        pytest.param(
            {"check_val_every_n_epoch": 2, "max_epochs": 4}, id="validation-every-other-epoch"
        ),
        pytest.param({"val_check_interval": 2}, id="validation-within-epochs"),
        pytest.param({"limit_train_batches": 3}, id="a-part-of-each-epoch"),
        pytest.param({"precision": "bf16-mixed"}, id="bf16"),
    ],
)
@pytest.mark.parametrize("place", [(0, 1), (1, 1), (1, 2), (2, 0)], ids=str)
def test_the_same_under_other_settings(train, tmp_path, settings, place):
    expected, _ = train(tmp_path / "whole", **settings)
    with pytest.raises(Killed):
        train(tmp_path / "killed", KillAt(*place), **settings)
    got, _ = train(tmp_path / "killed", **settings)
    assert same(expected, got)
    assert same(best_of(tmp_path / "whole"), best_of(tmp_path / "killed"))


def test_killed_after_the_last_epoch_nothing_is_trained_again(train, tmp_path):
    expected, _ = train(tmp_path / "whole")
    with pytest.raises(Killed):
        train(tmp_path / "killed", KillAtTheEnd())
    again = Samples()
    got, trainer = train(tmp_path / "killed", again)
    assert same(expected, got)
    assert not again.seen
    assert trainer.checkpoint_callback.best_model_path


@pytest.mark.parametrize("place", [(0, 2), (1, 0), (2, 0)], ids=str)
def test_early_stopping_stops_where_it_would_have(train, tmp_path, place):
    def early():
        return EarlyStopping(
            "val/mIoU", mode="max", patience=1, min_delta=0.5
        )  # never better by half: stops after the second epoch

    expected, trainer = train(tmp_path / "whole", early(), max_epochs=9)
    assert trainer.global_step == 10
    kill = [KillAt(*place)] if place < (2, 0) else [KillAtTheEnd()]
    with pytest.raises(Killed):
        train(tmp_path / "killed", early(), *kill, max_epochs=9)
    got, trainer = train(tmp_path / "killed", early(), max_epochs=9)
    assert trainer.global_step == 10
    assert same(expected, got)


@pytest.mark.slow
def test_loader_processes_change_nothing_after_a_kill(train, tmp_path):
    expected, _ = train(tmp_path / "whole")
    with pytest.raises(Killed):
        train(tmp_path / "killed", KillAt(1, 2), workers=2)
    got, _ = train(tmp_path / "killed", workers=2)
    assert same(expected, got)


def test_averaged_weights_survive_a_kill(train, tmp_path):
    expected, _ = train(tmp_path / "whole", EMAWeightAveraging(decay=0.8))
    plain, _ = train(tmp_path / "plain")
    with pytest.raises(Killed):
        train(tmp_path / "killed", EMAWeightAveraging(decay=0.8), KillAt(1, 2))
    got, _ = train(tmp_path / "killed", EMAWeightAveraging(decay=0.8))
    assert same(expected, got)
    assert not same(expected, plain)
    assert same(best_of(tmp_path / "whole"), best_of(tmp_path / "killed"))


@pytest.mark.parametrize("validating", [False, True])
def test_sigterm_saves_and_leaves(train, tmp_path, validating):
    expected, _ = train(tmp_path / "whole")
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(InterruptedError, match=r"SIGTERM at step .* the same command goes on"):
        train(tmp_path / "left", TermAt(1, 2, validating), every_n_steps=None)
    assert signal.getsignal(signal.SIGTERM) == before
    step = torch.load(tmp_path / "left" / "last.ckpt", weights_only=True)["global_step"]
    assert step == (
        5 if validating else 8
    )  # the step under way is finished; a validation is begun again
    got, _ = train(tmp_path / "left", every_n_steps=None)
    assert same(expected, got)


def test_a_checkpoint_by_time(train, tmp_path):
    with pytest.raises(Killed):
        train(
            tmp_path,
            ResumeCheckpoint(folder=tmp_path, every_n_seconds=1e-9),
            KillAt(0, 3),
            every_n_steps=None,
        )
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 3


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path):
    path = tmp_path / "last.ckpt"
    WholeFiles().save_checkpoint({"step": 1}, path)
    with pytest.raises(Exception, match="pickle"):
        WholeFiles().save_checkpoint({"step": lambda: None}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}


@pytest.mark.parametrize(
    "values",
    [{"every_n_steps": 0}, {"every_n_seconds": 0.0}, {"every_n_seconds": float("nan")}],
    ids=str,
)
def test_intervals_that_are_not_positive_are_refused(tmp_path, values):
    with pytest.raises(
        ValueError, match=r"above 0, or null for none, but got .* - mend callbacks\.resume"
    ):
        ResumeCheckpoint(folder=tmp_path, **values)
