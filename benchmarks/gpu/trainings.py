"""Real trainings of the embedded scenes, as `maskmill train` runs them."""

import csv
import os
from dataclasses import dataclass
from pathlib import Path

from benchmarks.exported_networks import configuration

from maskmill.assembly.training_job import TrainingJob, quiet_lightning
from maskmill.serving.model_files import read_model


@dataclass(frozen=True)
class Trained:
    """The result of a training.

    Args:
        score: the best validation score.
        digest: of the weights.
        weights: name -> tensor.
        history: the rows of the learning curves.
    """

    score: float
    digest: str
    weights: dict
    history: list

    def difference(self, other):
        """The largest difference of any weight."""
        differences = [0.0]
        for name, value in self.weights.items():
            if value.numel():
                difference = (value.double() - other.weights[name].double()).abs().max()
                differences.append(float(difference))
        return max(differences)


def train(part, name, *overrides, trainer="gpu", callbacks=()):
    """Train in a folder of its own, or resume what was stopped there before.

    Args:
        part: the running part.
        name: of the folder.
        overrides: of the configuration.
        trainer: a file of conf/trainer; without a GPU, the same on the CPU.
        callbacks: that run before the others.
    """
    folder = part.work / name
    folder.mkdir(exist_ok=True)
    chosen = [f"trainer={trainer}", f"prepare.out={part.prepared}", f"out={folder}"]
    if part.smoke:
        # Processors without instructions for bfloat16 emulate it, ten times as slowly.
        on_cpu = ["trainer.accelerator=cpu", "trainer.devices=1", "trainer.precision=32-true"]
        few = [
            "data.batch_size=4",
            "+trainer.limit_train_batches=3",
            "+trainer.limit_val_batches=1",
        ]
        chosen += [*on_cpu, *few]
    quiet_lightning()
    previous = Path.cwd()
    os.chdir(folder)  # MLflow's database is written here
    try:
        job = Job(configuration(*chosen, *overrides))
        job.first_callbacks = list(callbacks)
        score = job.run()
    finally:
        os.chdir(previous)
    model = read_model(folder / "train")
    with (folder / "train" / "history.csv").open() as file:
        history = list(csv.DictReader(file))
    return Trained(score, model.weights_digest(), model.weights(), history)


class Job(TrainingJob):
    """A training job with further callbacks."""

    first_callbacks = ()

    def build_trainer(self):
        trainer = super().build_trainer()
        trainer.callbacks[:0] = self.first_callbacks
        return trainer
