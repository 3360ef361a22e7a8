"""Which validations of a training may end a trial of a search."""

import pytest

from maskmill.training.pruning import Pruning

pytestmark = pytest.mark.slow


class Behind:
    """Reports of a trial that falls behind at a validation."""

    def __init__(self, at):
        self.at = at
        self.validations = []

    def report(self, validation, score):
        self.validations.append(validation)

    def falls_behind(self):
        return self.validations[-1] >= self.at


@pytest.mark.parametrize(
    ("settings", "at", "validations", "num_steps"),
    [
        ({"max_epochs": 3}, 2, [1, 2], 10),
        ({"max_epochs": 3}, 3, [1, 2, 3], 15),
        ({"max_steps": 7}, 1, [1], 5),
        ({"max_steps": 7}, 2, [1, 2], 7),
        ({"max_epochs": 3, "check_val_every_n_epoch": 2}, 2, [1, 2], 15),
    ],
    ids=str,
)
def test_a_trial_is_pruned_at_any_validation_but_the_last(
    train, tmp_path, settings, at, validations, num_steps
):
    reports = Behind(at)
    pruning = Pruning(reports)
    _, trainer = train(tmp_path, pruning, **settings)
    assert reports.validations == validations
    assert trainer.global_step == num_steps
    is_complete = at == len(validations) and num_steps in (7, 15)
    assert pruning.has_pruned != is_complete
