import pytest
import yaml
from omegaconf import OmegaConf

from maskmill.assembly.composition import compose_stages, read_params


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


@pytest.mark.slow
def test_values_are_those_written_in_yaml(tmp_path):
    text = "set: {optimizer: {lr: 1e-3}, evaluate: {tags: 'C:\\data\\tags é.csv'}}"
    stages = composed(tmp_path, text)
    assert stages["train"]["optimizer"]["lr"] == 0.001
    assert stages["evaluate"]["evaluate"]["tags"] == r"C:\data\tags é.csv"


@pytest.mark.slow
@pytest.mark.parametrize("experiment", ["", "experiment: scenes_panoptic, "])
def test_a_network_brings_its_task_and_loss(tmp_path, experiment):
    train = composed(tmp_path, f"group: {{{experiment}network: unet}}")["train"]
    assert train["task"]["_target_"].endswith(".SemanticTask")
    assert train["loss"]["_target_"].endswith(".Sum")


@pytest.mark.slow
def test_an_interpolation_in_a_value_is_resolved(tmp_path):
    stages = composed(tmp_path, "set: {seed: 5, evaluate: {seed: '${seed}'}}")
    assert stages["evaluate"]["evaluate"]["seed"] == 5


def test_an_empty_file_is_the_default_configuration(tmp_path):
    groups, values = read_params(params(tmp_path, "# nothing\n"))
    assert not groups
    assert not values


@pytest.mark.slow
def test_class_names_with_any_characters_are_keys(tmp_path):
    text = "set: {prepare: {classes: {pavement: road, a/b c.d: sign, sign: null}}}"
    stages = composed(tmp_path, text)
    classes = {"pavement": "road", "a/b c.d": "sign", "sign": None}
    assert stages["prepare"]["prepare"]["classes"] == classes


NAMES = ["pole", "traffic light", "tv/monitor", "Straße", "a.b", "a=b", "a,b", "#1", "'q'", r"\d\\"]


@pytest.mark.slow
def test_names_and_texts_of_any_characters_arrive_as_written(tmp_path):
    classes = {name: name for name in NAMES}
    text = yaml.safe_dump({"set": {"+prepare": {"classes": classes}}}, allow_unicode=True)
    assert composed(tmp_path, text)["prepare"]["prepare"]["classes"] == classes


@pytest.mark.slow
def test_a_constructor_replaces_a_mapping_that_is_none(tmp_path):
    splits = (
        "{_target_: maskmill.sources.splits.HashSplit, shares: {train: 1.0}, group: '^(\\d+)_'}"
    )
    text = f"group: {{source: dsb2018}}\nset: {{+source: {{splits: {splits}}}}}"
    assert composed(tmp_path, text)["prepare"]["source"]["splits"] == yaml.safe_load(splits)


@pytest.mark.slow
def test_an_escaped_interpolation_is_text_in_the_stage_as_well(tmp_path):
    composed(tmp_path, r"set: {prepare: {classes: {a: '\${oc.env:HOME}'}}}")
    stage = OmegaConf.load(tmp_path / "conf/prepare.yaml")
    assert stage.prepare.classes.a == "${oc.env:HOME}"


def test_a_choice_whose_name_is_outside_hydras_grammar_is_looked_for(tmp_path):
    with pytest.raises(ValueError, match=r"params\.yaml: .*network/Müller #2"):
        composed(tmp_path, "group: {network: 'Müller #2'}")


LAUGHS = "\n".join(
    ["a0: &a0 [1]", *(f"a{i}: &a{i} [{', '.join(9 * [f'*a{i - 1}'])}]" for i in range(1, 10))]
)


@pytest.mark.slow
def test_a_key_that_is_new_needs_a_plus(tmp_path):
    stages = composed(tmp_path, "set: {optimizer: {+amsgrad: true}}")
    assert stages["train"]["optimizer"]["amsgrad"] is True


@pytest.mark.slow
def test_a_stage_sees_its_own_groups_resolved_and_no_others(tmp_path):
    stages = composed(tmp_path, "set: {optimizer: {lr: 1e-3}}")
    assert set(stages) == {"prepare", "train", "predict", "evaluate", "register"}
    assert stages["train"]["optimizer"]["lr"] == 0.001
    assert "evaluate" not in stages["train"]
    assert "optimizer" not in stages["evaluate"]
    assert "${" not in str(stages)


@pytest.mark.slow
def test_a_setting_changes_the_configuration_of_its_stage_alone(tmp_path, repository):
    before = composed(tmp_path, "")
    assert str(repository) not in str(before)  # no path of this machine, and no address
    assert "://" not in str(before)
    after = composed(tmp_path, "set: {evaluate: {num_examples: 1}, trainer: {max_epochs: 3}}")
    changed = {stage for stage in before if before[stage] != after[stage]}
    assert changed == {"evaluate", "train"}
    del before["train"]["trainer"]["max_epochs"], after["train"]["trainer"]["max_epochs"]
    assert before["train"] == after["train"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "network: unet",
            r"only `group:` and `set:`.*move values under `set:`",
            id="value-outside-set",
        ),
        pytest.param("group: unet", r"a mapping under `group:`, but got 'unet'", id="group-text"),
        pytest.param("set: [1]", r"a mapping under `set:`, but got \[1\]", id="set-list"),
        pytest.param(
            "set: {optimizer: {speed: 3}}",
            r"params\.yaml: there is no 'optimizer\.speed'.*correct it",
            id="unknown-key",
        ),
        pytest.param("set:\n\toptimizer: {lr: 1}", r"expected YAML, but got: .*'\\t'", id="tab"),
        pytest.param("set: " + "[" * 3000 + "]" * 3000, "expected YAML, but got", id="deep"),
        pytest.param(LAUGHS, r"aliases that stand for at most 100000 values", id="many-aliases"),
        pytest.param("set: &a {b: *a}", r"aliases that stand for at most", id="endless-alias"),
        pytest.param("set: !!python/object/apply:os.getcwd []", "expected YAML", id="python-tag"),
        pytest.param(
            "set: {optimizer: {_target_: os.system}}",
            r"params\.yaml: optimizer\._target_: .*'os\.system'.*conf/targets\.yaml",
            id="other-code",
        ),
        pytest.param(
            "set: {+hydra: {a: 1}, stages: {train: [hydra]}}",
            r"stages\.train: expected groups of conf/, but got 'hydra'",
            id="settings-of-hydra",
        ),
        pytest.param(
            "group: {network: vnet}",
            r"params\.yaml.*network/vnet.*choose one of",
            id="unknown-choice",
        ),
        pytest.param(
            "group: {network: unet, encoder: vit_tiny}",
            r"params\.yaml: encoder vit_tiny_\w+: expected an encoder that fits network=unet",
            id="encoder-of-another-kind",
        ),
    ],
)
def test_a_wrong_line_is_named(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        compose_stages(params(tmp_path, text), tmp_path / "conf")
    assert not (tmp_path / "conf").exists()


def test_a_missing_file_names_the_folder_to_run_in(tmp_path):
    with pytest.raises(ValueError, match="run in the project's root folder"):
        read_params(tmp_path / "params.yaml")
