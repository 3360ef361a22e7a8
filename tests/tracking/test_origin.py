import pytest

from maskmill.tracking.origin import Origin, known_origin, record_origin

FIRST = Origin("r1", "c1+changes")
SECOND = Origin("r2", "c2", "lr-hög")


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_STAGE", "train")
    return tmp_path / "lineage.yaml"


def test_the_origin_of_each_model_is_kept_on_a_line_of_its_own(path):
    record_origin("f0", SECOND, path)
    record_origin("1234", FIRST, path)  # YAML would read a number
    assert known_origin("f0", path) == SECOND
    assert known_origin("1234", path) == FIRST
    assert known_origin("f1", path) is None
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    assert lines == [
        "'1234': {commit: c1+changes, run: r1}",
        "f0: {commit: c2, experiment: lr-hög, run: r2}",
    ]


def test_a_model_that_is_trained_again_changes_nothing(path):
    record_origin("f0", FIRST, path)
    before = path.read_bytes()
    record_origin("f0", SECOND, path)
    assert path.read_bytes() == before


def test_a_training_outside_of_the_pipeline_is_not_recorded(path, monkeypatch):
    monkeypatch.delenv("DVC_STAGE")
    record_origin("f0", FIRST, path)
    assert not path.exists()


def test_the_tags_refer_to_the_original_run():
    assert SECOND.tags == {
        "trained_by_run": "r2",
        "git_commit": "c2",
        "dvc_experiment": "lr-hög",
    }
    assert FIRST.tags == {"trained_by_run": "r1", "git_commit": "c1+changes"}


@pytest.mark.parametrize(
    "text", ["[1]", "f0: r1", "f0: {run: r1}", "f0: {run: 1, commit: c}", "<<<<<<< HEAD\na: b"]
)
def test_a_damaged_file_is_refused_by_name(path, text):
    path.write_text(text)
    with pytest.raises(ValueError, match=r"lineage\.yaml: "):
        known_origin("f0", path)
