"""A real registered model: it is run where it has no scores, and its limits are measured."""

import shutil

import mlflow
import pytest
import torch
from omegaconf import OmegaConf

from commands import SMALL_ENCODER
from drawn_evaluations import SETTINGS, evaluate
from maskmill.assembly.build import build
from maskmill.assembly.registration import Registration
from maskmill.assembly.rescoring import predict_split
from maskmill.canonical.files import read_json
from maskmill.serving.model_files import read_model, write_model
from maskmill.tracking.lineage import MODEL_TAG, kept_evaluation
from maskmill.tracking.models import download, version_of
from maskmill.tracking.store import connect, experiment_id
from registry_team import GOOD, Drawn, Team
from strategies import CATEGORIES

pytestmark = pytest.mark.slow

FPN = {"_target_": "segmentation_models_pytorch.FPN", "_partial_": True}
NETWORK = {
    "_target_": "maskmill.networks.decoders.EncoderDecoder",
    "encoder": {"_target_": "maskmill.networks.encoders.TimmEncoder", "name": SMALL_ENCODER}
    | {"pretrained": False, "weights": None},
    "decoder": FPN | {"decoder_pyramid_channels": 32, "decoder_segmentation_channels": 32},
}
POSTPROCESS = {"_target_": "maskmill.postprocess.semantic.SemanticSegments"}
OTHER = 50  # seed of other test images


FLIPS = {
    "_target_": "maskmill.postprocess.whole_image.WholeImage",
    "views": {"_target_": "maskmill.postprocess.views.Views", "vertical": True},
}
IN_FLIPS = {"inference": FLIPS, "postprocess": {}}


def predict(folder, truth, settings=SETTINGS):
    """What `maskmill predict` writes of the model in a folder."""
    return predict_split(str(folder), truth, folder / "predict", settings)


@pytest.fixture(scope="module")
def team(tmp_path_factory, database):
    """A project with a champion: a small network with random weights."""
    folder = tmp_path_factory.mktemp("team")
    shutil.copy(database, folder / "mlflow.db")
    torch.manual_seed(0)
    config = OmegaConf.create({"network": NETWORK})
    network = build(config.network, torch.nn.Module, num_classes=CATEGORIES.num_outputs)
    description = {"network": NETWORK, "task": {"postprocess": POSTPROCESS}}
    model = write_model(folder / "real", network.state_dict(), description, CATEGORIES, "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.delenv("DVC_ROOT", raising=False)
        team = Team(folder, connect(), Drawn(folder / "drawn"))
        tags = {MODEL_TAG: model.fingerprint}
        run = team.client.create_run(experiment_id("maskmill"), tags=tags)
        team.client.set_terminated(run.info.run_id)
        truth = team.drawn.split()
        evaluate(folder / "real" / "evaluate", truth, predict(folder / "real", truth))
        version = Registration(team.settings(folder / "real")).run()
        assert (version["version"], version["alias"]) == (1, "champion")
        yield team
    mlflow.set_tracking_uri(None)


def test_a_champion_without_scores_on_these_images_is_run_on_them(team, caplog):
    caplog.set_level("INFO")
    team.seed = OTHER
    version = team.register(GOOD)
    team.seed = 0
    assert version["alias"] == "champion"
    assert "version 1 has no scores on these 8 images: it predicts them now" in caplog.text
    truth = team.drawn.split(OTHER)
    folder = team.folder / "real"
    evaluated = evaluate(team.folder / "direct", truth, predict(folder, truth))
    assert f"against {evaluated.scores['PQ']:.4f} of champion version 1" in version["reason"]
    run_id = version_of("models:/street/1").run_id
    kept = kept_evaluation(run_id, evaluated.evidence.key, team.folder / "kept")
    expected = read_json(team.folder / "direct" / "evidence.json")
    assert read_json(kept / "evidence.json")["labels"] == expected["labels"]
    assert read_json(kept / "metrics.json")["PQ"] == pytest.approx(evaluated.scores["PQ"])


def test_a_model_that_was_tested_in_flips_is_another_version_than_in_whole_images(team):
    folder = team.folder / "real"
    truth = team.drawn.split()
    name = {"name": "in_flips", "metric": "mIoU"}
    whole = Registration(team.settings(folder, **name)).run()
    evaluated = evaluate(folder / "in_flips", truth, predict(folder, truth, IN_FLIPS))
    settings = team.settings(folder, evaluation=folder / "in_flips", **name)
    version = Registration(settings).run()
    assert (whole["version"], version["version"]) == (1, 2)
    assert whole["fingerprint"] == version["fingerprint"]
    assert Registration(settings).run()["version"] == 2
    scores = (
        f"mIoU {evaluated.scores['mIoU']:.4f} against {whole['mIoU']:.4f} of champion version 1"
    )
    assert version["reason"].startswith(scores)
    assert evaluated.scores["mIoU"] != whole["mIoU"]
    first, second = (read_model(download(f"models:/in_flips/{n}")).prediction for n in (1, 2))
    assert first.is_default
    assert second.as_dict() == IN_FLIPS
    assert "mean of 4 views" not in version_of("models:/in_flips/1").description
    assert "whole image, mean of 4 views" in version_of("models:/in_flips/2").description


def test_a_champion_in_flips_is_run_in_flips_on_other_images(team):
    folder = team.folder / "real"
    truth = team.drawn.split(OTHER)
    name = {"name": "champion_in_flips", "metric": "mIoU"}
    evaluate(folder / "flips", team.drawn.split(), predict(folder, team.drawn.split(), IN_FLIPS))
    Registration(team.settings(folder, evaluation=folder / "flips", **name)).run()
    team.seed = OTHER
    in_flips = evaluate(team.folder / "other", truth, predict(folder, truth, IN_FLIPS))
    whole = evaluate(folder / "whole", truth, predict(folder, truth))
    version = Registration(team.settings(folder, evaluation=folder / "whole", **name)).run()
    team.seed = 0
    assert whole.scores["mIoU"] != in_flips.scores["mIoU"]
    scores = (
        f"mIoU {whole.scores['mIoU']:.4f} against {in_flips.scores['mIoU']:.4f} of champion version"
    )
    assert version["reason"].startswith(scores)


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ({"max_latency_ms": 0.001, "latency_size": [48, 64]}, "ms for an image of 48 x 64 px (med"),
        ({"max_size_mb": 0.001}, "MB are more than 0.001 MB"),
    ],
)
def test_a_model_over_a_limit_does_not_become_champion(team, limit, reason):
    settings = team.settings(team.folder / "real", latency_runs=3, name="strict", **limit)
    version = Registration(settings).run()
    assert version["alias"] == "challenger"
    assert version["reason"].startswith("no champion yet, but ")
    assert reason in version["reason"]


def test_a_model_within_its_limits_becomes_champion(team):
    limits = {"max_latency_ms": 60_000, "max_size_mb": 1000, "latency_runs": 1, "name": "mild"}
    version = Registration(team.settings(team.folder / "real", **limits)).run()
    assert (version["alias"], version["reason"]) == ("champion", "the first version of this model")
