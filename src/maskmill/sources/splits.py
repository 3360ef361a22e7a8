"""Which split a sample belongs to, where the data set does not say."""

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from maskmill.sources.source import Sample

ClassesOf = Callable[[Sample], set[int]]


class Split(ABC):
    """A rule that deals samples to splits.

    Args:
        shares: split -> its share of the samples; they sum to 1. One split of share 1 takes all.
        seed: another seed deals anew.
        group: a pattern found in each name; samples whose match (its first group, if it has one) is the same stay together, as the
            frames of a video or the slices of a patient must.

    Raises:
        ValueError: the shares are not positive or do not sum to 1, or the pattern is none.
    """

    def __init__(
        self, shares: Mapping[str, float], *, seed: int = 0, group: str | None = None
    ) -> None:
        if not shares or min(shares.values()) <= 0 or abs(sum(shares.values()) - 1) > 1e-9:
            raise ValueError(
                f"Expected `splits` as positive shares that sum to 1, but got {dict(shares)} - mend conf/source"
            )
        try:
            self.group = None if group is None else re.compile(group)
        except re.error as error:
            raise ValueError(
                f"Expected `group` as a regular expression, but got {group!r} ({error}) - mend conf/source"
            ) from error
        self.shares = dict(shares)
        self.seed = seed

    @abstractmethod
    def deal(self, samples: list[Sample], classes_of: ClassesOf) -> list[Sample]:
        """The samples in their order, each with its split.

        Args:
            samples: any.
            classes_of: the category ids of a sample; asked only by rules that need it.

        Raises:
            ValueError: a name does not have the group's pattern.
        """

    def key(self, name: str) -> str:
        """What a sample is dealt by: its name, or its group."""
        if self.group is None:
            return name
        match = self.group.search(name)
        if match is None:
            raise ValueError(
                f"{name}: expected a name with the pattern {self.group.pattern!r}, but it has none - mend `group` in conf/source"
            )
        return match.group(1 if self.group.groups else 0)

    def place(self, key: str) -> float:
        """A number in 0..1 that belongs to a key."""
        digest = hashlib.sha256(f"{self.seed}:{key}".encode()).digest()
        return int.from_bytes(digest[:6], "big") / 2**48  # six bytes: exact in a float, and below 1


class HashSplit(Split):
    """Deals by a hash of the name, so a name stays in its split on every machine and whatever is added beside it."""

    def of(self, name: str) -> str:
        """The split of a name."""
        place, end = self.place(self.key(name)), 0.0
        for split, share in self.shares.items():
            end += share
            if place < end:
                return split
        return split  # the shares' sum may be a rounding below 1

    def deal(self, samples: list[Sample], classes_of: ClassesOf) -> list[Sample]:
        """By name alone."""
        return [replace(sample, split=self.of(sample.name)) for sample in samples]


class StratifiedSplit(Split):
    """Deals so that every class is found in every split, as far as there are images of it: for small or unbalanced data sets.

    The rarest class still wanted is dealt first, each of its images to the split that lacks most of it (iterative stratification,
    Sechidis, Tsoumakas and Vlahavas, ECML 2011). Whatever is added to the data set deals anew.
    """

    def deal(self, samples: list[Sample], classes_of: ClassesOf) -> list[Sample]:
        """By the classes of all samples."""
        groups: dict[str, list[int]] = {}
        for place, sample in enumerate(samples):
            groups.setdefault(self.key(sample.name), []).append(place)
        keys = sorted(groups, key=self.place)
        present = [
            set().union(*(classes_of(samples[place]) for place in groups[key])) for key in keys
        ]
        sizes = [len(groups[key]) for key in keys]
        split_of = {
            place: split
            for key, split in zip(keys, self._assign(present, sizes), strict=True)
            for place in groups[key]
        }
        return [replace(sample, split=split_of[place]) for place, sample in enumerate(samples)]

    def _assign(self, present: list[set[int]], sizes: list[int]) -> list[str]:
        """The split of each group, from the classes it holds and the number of its images."""
        classes = sorted(set().union(*present))
        has = np.array(
            [[key in found for key in classes] for found in present], dtype=bool
        ).reshape(len(present), len(classes))
        weight = np.array(sizes)
        shares = np.array(list(self.shares.values()))
        wanted = shares[:, None] * (has * weight[:, None]).sum(
            0
        )  # (S, K) images of each class a split still wants
        room = shares * weight.sum()  # (S,) images it still wants
        splits = np.full(len(present), -1)
        while (splits < 0).any():
            left = (has & (splits < 0)[:, None]).sum(0)
            rarest = (
                int(np.where(left > 0, left, len(present) + 1).argmin()) if left.any() else None
            )
            for place in np.flatnonzero(
                (splits < 0) if rarest is None else (splits < 0) & has[:, rarest]
            ):
                need = room if rarest is None else wanted[:, rarest]
                best = np.flatnonzero(need == need.max())
                split = best[room[best].argmax()]
                splits[place] = split
                wanted[split, has[place]] -= weight[place]
                room[split] -= weight[place]
        largest = int(shares.argmax())
        for column in np.flatnonzero(
            ~has[splits == largest].any(0)
        ):  # a class must be learned before it can be tested
            splits[np.flatnonzero(has[:, column])[0]] = largest
        for empty in (
            np.setdiff1d(np.arange(len(shares)), splits) if len(splits) >= len(shares) else []
        ):
            giver = np.bincount(splits, minlength=len(shares)).argmax()
            own = np.flatnonzero(splits == giver)
            spare = (~has[own] | (has[own].sum(0) > 1)).all(
                1
            )  # whose classes the giver keeps by others
            splits[own[spare.argmax()]] = empty
        names = list(self.shares)
        return [names[split] for split in splits]


def split_of(splits: Mapping[str, float] | Split, *, seed: int = 0) -> Split:
    """The rule a configuration means: shares alone are dealt by hash."""
    return splits if isinstance(splits, Split) else HashSplit(splits, seed=seed)


def require_each(splits: Iterable[str], samples: list[Sample], where: Path) -> list[Sample]:
    """Hand the samples through if every split has one.

    Raises:
        ValueError: a split is empty.
    """
    empty = sorted(set(splits) - {sample.split for sample in samples})
    if empty:
        raise ValueError(
            f"{where}: expected images in every split, but found none for {', '.join(empty)} - add images, or where few names or groups "
            "are dealt by chance, choose another `seed` or a StratifiedSplit"
        )
    return samples
