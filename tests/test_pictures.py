"""The pictures of README.md are those that docs/pictures.py draws."""

from pathlib import Path

import yaml
from docs.pictures import FOLDER, WINDOW, draw_pipeline
from PIL import Image

REPOSITORY = Path(__file__).parents[1]


def test_the_picture_of_the_pipeline_is_that_of_dvc_yaml():
    stages = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
    drawn = draw_pipeline(stages)
    assert drawn == (FOLDER / "pipeline.svg").read_text()
    assert drawn.count("<rect") == len(stages) == 6
    assert ">out/register<" in drawn


def test_readme_shows_every_picture():
    text = (REPOSITORY / "README.md").read_text()
    names = {path.name for path in FOLDER.iterdir()}
    assert names == {"pipeline.svg", "report.png"}
    assert [name for name in names if f"](docs/pictures/{name})" not in text] == []
    with Image.open(FOLDER / "report.png") as picture:
        assert picture.size == WINDOW
