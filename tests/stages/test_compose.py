import pytest
import yaml

from maskmill.stages.compose import compose_stages, read_overrides


@pytest.fixture(autouse=True)
def in_the_repository(repository, monkeypatch):
    monkeypatch.chdir(repository)


def params(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    return path


def composed(tmp_path, text):
    out = tmp_path / "conf"
    compose_stages(params(tmp_path, text), out)
    return {path.stem: yaml.safe_load(path.read_text()) for path in out.glob("*.yaml")}


def test_groups_and_values_become_overrides(tmp_path):
    text = "group: {network: unet}\nset: {optimizer: {lr: 1e-3}, evaluate: {num_examples: null}, a: [1, x y], flag: true}\n"
    lines = [
        "network=unet",
        "optimizer.lr=1e-3",
        "evaluate.num_examples=null",
        "a=[1,'x y']",
        "flag=true",
    ]
    assert read_overrides(params(tmp_path, text)) == lines


def test_an_empty_file_is_the_default_configuration(tmp_path):
    assert read_overrides(params(tmp_path, "# nothing\n")) == []


def test_new_keys_are_taken_with_a_plus(tmp_path):
    stages = composed(
        tmp_path, "set: {+prepare: {classes: {pavement: road, sign: null}}}"
    )  # the form the README shows
    assert stages["prepare"]["prepare"]["classes"] == {"pavement": "road", "sign": None}


def test_a_stage_sees_its_own_groups_resolved_and_no_others(tmp_path):
    stages = composed(tmp_path, "set: {optimizer: {lr: 1e-3}}")
    assert set(stages) == {"prepare", "train", "predict", "evaluate", "register"}
    assert stages["train"]["optimizer"]["lr"] == 0.001
    assert "evaluate" not in stages["train"]
    assert "optimizer" not in stages["evaluate"]
    assert "${" not in str(stages)


def test_an_evaluate_setting_changes_the_configuration_of_that_stage_alone(tmp_path):
    before, after = composed(tmp_path, ""), composed(tmp_path, "set: {evaluate: {num_examples: 1}}")
    assert [stage for stage in before if before[stage] != after[stage]] == ["evaluate"]


def test_a_training_setting_does_not_touch_prepare(tmp_path):
    before, after = composed(tmp_path, ""), composed(tmp_path, "set: {trainer: {max_epochs: 3}}")
    assert [stage for stage in before if before[stage] != after[stage]] == ["train"]


def test_no_path_of_this_machine_and_no_address_is_resolved(tmp_path, repository):
    text = str(composed(tmp_path, ""))
    assert str(repository) not in text
    assert "://" not in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "network: unet",
            r"only `group:` and `set:`.*move values under `set:`",
            id="value-outside-set",
        ),
        pytest.param(
            "set: {optimizer: {speed: 3}}",
            r"params\.yaml.*optimizer\.speed.*mend the line",
            id="unknown-key",
        ),
        pytest.param(
            "group: {network: vnet}",
            r"params\.yaml.*network/vnet.*mend the line",
            id="unknown-choice",
        ),
    ],
)
def test_a_wrong_line_is_named(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        compose_stages(params(tmp_path, text), tmp_path / "conf")
    assert not (tmp_path / "conf").exists()


def test_a_missing_file_says_where_to_run(tmp_path):
    with pytest.raises(ValueError, match="run in the repository root"):
        read_overrides(tmp_path / "params.yaml")
