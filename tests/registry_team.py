"""A team that trains models and registers them; what a model is good at is drawn."""

import shutil
from dataclasses import replace

from mlflow.entities import LoggedModelStatus

from drawn_evaluations import evaluate, predict, write_tiny_model
from drawn_folders import scene, write_split
from maskmill.assembly.registration import Registration
from maskmill.assembly.settings import RegisterSettings
from maskmill.canonical.files import read_json
from maskmill.evaluation.evidence import read_evidence, write_evidence
from maskmill.tracking.lineage import MODEL_TAG, find_run, log_evaluation
from maskmill.tracking.models import versions
from maskmill.tracking.store import experiment_id

GOOD, BAD, WORSE = (1,), (4,), (7,)  # px by which predictions are shifted
NOISE = (3, 5)  # better on every other image, worse on the others
NUM_IMAGES = 8


class Drawn:
    """Splits, and evaluations of predictions that are drawn; each is made once."""

    def __init__(self, folder):
        self.folder = folder

    def split(self, seed=0):
        folder = self.folder / f"split-{seed}"
        if not folder.exists():
            labels = [scene(seed + index) for index in range(NUM_IMAGES)]
            write_split(folder, labels, images=True, noise=seed)
        return folder

    def evaluation(self, by, *, seed=0, without=None):
        folder = self.folder / f"{by}-{seed}-{without}"
        if not folder.exists():
            model = write_tiny_model(folder / "model")
            truth = self.split(seed)
            prediction = predict(folder / "predict", model, truth, by=by, without=without)
            evaluate(folder / "evaluate", truth, prediction)
        return folder / "evaluate"


class Team:
    """A project that trains models and registers them."""

    def __init__(self, folder, client, drawn):
        self.folder = folder
        self.client = client
        self.drawn = drawn
        self.seed = 0
        self.number = 0

    def train(self, *, is_logged=True):
        """A model with its run, and with the logged model that a killed registration leaves."""
        self.number += 1
        folder = self.folder / f"model-{self.number}"
        model = write_tiny_model(folder, self.number)
        tags = {MODEL_TAG: model.fingerprint, "git_commit": f"commit {self.number}"}
        run = self.client.create_run(experiment_id("maskmill"), tags=tags)
        self.client.set_terminated(run.info.run_id)
        if is_logged:
            self.log(run, model.fingerprint)
        return folder, model

    def log(self, run, fingerprint, *, is_ready=True):
        logged = self.client.create_logged_model(
            run.info.experiment_id,
            name="model",
            source_run_id=run.info.run_id,
            tags={MODEL_TAG: fingerprint},
        )
        if is_ready:
            self.client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
        return logged

    def score(self, folder, model, by, *, seed=None, without=None):
        """Predict and evaluate, as the stages of these names do."""
        seed = self.seed if seed is None else seed
        made = self.drawn.evaluation(by, seed=seed, without=without)
        out = shutil.copytree(made, folder / "evaluate", dirs_exist_ok=True)
        evidence = replace(read_evidence(out), model=model.fingerprint)
        write_evidence(out, evidence)
        scores = {"PQ": read_json(out / "metrics.json")["PQ"]}
        log_evaluation(find_run(model.fingerprint), evidence.key, out, scores, {})

    def settings(self, folder, **changes):
        values = {"name": "street", "metric": "PQ", "margin": 0.0, "confidence": 0.95}
        paths = {
            "model": folder,
            "evaluation": folder / "evaluate",
            "images": self.drawn.split(self.seed),
            "out": folder / "register",
        }
        return RegisterSettings(**values | paths | changes)

    def register(self, by, *, settings=None, without=None):
        """Train, predict, evaluate, register; the content of version.json."""
        folder, model = self.train()
        self.score(folder, model, by, without=without)
        return Registration(self.settings(folder, **(settings or {}))).run()

    def aliases(self):
        return {
            alias: int(version.version)
            for version in versions("street")
            for alias in version.aliases
        }
