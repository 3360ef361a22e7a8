"""The embedded data set's own layout: drawn scenes, read and written.

scenes.json             size, seed, categories, void, splits: {train: [NAME, ...], ...}
images/NAME.png         RGB
classes/NAME.png        category id per pixel, 255 = void
instances/NAME.png      1..N on things, 0 elsewhere
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from maskmill.canonical.categories import Categories
from maskmill.canonical.files import inside, read_json, write_json
from maskmill.canonical.output_folder import replaced_folder
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.png import write_labels, write_rgb
from maskmill.sources import scene_painter
from maskmill.sources.class_maps import panoptic_of_instances
from maskmill.sources.finding import Findings
from maskmill.sources.folders import require_folder
from maskmill.sources.images import read_label_image, require_size
from maskmill.sources.source import Sample, Source
from maskmill.sources.splits import require_each


class Scenes(Source):
    """Reads a folder that `SceneSet` wrote.

    Args:
        root: the folder with scenes.json.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def categories(self) -> Categories:
        """As in scenes.json."""
        return self._labels[0]

    @cached_property
    def _labels(self) -> tuple[Categories, int]:
        """The category table and the value of void."""
        index = self._index()
        return Categories.from_list(index["categories"]), int(index["void"])

    def samples(self, findings: Findings) -> list[Sample]:
        """As listed in scenes.json; see `Source.samples`."""
        splits = self._index()["splits"]
        samples = [
            Sample(
                split,
                name,
                inside(self.root / "images", f"{name}.png"),
                inside(self.root / "classes", f"{name}.png"),
            )
            for split, names in splits.items()
            for name in names
        ]
        return require_each(splits, samples, self.root / "scenes.json")

    def files(self, sample: Sample) -> tuple[Path, ...]:
        """The image and both maps."""
        return sample.image, sample.labels, self._numbers(sample)

    def _numbers(self, sample: Sample) -> Path:
        return inside(self.root / "instances", f"{sample.name}.png")

    def read(self, sample: Sample, findings: Findings) -> Panoptic:
        """Stuff by class, things by instance; see `Source.read`."""
        path = self._numbers(sample)
        classes, instances = read_label_image(sample.labels), read_label_image(path)
        require_size(instances.shape, classes.shape, path)
        try:
            return panoptic_of_instances(
                classes, instances, self.categories, void_ids=self._labels[1:]
            )
        except ValueError as error:
            raise ValueError(f"{sample.labels}: {error}") from error

    def _index(self) -> dict[str, Any]:
        path = require_folder(self.root) / "scenes.json"
        index = read_json(path)
        missing = {"categories", "void", "splits"} - set(index)
        if missing:
            raise ValueError(
                f"{path}: expected an index of scenes, but it lacks {sorted(missing)} - write it with `maskmill draw`"
            )
        return dict(index)


@dataclass(frozen=True)
class SceneSet:
    """Scenes to draw. Scene number i of a split is the same however many are drawn beside it.

    Args:
        out: a new folder, or an earlier set, which is replaced as a whole.
        num_train: scenes to learn from.
        num_val: scenes that choose the checkpoint.
        num_test: scenes that judge the model.
        seed: another seed draws other scenes.
    """

    out: Path
    num_train: int
    num_val: int
    num_test: int
    seed: int

    def __post_init__(self) -> None:
        if min(self.num_train, self.num_val, self.num_test) < 1 or self.seed < 0:
            raise ValueError(
                f"Expected at least one scene a split and a seed of 0 or more, but got {self.num_train}, {self.num_val}, {self.num_test} "
                f"and {self.seed} - mend conf/draw"
            )

    @property
    def splits(self) -> dict[str, list[str]]:
        """Split -> names of its scenes."""
        counts = {"train": self.num_train, "val": self.num_val, "test": self.num_test}
        return {
            split: [f"{split}_{number:04d}" for number in range(count)]
            for split, count in counts.items()
        }

    def scenes(self) -> Iterator[tuple[str, scene_painter.Scene]]:
        """Draw them one by one: name and scene."""
        for stream, names in enumerate(self.splits.values()):
            for number, name in enumerate(names):
                yield name, scene_painter.paint(self.seed, stream, number)

    def write(self) -> Path:
        """Draw them to files.

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
            "description": "Street scenes drawn by `maskmill draw`; free to use under the licence of maskmill.",
            "height": scene_painter.HEIGHT,
            "width": scene_painter.WIDTH,
            "seed": self.seed,
            "categories": scene_painter.CATEGORIES.as_list(),
            "void": scene_painter.VOID,
            "splits": self.splits,
        }
        write_json(folder / "scenes.json", index)
