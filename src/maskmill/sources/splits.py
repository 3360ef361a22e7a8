"""Rules that assign samples to splits, for data sets that have no splits of their own."""

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from maskmill.sources.source import Sample
from maskmill.sources.stratify import stratify

ClassesOf = Callable[[Sample], set[int]]


class Split(ABC):
    """A rule that assigns samples to splits.

    Args:
        shares: split -> its share of the samples; they sum to 1. One split of share 1 takes all.
        seed: another seed gives another assignment.
        group: a regular expression that every name contains. Samples with the same match (of its
            first group, if it has one) stay in one split, as the frames of a video or the slices of
            a patient must.

    Raises:
        ValueError: the shares are not positive or do not sum to 1, or `group` is invalid.
    """

    def __init__(
        self, shares: Mapping[str, float], *, seed: int = 0, group: str | None = None
    ) -> None:
        if not shares or min(shares.values()) <= 0 or abs(sum(shares.values()) - 1) > 1e-9:
            raise ValueError(
                "Expected `splits` as positive shares that sum to 1, but got "
                f"{dict(shares)} - check conf/source"
            )
        try:
            self.group = None if group is None else re.compile(group)
        except re.error as error:
            raise ValueError(
                f"Expected `group` as a regular expression, but got {group!r} ({error}) - "
                "check conf/source"
            ) from error
        self.shares = dict(shares)
        self.seed = seed

    @abstractmethod
    def assign(self, samples: list[Sample], classes_of: ClassesOf) -> list[Sample]:
        """The samples in their order, each with its split.

        Args:
            samples: samples of any split.
            classes_of: returns the category ids of a sample; called only by rules that need them.

        Raises:
            ValueError: a name does not match `group`.
        """

    def key(self, sample: Sample) -> str:
        """The key by which a sample is assigned: its name, or its group."""
        if self.group is None:
            return sample.name
        match = self.group.search(sample.name)
        if match is None:
            raise ValueError(
                f"{sample.image}: expected a name that matches {self.group.pattern!r}, but got "
                f"{sample.name!r} - either correct the name or `group` in conf/source"
            )
        return match.group(1 if self.group.groups else 0)

    def placed(self, sample: Sample, split: str) -> Sample:
        """The sample in a split, with its group."""
        group = None if self.group is None else self.key(sample)
        return replace(sample, split=split, group=group)

    def fraction(self, key: str) -> float:
        """A pseudorandom number in [0, 1) that depends on the key and the seed alone."""
        digest = hashlib.sha256(f"{self.seed}:{key}".encode()).digest()
        return int.from_bytes(digest[:6], "big") / 2**48  # six bytes: exact in a float, and below 1


class HashSplit(Split):
    """Assigns by a hash of the name.

    A name stays in its split on every machine, whatever is added to the data set.
    """

    def split_name(self, key: str) -> str:
        """The split of a key."""
        fraction = self.fraction(key)
        end = 0.0
        for split, share in self.shares.items():
            end += share
            if fraction < end:
                return split
        return split  # rounding can leave the sum of the shares just below 1

    def assign(self, samples: list[Sample], classes_of: ClassesOf) -> list[Sample]:
        """The samples with the splits of their names; `classes_of` is not used."""
        return [self.placed(sample, self.split_name(self.key(sample))) for sample in samples]


class StratifiedSplit(Split):
    """Assigns so that every split has every class, as far as there are enough images of it.

    For small or unbalanced data sets. When images are added, all are assigned again.
    Iterative stratification: Sechidis, Tsoumakas and Vlahavas, ECML 2011.
    """

    def assign(self, samples: list[Sample], classes_of: ClassesOf) -> list[Sample]:
        """The samples with splits that depend on the classes of all samples."""
        indices_of: dict[str, list[int]] = {}
        for index, sample in enumerate(samples):
            indices_of.setdefault(self.key(sample), []).append(index)
        keys = sorted(indices_of, key=self.fraction)
        classes = []
        for key in keys:
            group_classes = [classes_of(samples[index]) for index in indices_of[key]]
            classes.append(set().union(*group_classes))
        sizes = [len(indices_of[key]) for key in keys]
        names = list(self.shares)
        assigned = list(samples)
        for key, split in zip(keys, self.divide(classes, sizes), strict=True):
            for index in indices_of[key]:
                assigned[index] = self.placed(samples[index], names[split])
        return assigned

    @property
    def share_values(self) -> npt.NDArray[np.float64]:
        """The shares alone, in the order of the splits."""
        return np.array(list(self.shares.values()))

    def divide(self, classes: list[set[int]], sizes: list[int]) -> list[int]:
        """The index of the split of each group; see `stratify`."""
        return stratify(classes, sizes, self.share_values)


def as_split(splits: Mapping[str, float] | Split, *, seed: int = 0) -> Split:
    """The rule that a configuration describes: a `Split`, or shares for a `HashSplit`."""
    return splits if isinstance(splits, Split) else HashSplit(splits, seed=seed)


def require_every_split(splits: Iterable[str], samples: list[Sample], where: Path) -> list[Sample]:
    """Return the samples if each of `splits` has at least one.

    Raises:
        ValueError: a split has no sample.
    """
    empty = set(splits) - {sample.split for sample in samples}
    if empty:
        raise ValueError(
            f"{where}: expected images in every split, but found none for "
            f"{', '.join(sorted(empty))} - either add images, or, if few names or groups are "
            "assigned at random, set another `seed` or a StratifiedSplit"
        )
    return samples
