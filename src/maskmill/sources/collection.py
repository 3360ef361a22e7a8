"""A whole data set summed up: counts, and the problems that only a comparison of images shows."""

from array import array
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import combinations, islice
from typing import Any

from maskmill.canonical.categories import Categories, Category
from maskmill.sources.finding import Finding, Findings
from maskmill.sources.similar import Fingerprint, Fingerprints, find_similar
from maskmill.sources.statistics import SplitStatistics

MAX_VOID = 0.5  # share of unlabelled pixels of a split that a table with stuff should not exceed
# A split may lack a class by chance. It is reported if that chance is lower than this.
MIN_CHANCE = 0.01
MAX_PAIRS = 100  # similar images that are listed for two splits
NUM_SHOWN = 5  # classes in a message


@dataclass(frozen=True)
class Outcome:
    """The result for one sample.

    Args:
        split: the split of the sample.
        name: the name of the sample.
        file: the path of its image.
        row: what is known about the sample; None if an error excludes it.
        findings: the problems of its image and labels.
    """

    split: str
    name: str
    file: str
    row: dict[str, Any] | None
    findings: list[Finding]


@dataclass
class Collection:
    """The summed outcomes of a data set; in memory it keeps 16 bytes per image.

    Args:
        splits: the names of the splits.
        file_of: the path of the image of an outcome, by its position, as findings name it.
    """

    splits: Iterable[str]
    file_of: Callable[[int], str]
    findings: Findings = field(default_factory=Findings)
    excluded: list[dict[str, str]] = field(default_factory=list)
    num_images: int = 0

    def __post_init__(self) -> None:
        self.statistics: dict[str, SplitStatistics] = {}
        self._prints: dict[str, Fingerprints] = {}
        self._positions: dict[str, array[int]] = {}
        self._gray = array("Q")  # positions
        self._num_objects: Counter[str] = Counter()  # segments of a split that are no crowds
        for split in self.splits:
            self.statistics[split] = SplitStatistics()
            self._prints[split] = Fingerprints()
            self._positions[split] = array("Q")

    def add(self, outcome: Outcome) -> None:
        """Add a sample."""
        position = self.num_images
        self.findings += outcome.findings
        self.num_images += 1
        if outcome.row is None:
            errors = [finding for finding in outcome.findings if finding.severity == "error"]
            row = {"split": outcome.split, "name": outcome.name, "message": str(errors[0])}
            self.excluded.append(row)
            return
        self.statistics[outcome.split].add(outcome.row["counts"])
        for segment in outcome.row["segments"]:
            self._num_objects[outcome.split] += not segment["iscrowd"]
        bits, thumbnail = outcome.row["print"]
        fingerprint = Fingerprint(int(bits, 16), bytes.fromhex(thumbnail))
        self._prints[outcome.split].append(fingerprint)
        self._positions[outcome.split].append(position)
        if outcome.row["isgray"]:
            self._gray.append(position)

    def require_images(self) -> None:
        """Check that no split has lost all its images.

        Raises:
            ValueError: all images of a split are excluded.
        """
        empty = [split for split, counts in self.statistics.items() if not counts.num_images]
        if not empty:
            return
        messages = [row["message"] for row in self.excluded if row["split"] == empty[0]]
        raise ValueError(
            f"Expected images in every split, but all images of {', '.join(empty)} have a "
            f"problem, for example: {messages[0]}"
        )

    def compare(self, categories: Categories) -> None:
        """Compare the splits with each other after the last sample; adds findings."""
        self._find_gray_images()
        self._find_nothing_to_learn(categories)
        self._find_void(categories)
        self._find_absent_classes(categories)
        self._find_similar_images()

    def content(self, source: str, categories: Categories) -> dict[str, Any]:
        """The content of dataset.json, apart from the digest."""
        splits = {}
        summaries = {}
        for split, statistics in self.statistics.items():
            if statistics.num_images:
                splits[split] = {"num_images": statistics.num_images}
                summaries[split] = statistics.summarize(categories)
        return {
            "source": source,
            "categories": categories.as_list(),
            "splits": splits,
            "statistics": summaries,
            "problems": self.excluded,
            "findings": [finding.as_dict() for finding in self.findings],
        }

    def _num_kept(self) -> int:
        return sum(statistics.num_images for statistics in self.statistics.values())

    def _find_gray_images(self) -> None:
        if 2 * len(self._gray) >= self._num_kept():
            return  # a gray data set
        for position in self._gray:
            self.findings.note(
                self.file_of(position),
                "expected colours as in most images, but it is gray",
                "if that is intended, nothing: it is converted to RGB",
            )

    def _find_nothing_to_learn(self, categories: Categories) -> None:
        """Report splits without objects, and training data with a single class."""
        for split, statistics in self.statistics.items():
            if not statistics.num_images:
                continue
            images = f"the {statistics.num_images} images of {split}"
            present = [category for category in categories if statistics.images_of[category.id]]
            if not present and split == "train":
                self.findings.error(
                    split,
                    f"expected labelled objects, but {images} have none: nothing can be learned",
                    "check that the labels belong to these images, and that the classes and void "
                    "values of conf/source and prepare.classes are those of the labels",
                )
            elif not present:
                self.findings.warn(
                    split,
                    f"expected labelled objects, but {images} have none: its scores are undefined",
                    "assign images with objects to it",
                )
            elif not self._num_objects[split]:
                self.findings.warn(
                    split,
                    f"expected single objects, but all objects in {images} are crowds (iscrowd), "
                    "which metrics ignore: no object can be learned",
                    "set iscrowd to 0 where an annotation outlines one object",
                )
            elif split == "train" and len(present) == 1 and categories.background_index is None:
                self.findings.error(
                    split,
                    f"expected at least two classes, but every labelled pixel of {images} is "
                    f"{_shown(present)}: nothing can be learned",
                    "check the classes and void values of conf/source, and prepare.classes",
                )

    def _find_void(self, categories: Categories) -> None:
        if categories.background_index is not None:
            return
        for split, statistics in self.statistics.items():
            if statistics.void_pixels > MAX_VOID * statistics.num_pixels:
                share = statistics.void_pixels / statistics.num_pixels
                self.findings.warn(
                    split,
                    f"expected most pixels to be labelled, but {share:.0%} of the split are void",
                    "either label more, or give the unlabelled rest a class of its own",
                )

    def _find_absent_classes(self, categories: Categories) -> None:
        """Report classes that a split lacks, unless chance explains it."""
        total = self._num_kept()
        nowhere = []
        for category in categories:
            images_of_split = {}
            for split, statistics in self.statistics.items():
                images_of_split[split] = statistics.images_of[category.id]
            num_images = sum(images_of_split.values())
            if not num_images:
                nowhere.append(category)
                continue
            for split, statistics in self.statistics.items():
                if images_of_split[split] or not statistics.num_images:
                    continue
                chance = (1 - statistics.num_images / total) ** num_images
                if split != "train" and chance >= MIN_CHANCE:
                    continue
                effect = "is not part of its metrics"
                if split == "train":
                    effect = "cannot be learned"
                self.findings.warn(
                    split,
                    f"expected every class in every split, but {category.name} (id {category.id}) "
                    f"is in {num_images} images of other splits and in none of this: it {effect}",
                    "either assign the images again (sources.splits.StratifiedSplit assigns by "
                    "class), or remove the class by prepare.classes",
                )

        if nowhere and len(nowhere) < len(categories):
            self.findings.note(
                "all splits",
                f"expected every class in some image, but {_shown(nowhere)} "
                f"{'is' if len(nowhere) == 1 else 'are'} in none: not learned, not evaluated",
                "if the images are only a part of the data set, nothing; else check the classes "
                "and void values of conf/source",
            )

    def _find_similar_images(self) -> None:
        for split, other in combinations(self._prints, 2):
            pairs = find_similar(self._prints[split], self._prints[other])
            for first, second in islice(pairs, MAX_PAIRS):
                self.findings.warn(
                    self.file_of(self._positions[split][first]),
                    f"expected an image of {split} in no other split, but "
                    f"{self.file_of(self._positions[other][second])} of {other} looks the same: "
                    "what is memorized in training counts as recognized",
                    "either remove one, or keep images that belong together in one split by "
                    "`group` of the splits",
                )
            if next(pairs, None) is not None:
                self.findings.warn(
                    split,
                    f"expected other images than in {other}, but more than {MAX_PAIRS} look the "
                    "same",
                    "see the findings above",
                )


def _shown(categories: list[Category]) -> str:
    """The first of some classes, with their ids, and the number of the others."""
    names = [f"{category.name} (id {category.id})" for category in categories[:NUM_SHOWN]]
    more = [f"{len(categories) - NUM_SHOWN} more"] if len(categories) > NUM_SHOWN else []
    return ", ".join(names + more)
