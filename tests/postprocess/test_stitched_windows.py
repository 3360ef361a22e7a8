import numpy as np
import pytest
import torch

from maskmill.canonical.panoptic import Panoptic
from maskmill.postprocess.prediction import Prediction
from maskmill.postprocess.semantic import ClassTable
from maskmill.postprocess.stitched_windows import StitchedWindows
from strategies import CATEGORIES

GROUND, SKY, BALL, BOX = (category.id for category in CATEGORIES)


class ByColour:
    """Segments as a network of queries gives them: one for each red value; green is its category and blue its score in percent.

    `blind` red values are not seen by windows of which they fill less than a quarter.
    """

    def __init__(self, blind=()):
        self.table, self.blind = ClassTable(CATEGORIES), blind

    def __call__(self, outputs, sizes):
        return [
            self.predict(each[:, :height, :width])
            for each, (height, width) in zip(outputs["colours"], sizes, strict=True)
        ]

    def predict(self, colours):
        red, green, blue = colours.numpy().astype(np.int32)
        ids = np.where(
            np.isin(red, [value for value in self.blind if (red == value).mean() < 0.25]), 0, red
        )
        category_of = {int(value): int(green[red == value][0]) for value in np.unique(ids[ids > 0])}
        scores = {value: float(blue[red == value][0]) / 100 for value in category_of}
        return Prediction(green, Panoptic.from_ids(ids, category_of, scores=scores))


def network(batch):
    return {"colours": batch}


def painted(height, width, *regions):
    """An image of ground (red 1) with regions (rows, columns, red, category)."""
    image = np.empty((height, width, 3), np.uint8)
    image[:] = (1, GROUND, 50)
    for rows, columns, red, category in regions:
        image[rows, columns] = (red, category, 80)
    return image


def stitched(image, **settings):
    blind = settings.pop("blind", ())
    (prediction,) = StitchedWindows(**{"window": (64, 64)} | settings)(
        network, ByColour(blind), [image], 1
    )
    return prediction


def test_a_thing_lying_across_four_windows_is_one():
    where = slice(20, 108), slice(30, 120)
    image = painted(128, 150, (*where, 2, BALL))
    prediction = stitched(image)
    assert [(s.category_id, s.area) for s in prediction.panoptic.segments] == [
        (GROUND, 128 * 150 - 88 * 90),
        (BALL, 88 * 90),
    ]
    assert len(np.unique(prediction.panoptic.ids[where])) == 1
    np.testing.assert_array_equal(prediction.semantic, image[..., 1])
    assert [s.score for s in prediction.panoptic.segments] == pytest.approx([0.5, 0.8])


def test_things_side_by_side_stay_two_and_those_of_other_categories_too():
    image = painted(
        64,
        160,
        (slice(0, 64), slice(20, 70), 2, BALL),
        (slice(0, 64), slice(70, 130), 3, BALL),
        (slice(0, 64), slice(130, 150), 4, BOX),
    )
    things = [s for s in stitched(image).panoptic.segments if CATEGORIES[s.category_id].isthing]
    assert [(s.category_id, s.bbox) for s in things] == [
        (BALL, (20, 0, 50, 64)),
        (BALL, (70, 0, 60, 64)),
        (BOX, (130, 0, 20, 64)),
    ]


def test_a_stuff_class_is_one_segment_wherever_it_is():
    image = painted(
        64, 300, (slice(0, 64), slice(0, 20), 2, SKY), (slice(0, 64), slice(280, 300), 3, SKY)
    )
    assert sorted(s.category_id for s in stitched(image).panoptic.segments) == sorted([SKY, GROUND])


def test_where_one_window_sees_nothing_the_owner_of_the_pixel_decides():
    # windows 0..64, 32..96 and 64..128 decide up to 48, to 80 and to 128; the second is blind to the 8 px it has of the thing
    image = painted(64, 128, (slice(0, 64), slice(0, 40), 2, BALL))
    (thing,) = [s for s in stitched(image, blind=[2]).panoptic.segments if s.category_id == BALL]
    assert (thing.area, thing.bbox) == (64 * 40, (0, 0, 40, 64))


def test_windows_that_disagree_do_not_join():
    class Half(ByColour):
        """Sees the thing whole where it begins, and one px of each four elsewhere."""

        def predict(self, colours):
            if colours[0, 0, 0] != 1:
                colours = colours.clone()
                colours[:, :, torch.arange(colours.shape[2]) % 4 > 0] = torch.tensor(
                    [1, GROUND, 50], dtype=torch.uint8
                )[:, None, None]
            return super().predict(colours)

    image = painted(64, 96, (slice(0, 64), slice(8, 96), 2, BALL))
    (prediction,) = StitchedWindows((64, 64))(network, Half(), [image], 1)
    # the first window decides 48 px, 40 of them the thing; the second sees 12 of its 48, and 8 of 32 where both look: an IoU of 1/4
    assert [s.area for s in prediction.panoptic.segments if s.category_id == BALL] == [
        64 * 40,
        64 * 12,
    ]
    (prediction,) = StitchedWindows((64, 64), min_iou=0.25)(network, Half(), [image], 1)
    assert [s.area for s in prediction.panoptic.segments if s.category_id == BALL] == [64 * 52]


def test_without_overlap_nothing_can_be_joined():
    image = painted(64, 128, (slice(0, 64), slice(30, 100), 2, BALL))
    assert sorted(
        s.area for s in stitched(image, overlap=0.0).panoptic.segments if s.category_id == BALL
    ) == [64 * 34, 64 * 36]


def test_ids_are_one_to_n_and_every_size_comes_out_as_it_went_in():
    for size in [(97, 131), (20, 30), (64, 65)]:
        prediction = stitched(painted(*size, (slice(3, 15), slice(3, 25), 9, BOX)))
        assert prediction.panoptic.size == prediction.semantic.shape == size
        assert [s.id for s in prediction.panoptic.segments] == [1, 2]


@pytest.mark.parametrize("min_iou", [0.0, 1.1, float("nan")])
def test_an_iou_out_of_range_is_refused(min_iou):
    with pytest.raises(ValueError, match="`min_iou`"):
        StitchedWindows((64, 64), min_iou=min_iou)


def test_the_network_gets_one_window_after_the_other():
    sizes = []

    def watched(batch):
        sizes.append(tuple(batch.shape[-2:]))
        return {"colours": batch}

    next(StitchedWindows((64, 64))(watched, ByColour(), [painted(64, 100)], 1))
    assert sizes == [(64, 64), (64, 64), (64, 36)]
