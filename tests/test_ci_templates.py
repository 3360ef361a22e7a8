"""The files that users copy into their project for GitHub and GitLab: their shell steps run."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

FOLDER = Path(__file__).parents[1] / "docs" / "ci"
REPORT = """
| Metric | HEAD | workspace | Change |
|-|-|-|-|
| PQ | 0.25 | 0.5 | 0.25 |
| mIoU | 0.75 | 0.75 | 0.0 |

### Changed settings

| Param | HEAD | workspace |
|-|-|-|
| set.optimizer.lr | 0.001 | 0.01 |

### Learning curves

```mermaid
xychart-beta
  title "loss: training, then validation"
  x-axis epoch [1, 3]
  line [2.5, 1.5]
  line [3.5, 2.25]
```
```mermaid
xychart-beta
  title "validation score that chose the weights"
  x-axis epoch [1, 2, 3]
  line [0.1, 0.2, 0.3]
```
"""


def github_steps():
    """The shell commands of the workflow."""
    (job,) = yaml.safe_load((FOLDER / "github.yml").read_text())["jobs"].values()
    return [step["run"] for step in job["steps"] if "run" in step]


def gitlab_steps():
    """The shell commands of the pipeline."""
    return yaml.safe_load((FOLDER / "gitlab.yml").read_text())["maskmill"]["script"]


@pytest.mark.parametrize("steps", [github_steps(), gitlab_steps()], ids=["github", "gitlab"])
def test_the_steps_are_shell_commands_and_agree(steps):
    script = "\n".join(steps)
    subprocess.run(["sh", "-n"], input=script, text=True, check=True)
    positions = [
        script.index(word) for word in ("pip install", "dvc pull", "dvc repro", "dvc push")
    ]
    assert positions == sorted(positions)
    assert 'sh ci/report.sh "$BASE" > report.md' in script
    assert "${{" not in script  # a branch could have a command as its name


@pytest.fixture
def project(tmp_path):
    """A repository whose work tree has other metrics and settings than its commit."""
    folder = tmp_path / "project"
    evaluation = folder / "out" / "evaluate"
    evaluation.mkdir(parents=True)
    (folder / "out" / "train").mkdir()
    (folder / "ci").mkdir()
    shutil.copy(FOLDER / "report.sh", folder / "ci")
    (folder / "dvc.yaml").write_text(
        "metrics: [out/evaluate/headlines.json]\nparams: [params.yaml]\n"
    )
    (folder / "params.yaml").write_text("set: {optimizer: {lr: 0.001}}\n")
    (evaluation / "headlines.json").write_text('{"PQ": 0.25, "mIoU": 0.75}')
    run(folder, "git", "init", "--quiet")
    run(folder, "dvc", "init", "--quiet")
    run(folder, "git", "add", "--all")
    author = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    run(folder, "git", *author, "commit", "--quiet", "--message", "first")
    (folder / "params.yaml").write_text("set: {optimizer: {lr: 0.01}}\n")
    (evaluation / "headlines.json").write_text('{"PQ": 0.5, "mIoU": 0.75}')
    rows = [
        "epoch,step,train/loss,val/loss,score",
        "1,4,2.5,3.5,0.1",
        "2,8,,,0.2",
        "3,9,1.5,2.25,0.3",
    ]
    (folder / "out" / "train" / "history.csv").write_text("\n".join(rows) + "\n")
    return folder


def run(folder, *command):
    """Run a program of this environment in the project; returns its output."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_report_has_metrics_settings_and_learning_curves(project):
    report = run(project, "sh", "ci/report.sh", "HEAD")
    commit = run(project, "git", "rev-parse", "--short", "HEAD").strip()
    heading, _, rest = report.partition("\n")
    assert heading == f"## Segmentation at {commit}, compared with HEAD"
    assert re.sub(r" +\|", " |", re.sub("-+", "-", rest)) == REPORT
