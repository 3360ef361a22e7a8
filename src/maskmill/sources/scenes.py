"""The embedded data set's own layout: drawn scenes, read and written.

scenes.json             size, seed, categories, void, splits: {train: [NAME, ...], ...}
images/NAME.png         RGB
classes/NAME.png        category id per pixel, 255 = void
instances/NAME.png      instance ids 1..N on things, 0 elsewhere
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge

from maskmill.canonical.categories import Categories
from maskmill.canonical.files import inside, read_json, write_json
from maskmill.canonical.output_folder import replaced_folder
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.png import write_labels, write_rgb
from maskmill.sources import scene_painter
from maskmill.sources.class_maps import panoptic_from_instances
from maskmill.sources.finding import Findings
from maskmill.sources.folders import require_folder
from maskmill.sources.images import read_label_image, require_size
from maskmill.sources.source import Sample, Source
from maskmill.sources.splits import require_every_split


class Scenes(Source):
    """Reads a folder that `SceneSet` wrote.

    Args:
        root: the folder with scenes.json.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @cached_property
    def categories(self) -> Categories:
        """The category table in scenes.json."""
        return Categories.from_list(self._index()["categories"])

    @cached_property
    def _void_id(self) -> int:
        return int(self._index()["void"])

    def samples(self, findings: Findings) -> list[Sample]:
        """The scenes in the order of scenes.json; see `Source.samples`."""
        splits = self._index()["splits"]
        samples = []
        for split, names in splits.items():
            for name in names:
                image = inside(self.root / "images", f"{name}.png")
                labels = inside(self.root / "classes", f"{name}.png")
                samples.append(Sample(split, name, str(image), str(labels)))
        return require_every_split(splits, samples, self.root / "scenes.json")

    def files(self, sample: Sample) -> tuple[Path, ...]:
        """The image and both masks."""
        return sample.image, sample.labels, self._instance_path(sample)

    def read(self, sample: Sample, findings: Findings) -> Panoptic:
        """Stuff by class, things by instance; see `Source.read`."""
        path = self._instance_path(sample)
        classes = read_label_image(sample.labels)
        instances = read_label_image(path)
        require_size(instances.shape, classes.shape, path)
        try:
            return panoptic_from_instances(
                classes, instances, self.categories, void_ids=[self._void_id]
            )
        except ValueError as error:
            raise ValueError(f"{sample.labels}: {error}") from error

    def _instance_path(self, sample: Sample) -> Path:
        return inside(self.root / "instances", f"{sample.name}.png")

    def _index(self) -> dict[str, Any]:
        path = require_folder(self.root) / "scenes.json"
        if not path.exists():
            raise FileNotFoundError(
                f"{path}: expected the index of drawn scenes, but there is none - either choose "
                "the layout of your data, for example source=camvid (README has a table), or "
                "correct source.root"
            )
        index = read_json(path)
        missing = {"categories", "void", "splits"} - set(index)
        if missing:
            raise ValueError(
                f"{path}: expected an index of scenes, but it lacks {sorted(missing)} - "
                "write it with `maskmill draw`"
            )
        return dict(index)


@dataclass(frozen=True)
class SceneSet:
    """Scenes to draw. Scene i of a split is the same, however many others are drawn.

    Args:
        out: a new folder, or an earlier set, which is replaced as a whole.
        num_train: the number of scenes for training.
        num_val: the number of scenes that choose the checkpoint.
        num_test: the number of scenes that evaluate the model.
        seed: another seed draws other scenes.
    """

    out: Path
    num_train: Annotated[int, Ge(1)]
    num_val: Annotated[int, Ge(1)]
    num_test: Annotated[int, Ge(1)]
    seed: Annotated[int, Ge(0)]

    @property
    def splits(self) -> dict[str, list[str]]:
        """Split -> the names of its scenes."""
        num_scenes = {"train": self.num_train, "val": self.num_val, "test": self.num_test}
        names = {}
        for split, count in num_scenes.items():
            names[split] = [f"{split}_{index:04d}" for index in range(count)]
        return names

    def scenes(self) -> Iterator[tuple[str, scene_painter.Scene]]:
        """Draw the scenes one by one: name and scene."""
        for stream, names in enumerate(self.splits.values()):
            for index, name in enumerate(names):
                yield name, scene_painter.paint(self.seed, stream, index)

    def write(self) -> Path:
        """Draw the scenes to files.

        Returns:
            the path of scenes.json.

        Raises:
            ValueError: `out` contains files that `draw` did not write.
        """
        with replaced_folder(self.out, written_by="draw") as folder:
            self._write_files(folder)
        return self.out / "scenes.json"

    def _write_files(self, folder: Path) -> None:
        for name, scene in self.scenes():
            write_rgb(folder / "images" / f"{name}.png", scene.image)
            write_labels(folder / "classes" / f"{name}.png", scene.classes)
            write_labels(folder / "instances" / f"{name}.png", scene.instances)
        index = {
            "description": "Street scenes drawn by `maskmill draw`; "
            "free to use under the licence of maskmill.",
            "height": scene_painter.HEIGHT,
            "width": scene_painter.WIDTH,
            "seed": self.seed,
            "categories": scene_painter.CATEGORIES.as_list(),
            "void": scene_painter.VOID,
            "splits": self.splits,
        }
        write_json(folder / "scenes.json", index)
