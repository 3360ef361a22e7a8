"""dvc.yaml against the configuration and the code."""

from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
STAGES = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]


def test_the_pipeline_is_short_and_lists_no_source_file():
    text = (REPOSITORY / "dvc.yaml").read_text()
    assert len(text.splitlines()) <= 80
    assert ".py" not in text


def test_package_files_run_nothing_a_stage_could_depend_on():
    for path in (REPOSITORY / "src").glob("maskmill/**/__init__.py"):
        if path.parent.name not in {"maskmill", "metrics"}:  # metrics exports its classes lazily
            assert len(path.read_text().splitlines()) == 1, path


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "compose"])
def test_a_stage_depends_on_its_own_resolved_configuration(stage):
    assert STAGES[stage]["params"] == [{f"out/conf/{stage}.yaml": None}]
    assert f"out/conf/{stage}.yaml" in STAGES["compose"]["outs"]
