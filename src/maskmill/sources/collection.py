"""What was found in a whole data set: counts, and the faults that show only when images are held against each other."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from maskmill.canonical.categories import Categories
from maskmill.sources.finding import Finding, Findings
from maskmill.sources.similar import Print, similar
from maskmill.sources.statistics import SplitStatistics

MAX_VOID = 0.5  # share of a split without labels, above which a table with stuff is doubtful
CHANCE = 0.01  # a split lacks a class by chance more rarely than this -> it is a finding
MAX_PAIRS = 100  # look-alikes listed for two splits


@dataclass(frozen=True)
class Outcome:
    """One sample after the look at it: `row` is what is known of it, None where an error keeps it out."""

    split: str
    name: str
    file: str
    row: dict[str, Any] | None
    findings: list[Finding]


@dataclass
class Collection:
    """The outcomes of a data set, summed up; per image it keeps a print and a name."""

    splits: Iterable[str]
    findings: Findings = field(default_factory=Findings)
    excluded: list[dict[str, str]] = field(default_factory=list)
    num_images: int = 0

    def __post_init__(self) -> None:
        self.statistics = {split: SplitStatistics() for split in self.splits}
        self._prints: dict[str, list[Print]] = {split: [] for split in self.statistics}
        self._files: dict[str, list[str]] = {split: [] for split in self.statistics}
        self._grays: list[str] = []

    def add(self, outcome: Outcome) -> None:
        """Add a sample."""
        self.findings += outcome.findings
        self.num_images += 1
        if outcome.row is None:
            error = next(one for one in outcome.findings if one.severity == "error")
            self.excluded.append(
                {"split": outcome.split, "name": outcome.name, "message": str(error)}
            )
            return
        self.statistics[outcome.split].add(outcome.row["counts"])
        self._prints[outcome.split].append(
            Print(int(outcome.row["print"][0], 16), bytes.fromhex(outcome.row["print"][1]))
        )
        self._files[outcome.split].append(outcome.file)
        if outcome.row["isgray"]:
            self._grays.append(outcome.file)

    def compare(self, categories: Categories) -> None:
        """Hold the splits against each other, once all samples are there; adds findings."""
        self._find_grays()
        self._find_void(categories)
        self._find_absent(categories)
        self._find_similar()

    def content(self, source: str, categories: Categories) -> dict[str, Any]:
        """What dataset.json holds of it."""
        filled = {split: one for split, one in self.statistics.items() if one.num_images}
        return {
            "source": source,
            "categories": categories.as_list(),
            "splits": {split: {"num_images": one.num_images} for split, one in filled.items()},
            "statistics": {split: one.summarize(categories) for split, one in filled.items()},
            "problems": self.excluded,
            "findings": [one.as_dict() for one in self.findings],
        }

    def _find_grays(self) -> None:
        kept = sum(one.num_images for one in self.statistics.values())
        if 2 * len(self._grays) >= kept:
            return  # a gray data set
        for file in self._grays:
            self.findings.note(
                file,
                "expected colours as in most images, but it is gray",
                "nothing, if that is meant: it becomes RGB",
            )

    def _find_void(self, categories: Categories) -> None:
        for split, one in self.statistics.items():
            if (
                categories.background_index is None
                and one.num_images
                and one.void_pixels > MAX_VOID * one.num_pixels
            ):
                self.findings.warn(
                    split,
                    f"expected most pixels labelled, but {one.void_pixels / one.num_pixels:.0%} of the split are void",
                    "label more, or give the unlabelled rest a class of its own",
                )

    def _find_absent(self, categories: Categories) -> None:
        """Classes a split lacks, unless so few images have them that chance explains it."""
        total = sum(one.num_images for one in self.statistics.values())
        for category in categories:
            images = sum(one.images_of[category.id] for one in self.statistics.values())
            for split, one in self.statistics.items():
                if not images or one.images_of[category.id] or not one.num_images:
                    continue
                chance = (1 - one.num_images / total) ** images
                if split == "train" or chance < CHANCE:
                    what = (
                        "cannot be learned" if split == "train" else "does not count in its numbers"
                    )
                    self.findings.warn(
                        split,
                        f"expected every class in every split, but {category.name} (id {category.id}) is in {images} images of others "
                        f"and in none of this: it {what}",
                        "deal the splits anew (sources.splits.StratifiedSplit deals by class), or drop the class by prepare.classes",
                    )

    def _find_similar(self) -> None:
        splits = list(self._prints)
        for place, split in enumerate(splits):
            for other in splits[place + 1 :]:
                for number, (first, second) in enumerate(
                    similar(self._prints[split], self._prints[other])
                ):
                    if number == MAX_PAIRS:
                        self.findings.warn(
                            split,
                            f"expected other images than in {other}, but more than {number} look the same",
                            "see above",
                        )
                        break
                    self.findings.warn(
                        self._files[split][first],
                        f"expected an image of {split} in no other split, but {self._files[other][second]} of {other} looks the same: "
                        "what is learned by heart counts as known",
                        "remove one, or deal images that belong together by `group` of the splits",
                    )
