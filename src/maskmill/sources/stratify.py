"""Iterative stratification (Sechidis, Tsoumakas and Vlahavas, ECML 2011): numpy alone."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

UNASSIGNED = -1

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def stratify(
    classes: Sequence[set[int]],
    sizes: Sequence[int],
    shares: npt.NDArray[np.float64],
    *,
    favour_largest: bool = True,
) -> list[int]:
    """The split of each group of images, such that every split has every class if possible.

    The rarest class that is still unassigned comes first; each of its groups goes to the split that
    lacks most of this class.

    Args:
        classes: the category ids in each group.
        sizes: the number of images of each group.
        shares: the share of the images for each split; they sum to 1.
        favour_largest: whether the largest split, which is trained on, has every class at the
            expense of the others.

    Returns:
        indices into `shares`, one per group.
    """
    class_ids = sorted(set().union(*classes))
    has = np.zeros((len(classes), len(class_ids)), dtype=bool)  # (groups, classes)
    for row, group_classes in enumerate(classes):
        has[row] = [class_id in group_classes for class_id in class_ids]
    splits = _assign(has, np.array(sizes), shares)
    if favour_largest:
        _give_all_classes_to_largest(splits, has, shares)
    _fill_empty_splits(splits, has, len(shares))
    return [int(split) for split in splits]


def _assign(has: Bools, sizes: Ints, shares: npt.NDArray[np.float64]) -> Ints:
    num_groups = len(has)
    images_of_class = (has * sizes[:, None]).sum(0)
    wanted = shares[:, None] * images_of_class  # (splits, classes) images a split still wants
    room = shares * sizes.sum()  # (splits,) images it still wants of any class
    splits = np.full(num_groups, UNASSIGNED)
    while (splits == UNASSIGNED).any():
        free = splits == UNASSIGNED
        num_left = (has & free[:, None]).sum(0)  # groups with each class
        if num_left.any():
            rarest = int(np.where(num_left > 0, num_left, num_groups + 1).argmin())
            groups = np.flatnonzero(free & has[:, rarest])
            need = wanted[:, rarest]  # a view: it changes while groups are assigned
        else:
            groups = np.flatnonzero(free)  # groups without any class
            need = room
        for group in groups:
            neediest = np.flatnonzero(need == need.max())
            split = neediest[room[neediest].argmax()]
            splits[group] = split
            wanted[split, has[group]] -= sizes[group]
            room[split] -= sizes[group]
    return splits


def _give_all_classes_to_largest(splits: Ints, has: Bools, shares: npt.NDArray[np.float64]) -> None:
    """Give the largest split a group of each class: what is not learned cannot be tested."""
    largest = int(shares.argmax())
    missing = ~has[splits == largest].any(0)
    for column in np.flatnonzero(missing):
        first_group = np.flatnonzero(has[:, column])[0]
        splits[first_group] = largest


def _fill_empty_splits(splits: Ints, has: Bools, num_splits: int) -> None:
    """Move a group into each empty split, if there are enough groups."""
    if len(splits) < num_splits:
        return
    for empty in np.setdiff1d(np.arange(num_splits), splits):
        fullest = np.bincount(splits, minlength=num_splits).argmax()
        groups = np.flatnonzero(splits == fullest)
        is_repeated = has[groups].sum(0) > 1
        can_leave = (~has[groups] | is_repeated).all(1)  # other groups have all of its classes
        splits[groups[can_leave.argmax()]] = empty
