"""The files that build the server: instructions that Docker knows, and nothing overwritten."""

import json
import re

import pytest
import yaml
from packaging.requirements import Requirement

from maskmill.serving.server.container import write_container

INSTRUCTIONS = {
    *("FROM", "ENV", "WORKDIR", "COPY", "RUN", "USER", "EXPOSE", "STOPSIGNAL"),
    *("HEALTHCHECK", "ENTRYPOINT", "CMD"),
}


@pytest.fixture(params=["a folder", "models:/street@champion"])
def written(request, tmp_path):
    model = request.param
    if model == "a folder":
        (tmp_path / "train").mkdir()
        (tmp_path / "train/model.json").write_text("{}")
        model = str(tmp_path / "train")
    write_container(tmp_path / "docker", model=model, port=9000)
    return tmp_path / "docker"


def instructions(folder):
    """Name and arguments of each instruction, with continued lines joined."""
    text = (folder / "Dockerfile").read_text()
    lines = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)).splitlines()
    return [tuple(line.split(maxsplit=1)) for line in lines if line.strip()]


def test_the_dockerfile_follows_the_rules_of_hadolint(written):
    found = instructions(written)
    names = [name for name, _ in found]
    assert set(names) <= INSTRUCTIONS
    assert names[0] == "FROM"
    values = dict(found)
    assert re.fullmatch(r"python:3\.\d+-slim", values["FROM"])  # DL3006, DL3007: a tag, not latest
    assert values["USER"] == "10001"  # DL3002: not root; DL3066: a number, which hosts can check
    assert names.index("USER") < names.index("ENTRYPOINT")
    assert values["WORKDIR"].startswith("/")  # DL3000
    assert re.search(r"maskmill==\d", values["RUN"])  # DL3013: pinned
    assert "apt-get" not in values["RUN"]
    assert "sudo" not in values["RUN"]  # DL3004
    assert names.count("CMD") == names.count("ENTRYPOINT") == names.count("HEALTHCHECK") == 1


def test_the_server_is_process_1_and_gets_sigterm(written):
    values = dict(instructions(written))
    assert json.loads(values["ENTRYPOINT"])[:2] == ["maskmill", "serve"]  # DL3025: no shell
    (argument,) = json.loads(values["CMD"])
    is_registered = not (written / "model").is_dir()
    model = "models:/street@champion" if is_registered else "/srv/model"
    assert argument == f"serve.model={model}"
    assert json.loads(values["HEALTHCHECK"].partition("CMD")[2])[0] == "python"


def test_compose_opens_one_port_on_this_machine_and_asks_for_a_key(written):
    (service,) = yaml.safe_load((written / "compose.yaml").read_text())["services"].values()
    assert service["ports"] == ["127.0.0.1:9000:8000"]
    assert service["environment"]["MASKMILL_API_KEY"].startswith("${MASKMILL_API_KEY:?")
    is_registered = not (written / "model").is_dir()
    assert ("MLFLOW_TRACKING_URI" in service["environment"]) == is_registered
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]


def test_requirements_are_pinned_to_public_versions(written):
    lines = (written / "requirements.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert {"fastapi", "torch", "opencv-python-headless"} <= {pin.name for pin in pins}
    assert all(re.fullmatch(r"==[\d.]+(post\d+)?", str(pin.specifier)) for pin in pins)


def test_no_folder_with_content_is_written_to(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="expected a new or an empty folder, but it has"):
        write_container(tmp_path, model="models:/street/1", port=8000)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere: expected a model \(model.json\)"):
        write_container(tmp_path / "out", model=str(tmp_path / "nowhere"), port=8000)
    assert not (tmp_path / "out").exists()
