"""Which configuration files a command finds: the project's own first, the packaged ones behind."""

import subprocess

import pytest
import yaml
from hydra import compose, initialize_config_dir

from commands import preloaded_python
from maskmill.assembly.composition import compose_stages
from maskmill.assembly.conf_search_path import packaged_conf, project_conf, register_search_path

OWN_LOSS = "# A file of the project.\n_target_: maskmill.losses.semantic.CrossEntropy\n"


def write_own(project, name, text):
    path = project / "conf" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def composed(*overrides):
    register_search_path()
    with initialize_config_dir(str(packaged_conf()), version_base="1.3"):
        return compose("config", list(overrides))


def run(*command, cwd):
    line = [preloaded_python(), "-m", *command]
    return subprocess.run(line, cwd=cwd, capture_output=True, text=True, check=False)


def test_the_packaged_configuration_is_that_of_this_source_tree(repository):
    assert packaged_conf() == repository / "conf"


@pytest.mark.slow
def test_a_project_without_conf_uses_the_packaged_configuration(project):
    assert project_conf() is None
    assert composed().loss._target_.startswith("maskmill.losses.")


@pytest.mark.slow
def test_a_single_own_file_is_a_choice_beside_the_packaged_ones(project):
    write_own(project, "loss/mine.yaml", OWN_LOSS)
    assert composed("loss=mine").loss._target_ == "maskmill.losses.semantic.CrossEntropy"
    assert composed("loss=focal").loss._target_ != "maskmill.losses.semantic.CrossEntropy"


@pytest.mark.slow
def test_an_own_file_replaces_the_packaged_file_of_the_same_name(project):
    write_own(project, "loss/focal.yaml", OWN_LOSS)
    assert composed("loss=focal").loss._target_ == "maskmill.losses.semantic.CrossEntropy"


def test_the_packaged_folder_is_not_searched_twice(repository, monkeypatch):
    from hydra.core.global_hydra import GlobalHydra

    monkeypatch.chdir(repository)
    register_search_path()
    register_search_path()
    with initialize_config_dir(str(packaged_conf()), version_base="1.3"):
        elements = GlobalHydra.instance().config_loader().get_search_path().get_path()
    assert [element.provider for element in elements] == ["hydra", "main", "schema"]


@pytest.mark.slow
def test_compose_writes_the_own_choice_for_its_stage(project):
    write_own(project, "loss/mine.yaml", OWN_LOSS)
    groups = "group: {network: unet, task: semantic, loss: mine}\n"
    (project / "params.yaml").write_text(groups)
    compose_stages()
    stage = yaml.safe_load((project / "out/conf/train.yaml").read_text())
    assert stage["loss"]["_target_"] == "maskmill.losses.semantic.CrossEntropy"


@pytest.mark.slow
def test_a_command_reads_an_own_choice_and_a_resolved_file_alike(project):
    own = "# Few scenes.\ndefaults: [default]\nnum_train: 2\nnum_val: 1\nnum_test: 1\n"
    write_own(project, "draw/few.yaml", own)
    shown = run("maskmill.stages.draw", "draw=few", "--cfg", "job", cwd=project)
    assert yaml.safe_load(shown.stdout)["draw"]["num_train"] == 2, shown.stderr
    (project / "resolved").mkdir()
    (project / "resolved" / "draw.yaml").write_text(shown.stdout)
    resolved = ["--config-dir", "resolved", "--config-name", "draw", "--cfg", "job"]
    again = run("maskmill.stages.draw", *resolved, cwd=project)
    assert yaml.safe_load(again.stdout) == yaml.safe_load(shown.stdout), again.stderr


@pytest.mark.slow
def test_every_job_of_a_multirun_finds_an_own_choice(project):
    own = "# Few scenes.\ndefaults: [default]\nnum_train: 1\nnum_val: 1\nnum_test: 1\n"
    write_own(project, "draw/few.yaml", own)
    sweep = ["-m", "draw=few", "draw.seed=1,2", "draw.out=drawn_${draw.seed}"]
    result = run("maskmill.stages.draw", *sweep, cwd=project)
    assert result.returncode == 0, result.stdout + result.stderr
    assert (project / "drawn_1" / "scenes.json").is_file()
    assert (project / "drawn_2" / "scenes.json").is_file()


@pytest.mark.slow  # it starts the server of preloaded processes
def test_a_file_whose_aliases_explode_ends_a_command_before_it_is_composed(project):
    levels = [f"a{i}: &a{i} [{', '.join(9 * [f'*a{i - 1}'])}]" for i in range(1, 10)]
    write_own(project, "draw/bomb.yaml", "\n".join(["a0: &a0 [1]", *levels]))
    result = run("maskmill.stages.draw", "draw=bomb", "--cfg", "job", cwd=project)
    assert result.returncode == 1
    assert "bomb.yaml: expected aliases that stand for at most 100000 values" in result.stderr
    assert "Traceback" not in result.stderr
