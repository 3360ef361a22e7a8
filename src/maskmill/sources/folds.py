"""Folds of cross-validation: the images of training and validation, assigned again."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from maskmill.sources.folders import normal_form
from maskmill.sources.source import Sample
from maskmill.sources.splits import ClassesOf, StratifiedSplit
from maskmill.sources.stratify import stratify

TRAIN, VAL = "train", "val"


@dataclass(frozen=True)
class Fold:
    """One of several folds.

    Args:
        index: from 0; this fold becomes the validation split, and the other folds are trained on.
        num_folds: the number of folds.
        seed: another seed gives other folds.

    Raises:
        ValueError: there are fewer than two folds, or none with this index.
    """

    index: int
    num_folds: int
    seed: int

    def __post_init__(self) -> None:
        if self.num_folds < 2:
            raise ValueError(
                f"Expected `prepare.num_folds` of at least 2, but got {self.num_folds} - set it to "
                "the number of models to train, or set `prepare.fold=null` for the source's splits"
            )
        if not 0 <= self.index < self.num_folds:
            raise ValueError(
                f"Expected `prepare.fold` from 0 to {self.num_folds - 1}, but got {self.index} - "
                "either choose one of these, or raise `prepare.num_folds`"
            )

    def assign(self, samples: list[Sample], classes_of: ClassesOf) -> list[Sample]:
        """The samples with new splits: first those of train, then those of val, then the others.

        Args:
            samples: of all splits; those of splits other than train and val stay as they are.
            classes_of: returns the category ids of a sample.

        Raises:
            ValueError: train and val have fewer images, or groups of images, than folds, or they
                have images of the same name.
        """
        pool = []
        others = []
        for sample in samples:
            (pool if sample.split in {TRAIN, VAL} else others).append(sample)
        self._require_enough(pool)
        _require_different_names(pool)
        pool = list(_with_different_ids(pool))
        train = []
        val = []
        rule = _FoldSplit(self.num_folds, seed=self.seed)
        for sample in rule.assign(pool, classes_of):
            if sample.split == f"{self.index}":
                val.append(replace(sample, split=VAL))
            else:
                train.append(replace(sample, split=TRAIN))
        return train + val + others

    def as_dict(self) -> dict[str, int]:
        """The row of dataset.json."""
        return {"index": self.index, "num_folds": self.num_folds, "seed": self.seed}

    def _require_enough(self, pool: list[Sample]) -> None:
        num_groups = len({_key(sample) for sample in pool})
        if num_groups >= self.num_folds:
            return
        found = f"{len(pool)} images"
        if num_groups < len(pool):
            found += f" in {num_groups} groups"
        raise ValueError(
            f"Expected at least one image, or group of images, of train and val for each of "
            f"{self.num_folds} folds, but the source has {found} - either lower "
            "`prepare.num_folds` or add images"
        )


class _FoldSplit(StratifiedSplit):
    """Assigns to folds of equal size; groups are those of the rules that assigned before."""

    def __init__(self, num_folds: int, *, seed: int) -> None:
        shares = {f"{index}": 1 / num_folds for index in range(num_folds)}
        super().__init__(shares, seed=seed)

    def key(self, sample: Sample) -> str:
        return _key(sample)

    def divide(self, classes: list[set[int]], sizes: list[int]) -> list[int]:
        # All folds are trained on, so that none needs every class more than the others.
        return stratify(classes, sizes, self.share_values, favour_largest=False)


def _key(sample: Sample) -> str:
    """What stays in one fold: the group of a sample, or the sample itself."""
    return f"image {sample.name}" if sample.group is None else f"group {sample.group}"


def _require_different_names(pool: list[Sample]) -> None:
    sample_of_name: dict[str, Sample] = {}
    for sample in pool:
        earlier = sample_of_name.setdefault(normal_form(sample.name).casefold(), sample)
        if earlier is not sample:
            raise ValueError(
                "Expected images of different names in train and val, which folds mix (the suffix "
                f"does not count), but {sample.name} is the name of {earlier.image_file} and of "
                f"{sample.image_file} - either rename one of them, or set `prepare.fold=null`"
            )


def _with_different_ids(pool: list[Sample]) -> Iterator[Sample]:
    """The samples, without their image ids if train and val use the same: they are renumbered."""
    num_uses = Counter(sample.image_id for sample in pool if sample.image_id is not None)
    is_repeated = max(num_uses.values(), default=1) > 1
    for sample in pool:
        yield replace(sample, image_id=None) if is_repeated else sample
