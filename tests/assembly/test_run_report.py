import pytest

from drawn_evaluations import evaluate, predict
from maskmill.assembly.run_report import add_evaluation
from maskmill.tracking.lineage import find_run, kept_evaluation
from registry_team import Drawn, Team


@pytest.mark.slow
def test_the_report_in_mlflow_names_the_run_and_the_report_on_disk_does_not(store, tmp_path):
    team = Team(tmp_path, store, Drawn(tmp_path / "drawn"))
    folder, model = team.train(is_logged=False)
    truth = team.drawn.split()
    prediction = predict(tmp_path / "predict", model, truth)
    evaluate(tmp_path / "evaluate", truth, prediction, model=folder)
    run = find_run(model.fingerprint)
    add_evaluation(run, "key", tmp_path / "evaluate", {"PQ": 0.5}, {})
    kept = kept_evaluation(run.info.run_id, "key", tmp_path / "kept")
    in_mlflow = (kept / "report.html").read_text()
    for fact in (run.info.run_id, "<dd>commit 1</dd>", " UTC</dd>", "<dd>Unet</dd>"):
        assert fact in in_mlflow
    on_disk = (tmp_path / "evaluate/report.html").read_text()
    assert run.info.run_id not in on_disk
    assert f"{model.fingerprint[:12]}, weights" in on_disk
    assert (kept / "metrics.json").read_bytes() == (tmp_path / "evaluate/metrics.json").read_bytes()
