"""The gate of the registry on a real store: which version gets which alias, and why."""

import dataclasses
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException

from drawn_evaluations import write_tiny_model
from drawn_folders import BOX
from maskmill.assembly.gate import Gate
from maskmill.assembly.registration import Registration, decided
from maskmill.canonical.files import read_json
from maskmill.evaluation.evidence import read_evidence, write_evidence
from maskmill.tracking.lineage import MODEL_TAG, find_run
from maskmill.tracking.models import champion, version_of, versions
from maskmill.tracking.promotion import move_champion, promote, rollback
from maskmill.tracking.version_facts import version_facts
from registry_team import BAD, GOOD, NOISE, WORSE, Drawn, Team


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return Drawn(tmp_path_factory.mktemp("drawn"))


@pytest.fixture
def team(tmp_path, store, drawn):
    return Team(tmp_path, store, drawn)


@pytest.mark.slow
def test_the_first_version_is_champion_and_its_files_name_nothing_of_this_clone(team):
    folder, model = team.train()
    team.score(folder, model, BAD)
    version = Registration(team.settings(folder)).run()
    assert version == read_json(folder / "register" / "version.json")
    assert (version["version"], version["alias"]) == (1, "champion")
    assert version["reason"] == "the first version of this model"
    assert set(version) == {"name", "version", "alias", "reason", "fingerprint", "PQ"}
    searched = {
        "PQ",
        "PQ/thing",
        "mIoU",
        "git_commit",
        "trained_by_run",
        "data_hash",
        "decision",
        "inference",
    }
    tags = version_of("models:/street/1").tags.keys()
    assert tags == searched | {"AP", MODEL_TAG, "maskmill.record"}
    for name in ("version.json", "comparison.html"):
        text = (folder / "register" / name).read_text()
        assert str(team.folder) not in text
        assert find_run(model.fingerprint).info.run_id not in text


@pytest.mark.parametrize(
    ("task", "named", "metric"),
    [
        ("SemanticTask", "auto", "mIoU"),
        ("InstanceTask", "auto", "PQ/thing"),
        ("PanopticTask", "auto", "PQ"),
        ("SemanticTask", "PQ", "PQ"),
    ],
)
def test_the_task_decides_the_metric_unless_one_is_named(team, task, named, metric):
    folder, model = team.train(is_logged=False)
    config = {"task": {"_target_": f"maskmill.tasks.segmentation.{task}"}}
    files = dataclasses.replace(model, config=config)
    assert decided(team.settings(folder, metric=named), files).metric == metric


@pytest.mark.slow
@pytest.mark.parametrize(
    ("by", "changes", "alias", "reason"),
    [
        pytest.param(GOOD, {}, "champion", "in 100.0% of resamples, 95.0% required", id="better"),
        pytest.param(NOISE, {}, "challenger", "% of resamples, 95.0% required", id="by noise"),
        pytest.param(WORSE, {}, "challenger", "% of resamples, 95.0% required", id="worse"),
        pytest.param(
            *(GOOD, {"margin": 0.9}, "challenger", "leads by more than 0.9 in 0.0%"), id="margin"
        ),
        pytest.param(
            *(GOOD, {"floors": {"box": 0.99}}, "challenger"),
            "of class box is below its floor 0.99",
            id="a class below its floor",
        ),
        pytest.param(
            *(GOOD, {"floors": {"box": 0.01, "sky": 0.01}}, "champion"),
            "in 100.0% of resamples",
            id="all floors kept",
        ),
    ],
)
def test_a_candidate_gets_the_alias_that_it_earned(team, by, changes, alias, reason):
    team.register(BAD)
    version = team.register(by, settings=changes)
    assert version["alias"] == alias
    assert "of champion version 1: leads by more than" in version["reason"]
    assert reason in version["reason"]
    assert team.aliases()[alias] == 2
    assert version_of("models:/street/2").tags["decision"] == version["reason"]


@pytest.mark.slow
def test_a_better_model_that_lost_a_class_with_a_floor_is_not_promoted(team):
    team.register(WORSE)
    version = team.register((0,), without=BOX, settings={"floors": {"box": 0.2}})
    assert version["alias"] == "challenger"
    assert "leads by more than 0 in 100.0% of resamples" in version["reason"]
    assert version["reason"].endswith("PQ 0.0000 of class box is below its floor 0.2")


@pytest.mark.slow
def test_a_floor_of_a_class_that_there_is_not_is_refused(team):
    with pytest.raises(ValueError, match=r"register\.floors: expected classes of the model, but "):
        team.register(GOOD, settings={"floors": {"bxo": 0.2}})


@pytest.mark.slow
def test_the_first_version_below_a_floor_is_not_champion(team):
    version = team.register(WORSE, settings={"floors": {"box": 0.99}})
    assert version["alias"] == "challenger"
    assert version["reason"].startswith("no champion yet, but PQ 0.")
    assert champion("street") is None


@pytest.mark.slow
def test_forgetting_predict_and_evaluate_after_a_second_training_is_refused(team):
    folder, model = team.train()
    team.score(folder, model, GOOD)
    write_tiny_model(folder, number=99)
    with pytest.raises(
        ValueError, match="expected an evaluation of model .* run `maskmill predict"
    ):
        Registration(team.settings(folder))


@pytest.mark.slow
def test_other_scores_of_the_champion_do_not_disarm_the_gate(team):
    folder, model = team.train()
    team.score(folder, model, GOOD)
    Registration(team.settings(folder)).run()
    team.score(folder, model, WORSE, seed=100)  # evaluated on anything else, and badly
    run = find_run(model.fingerprint)
    metrics = {name.partition("/")[0] for name in run.data.metrics}
    assert len(metrics) == 2  # test and test-<key>
    assert run.data.metrics["test/PQ"] == champion_score(team)
    assert team.register(BAD)["alias"] == "challenger"


def champion_score(team):
    return pytest.approx(float(champion("street").tags["PQ"]), abs=1e-6)


@pytest.mark.slow
def test_images_of_the_same_names_are_not_the_same_images(team):
    """A champion without scores on the images is run on them; this one has no files to run."""
    team.register(BAD)
    team.seed = 50  # other content under the same names
    version = team.register(GOOD)
    assert version["alias"] == "challenger"
    assert "champion version 1 cannot be scored on these images" in version["reason"]
    assert "`maskmill promote promote.model=models:/street/2`" in version["reason"]


@pytest.mark.slow
def test_registering_again_repeats_the_first_reason_and_bytes(team):
    team.register(BAD)
    folder, model = team.train()
    team.score(folder, model, GOOD)
    first = Registration(team.settings(folder)).run()
    lost = team.folder / "lost"
    for _ in range(2):
        assert Registration(team.settings(folder, out=lost)).run() == first
    for name in ("version.json", "comparison.html"):
        assert (lost / name).read_bytes() == (folder / "register" / name).read_bytes()
    assert len(versions("street")) == 2


@pytest.mark.slow
def test_a_loser_that_is_registered_again_keeps_its_reason_and_page(team):
    team.register(GOOD)
    folder, model = team.train()
    team.score(folder, model, BAD)
    first = Registration(team.settings(folder)).run()
    page = (folder / "register" / "comparison.html").read_text()
    team.register(WORSE)  # another candidate in between
    assert Registration(team.settings(folder)).run() == first
    assert (folder / "register" / "comparison.html").read_text() == page
    assert "Differences from the champion" in page


@pytest.mark.slow
def test_the_challenger_is_the_best_of_those_that_lost(team):
    team.register(GOOD)
    assert team.register(BAD)["alias"] == "challenger"
    last = team.register(WORSE)
    assert last["alias"] is None
    assert "; challenger stays version 2 with PQ 0." in last["reason"]
    assert team.aliases() == {"champion": 1, "challenger": 2}
    assert team.register((2,))["alias"] == "challenger"
    again = Registration(team.settings(team.folder / "model-2")).run()
    assert (again["version"], again["alias"]) == (2, None)
    assert team.aliases() == {"champion": 1, "challenger": 4}


@pytest.mark.slow
def test_a_challenger_without_scores_on_these_images_loses_its_alias(team):
    team.register(GOOD)
    team.register(BAD)
    team.seed = 50
    assert team.register(WORSE)["alias"] == "challenger"
    assert team.aliases() == {"champion": 1, "challenger": 3}


class Overtaken(Gate):
    """Another machine makes its version champion while this one compares."""

    other = None

    def _decision(self, version, present):
        decision = super()._decision(version, present)
        if self.other is not None:
            assert move_champion(self.other, seen=present)
            self.other = None
        return decision


@pytest.mark.slow
def test_a_champion_of_another_machine_in_the_meantime_is_compared_with(team):
    team.register(WORSE)
    best = team.register((0,), settings={"margin": 0.99})
    folder, model = team.train()
    team.score(folder, model, BAD)
    registration = Registration(team.settings(folder))
    version = registration._version()
    gate = Overtaken(registration.settings, registration.evidence, registration.metrics["PQ"])
    gate.other = version_of(f"models:/street/{best['version']}")
    decision = gate.decide(version)
    assert decision.alias == "challenger"
    assert f"of champion version {best['version']}: leads" in decision.reason
    assert team.aliases() == {"champion": best["version"], "challenger": 3}
    assert not move_champion(version, seen=version_of("models:/street/1"))


@pytest.mark.slow
def test_a_killed_registration_is_finished(team):
    folder, model = team.train(is_logged=False)
    team.score(folder, model, GOOD)
    run = find_run(model.fingerprint)
    unfinished = team.log(run, model.fingerprint, is_ready=False)
    team.log(run, model.fingerprint)
    team.client.update_run(run.info.run_id, status="RUNNING")
    Registration(team.settings(folder)).run()
    with pytest.raises(MlflowException, match="not found"):
        team.client.get_logged_model(unfinished.model_id)
    assert team.client.get_run(run.info.run_id).info.status == "FINISHED"
    assert [version.status for version in versions("street")] == ["READY"]


@pytest.mark.slow
def test_a_version_that_was_never_ready_is_registered_again(team):
    folder, model = team.train()
    team.score(folder, model, GOOD)
    Registration(team.settings(folder)).run()
    with closing(sqlite3.connect(team.folder / "mlflow.db")) as database:
        database.execute("update model_versions set status = 'PENDING_REGISTRATION'")
        database.commit()
    assert Registration(team.settings(folder)).run()["version"] == 2
    assert [version.status for version in versions("street")] == ["READY"]


@pytest.mark.slow
def test_a_registration_killed_before_it_set_the_alias_keeps_its_reason(team):
    team.register(BAD)
    folder, model = team.train()
    team.score(folder, model, GOOD)
    first = Registration(team.settings(folder)).run()
    team.client.set_registered_model_alias("street", "champion", "1")  # as if it had not been set
    assert Registration(team.settings(folder)).run() == first
    assert team.aliases() == {"champion": 2}


@pytest.mark.slow
def test_rollback_brings_the_champion_before_back_and_registering_again_does_not_undo_it(team):
    team.register(BAD)
    folder, model = team.train()
    team.score(folder, model, GOOD)
    Registration(team.settings(folder)).run()
    assert rollback("street", "it stumbles in rain").version == 1
    assert team.aliases() == {"champion": 1}
    assert "rolled back from version 2: it stumbles in rain" in champion("street").tags["decision"]
    again = Registration(team.settings(folder)).run()
    assert again["alias"] is None
    assert again["reason"].startswith(
        "rolled back to version 1: it stumbles in rain; `maskmill pro"
    )
    assert team.aliases() == {"champion": 1}
    with pytest.raises(ValueError, match="expected a champion with one before it"):
        rollback("street", "again")


@pytest.mark.slow
def test_promotion_by_hand_keeps_who_when_and_why(team):
    team.register(GOOD)
    team.register(WORSE)
    promote(version_of("models:/street/2"), "smaller")
    version = champion("street")
    assert int(version.version) == 2
    assert version.tags["decision"] == "promoted by hand: smaller"
    history = version_facts(version)["maskmill.history"].splitlines()
    assert [line.split(": ")[1:2] for line in history] == [["champion"], ["challenger"]]
    assert version_of("models:/street/1").tags["decision"].startswith("replaced by hand by version")
    assert team.aliases() == {"champion": 2}
    with pytest.raises(ValueError, match="it is the champion already - nothing to do"):
        promote(version, "again")
    assert rollback("street", "too small").version == 1


@pytest.mark.slow
@pytest.mark.parametrize("uri", ["models:/street/7", "models:/street@champio", "street", "x/y/z"])
def test_a_version_that_there_is_not_is_named(team, uri):
    team.register(GOOD)
    with pytest.raises(ValueError, match=r"expected a version of the registry, as models:/NAME/3"):
        version_of(uri)


@pytest.mark.slow
def test_the_model_card_is_the_description_and_the_logged_model_page_is_linked(team):
    team.register(BAD)
    version = version_of("models:/street/1")
    described = version.description + team.client.get_registered_model("street").description
    cells = ("| PQ&emsp; |", "| ball&emsp; |")
    for text in ("# street version 1", "the first version", "champion", *cells):
        assert text in described
    assert 'load_model("models:/street/1")' in version.description
    logged = team.client.get_logged_model(version.source.rpartition("/")[2])
    assert '"street"' in logged.tags["mlflow.modelVersions"]
    assert logged.tags["mlflow.note.content"] == version.description
    run = team.client.get_run(version.run_id)
    run_page = f"#/experiments/{run.info.experiment_id}/runs/{version.run_id}"
    assert f"({run_page})" in version.description
    assert f"({run_page}/artifacts/register/street_1/comparison.html)" in version.description
    note = run.data.tags["mlflow.note.content"]
    link = "[street version 1](#/models/street/versions/1)"
    assert f"- **Registered as street 1**: {link}: the first version of this model" in note
    assert f"{run_page}/artifacts/evaluate/" in note
    assert version.run_id == find_run(version.tags[MODEL_TAG]).info.run_id


def test_an_inference_of_ones_own_is_no_part_of_a_version(team):
    folder, model = team.train()
    team.score(folder, model, GOOD)
    out = folder / "evaluate"
    evidence = read_evidence(out)
    own = {"inference": {"_target_": "mine.inference.Spiral"}}
    write_evidence(out, dataclasses.replace(evidence, settings=evidence.settings | own))
    expected = (
        r"evidence\.json: settings\.inference: expected one of .*, but got 'mine\.inference\."
    )
    with pytest.raises(ValueError, match=expected):
        Registration(team.settings(folder))


def test_the_page_of_a_champion_of_an_earlier_commit_is_found(team):
    team.register(BAD)
    folder, model = team.train()
    team.score(folder, model, GOOD)
    settings = team.settings(folder)
    assert Registration(settings).run()["alias"] == "champion"
    page = folder / "register" / "comparison.html"
    expected = page.read_text()
    run = team.client.get_run(version_of("models:/street/2").run_id)
    kept = Path(run.info.artifact_uri.removeprefix("file://")) / "register"
    (kept / "street_2" / page.name).rename(kept / page.name)  # where it was before
    page.unlink()
    Registration(settings).run()
    assert page.read_text() == expected
    assert "Differences from the champion" in expected
