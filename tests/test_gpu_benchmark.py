"""benchmarks/gpu runs where there is no GPU too, and reports parts that fail."""

import json

import pytest
from benchmarks.gpu import suite
from benchmarks.gpu.page import write_page
from benchmarks.gpu.part import Part
from benchmarks.gpu.parts import metrics, postprocess


def reported(part, name):
    return json.loads((part.work / f"{name}.json").read_text())


@pytest.fixture
def make_part(tmp_path):
    return lambda name: Part(name, tmp_path, smoke=True)


def test_metrics_of_tensors_are_compared_with_those_of_the_cpu(make_part):
    part = make_part("metrics")
    metrics.measure(part)
    facts = reported(part, "metrics")["facts"]
    assert facts == {
        "PanopticQuality is equal": True,
        "ConfusionMatrix is equal": True,
        "BoundaryIoU is equal": True,
    }


def test_post_processing_is_timed_and_gives_the_segments_of_the_cpu(make_part):
    part = make_part("postprocess")
    postprocess.measure(part)
    (rows,) = reported(part, "postprocess")["tables"].values()
    assert [row["network"] for row in rows] == ["Panoptic-DeepLab", "mask classification"]
    assert [row["same pixels"] for row in rows] == [1.0, 1.0]


@pytest.mark.parametrize(
    ("name", "limit_s", "status", "message"),
    [
        ("nothing", 60, "failed", "No module named 'benchmarks.gpu.parts.nothing'"),
        ("machine", 0.01, "out of time after 0 s", ""),
    ],
    ids=["fails", "hangs"],
)
def test_a_part_that_fails_is_reported(tmp_path, name, limit_s, status, message):
    outcome = suite.run_part(name, tmp_path, smoke=True, limit_s=limit_s)
    assert outcome.status == status
    assert message in outcome.error


def test_the_page_has_the_error_of_a_part_and_the_figures_of_the_others(tmp_path):
    outcomes = {
        "metrics": suite.Outcome("ok", 2.0, facts={"PanopticQuality is equal": True}),
        "fsdp": suite.Outcome("failed", 1.0, "RuntimeError: no NCCL"),
        "loader": suite.Outcome("ok", 3.0, tables={"The loader alone": [{"processes": 1}]}),
    }
    suite.write_results(tmp_path, outcomes, smoke=True, started="2026-11-28T00:00:00+00:00")
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["parts"]["fsdp"]["error"] == "RuntimeError: no NCCL"
    page = (tmp_path / "gpu.md").read_text()
    assert page == write_page(results, suite.descriptions(outcomes))
    assert "| PanopticQuality is equal | yes |" in page
    assert "**This part did not end well: failed.**\n\n```\nRuntimeError: no NCCL\n```" in page
    assert "The loader alone:\n\n| processes |\n|---|\n| 1 |" in page
    assert "these figures mean nothing" in page


def test_every_part_has_a_limit_a_title_and_a_description():
    from benchmarks.gpu.page import TITLES

    folder = suite.Path(suite.__file__).parent / "parts"
    assert {path.stem for path in folder.glob("*.py")} == set(suite.LIMITS) == set(TITLES)
    assert all(suite.descriptions(suite.LIMITS).values())
