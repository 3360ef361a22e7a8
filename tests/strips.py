"""Label maps of one row, written as text: what a person can count."""

import numpy as np

from maskmill.canonical.categories import Categories, Category
from maskmill.canonical.panoptic import Panoptic

# Strips: a letter is a segment, `.` is void. A-C and a-c are cats, X and Y dogs, # a crowd of cats.
CAT, DOG = 5, 2
PETS = Categories(
    [Category(CAT, "cat", True, (200, 0, 0)), Category(DOG, "dog", True, (0, 0, 200))]
)


def strip(text):
    ids = np.array([[0 if letter == "." else ord(letter) for letter in text]], np.int32)
    return Panoptic.from_ids(
        ids,
        {ord(letter): DOG if letter in "XYxy" else CAT for letter in set(text)},
        crowds={ord("#"), ord("%")},
    )
