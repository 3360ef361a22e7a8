"""The task of an evaluation, and the score that decides it."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from maskmill.canonical.categories import Categories


@dataclass(frozen=True)
class Task:
    """A task and its deciding score.

    Args:
        name: "panoptic", "instance" or "semantic".
        metric: the score, as in metrics.json.
        meaning: of the score, in words.
        counts_segments: the score is of segments and not of pixels.
        things_only: stuff does not count.
    """

    name: str
    metric: Literal["PQ", "PQ/thing", "mIoU"]
    meaning: str
    counts_segments: bool = True
    things_only: bool = False

    def classes(self, categories: Categories) -> npt.NDArray[np.bool_]:
        """The classes that the deciding score counts, (K,)."""
        if self.things_only:
            return categories.isthing
        return np.ones(categories.num_classes, bool)


PANOPTIC = Task(
    "panoptic",
    "PQ",
    "panoptic quality, that is how many segments are found and how well they overlap",
)
INSTANCE = Task(
    "instance",
    "PQ/thing",
    "panoptic quality of the objects, that is how many are found and how well they overlap",
    things_only=True,
)
SEMANTIC = Task(
    "semantic",
    "mIoU",
    "the mean of the classes' intersection over union, counted in pixels",
    counts_segments=False,
)
TASK_OF_CLASS = {"PanopticTask": PANOPTIC, "InstanceTask": INSTANCE, "SemanticTask": SEMANTIC}


def find_task(categories: Categories, task_class: str = "") -> Task:
    """The task of a model, by the name of its class; by the kinds of categories if it is not known.

    Example:
        >>> from maskmill.canonical.categories import Category
        >>> table = Categories([Category(7, "cell", True, (200, 0, 0))])
        >>> find_task(table).metric, find_task(table, "SemanticTask").metric
        ('PQ/thing', 'mIoU')
    """
    if task_class in TASK_OF_CLASS:
        return TASK_OF_CLASS[task_class]
    if categories.isthing.all():
        return INSTANCE
    return PANOPTIC if categories.isthing.any() else SEMANTIC
