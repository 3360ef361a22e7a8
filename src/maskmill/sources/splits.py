"""Which split a sample belongs to, where the data set does not say: decided by its name alone."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from maskmill.sources.source import Sample


class HashSplit:
    """Deals names to splits by a hash, so a name stays in its split on every machine and whatever is added beside it.

    Args:
        shares: split -> its share of the samples; they sum to 1. One split of share 1 takes all.
        seed: another seed deals anew.

    Raises:
        ValueError: the shares are not positive or do not sum to 1.
    """

    def __init__(self, shares: Mapping[str, float], *, seed: int = 0) -> None:
        if not shares or min(shares.values()) <= 0 or abs(sum(shares.values()) - 1) > 1e-9:
            raise ValueError(f"Expected `splits` as positive shares that sum to 1, but got {dict(shares)} - mend conf/source")
        self.shares = dict(shares)
        self.seed = seed

    def of(self, name: str) -> str:
        """The split of a name."""
        digest = hashlib.sha256(f"{self.seed}:{name}".encode()).digest()
        place = int.from_bytes(digest[:6], "big") / 2**48  # six bytes: exact in a float, and below 1
        end = 0.0
        for split, share in self.shares.items():
            end += share
            if place < end:
                return split
        return split  # the shares' sum may be a rounding below 1


def require_each(splits: Iterable[str], samples: list[Sample], where: Path) -> list[Sample]:
    """Hand the samples through if every split has one.

    Raises:
        ValueError: a split is empty.
    """
    empty = sorted(set(splits) - {sample.split for sample in samples})
    if empty:
        raise ValueError(f"{where}: expected images in every split, but found none for {', '.join(empty)} - add images or mend the splits")
    return samples
