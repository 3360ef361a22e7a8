import numpy as np
import pytest

from maskmill.canonical.panoptic import Panoptic
from maskmill.postprocess.prediction import Prediction
from maskmill.postprocess.semantic import ClassTable
from maskmill.postprocess.stitched_windows import StitchedWindows
from strategies import CATEGORIES

GROUND, SKY, BALL, BOX = (category.id for category in CATEGORIES)


class SegmentsByColour:
    """A post-processor for a network of queries that returns the colours of the image.

    Each red value is a segment, green is its category, and blue its score in percent.

    Args:
        rare: red values that become void in windows of which they fill less than a quarter.
    """

    def __init__(self, rare=()):
        self.table = ClassTable(CATEGORIES)
        self.rare = rare

    def __call__(self, outputs, sizes):
        predictions = []
        for colours, (height, width) in zip(outputs["colours"], sizes, strict=True):
            predictions.append(self.predict(colours[:, :height, :width]))
        return predictions

    def predict(self, colours):
        red, green, blue = colours.astype(np.int32)
        ids = red.copy()
        for value in self.rare:
            if (red == value).mean() < 0.25:
                ids[red == value] = 0
        category_of = {}
        scores = {}
        for value in np.unique(ids[ids > 0]).tolist():
            category_of[value] = int(green[red == value][0])
            scores[value] = float(blue[red == value][0]) / 100
        segments = Panoptic.from_ids(ids, category_of, scores=scores)
        return Prediction(green, segments, np.full(green.shape, 0.5, np.float32))


class QuarterOfTheThing(SegmentsByColour):
    """Predicts a whole thing where it starts, and elsewhere only one of four columns of it."""

    def predict(self, colours):
        starts_with_ground = colours[0, 0, 0] == 1
        if not starts_with_ground:
            colours = colours.copy()
            is_ground = np.arange(colours.shape[2]) % 4 > 0
            ground = np.array([1, GROUND, 50], np.uint8)
            colours[:, :, is_ground] = ground[:, None, None]
        return super().predict(colours)


def network(images):
    return {"colours": images}


def paint(height, width, *regions):
    """An image of ground (red 1) with regions (rows, columns, red, category)."""
    image = np.empty((height, width, 3), np.uint8)
    image[:] = (1, GROUND, 50)
    for rows, columns, red, category in regions:
        image[rows, columns] = (red, category, 80)
    return image


def predict(image, postprocess=None, **settings):
    inference = StitchedWindows(**{"window": (64, 64)} | settings)
    (prediction,) = inference(network, postprocess or SegmentsByColour(), [image], 1)
    return prediction


def segments_of(prediction, *category_ids):
    segments = prediction.panoptic.segments
    return [segment for segment in segments if segment.category_id in category_ids]


def areas(segments):
    return [segment.area for segment in segments]


def test_a_thing_across_four_windows_is_one_segment():
    rows = slice(20, 108)
    columns = slice(30, 120)
    image = paint(128, 150, (rows, columns, 2, BALL))
    prediction = predict(image)
    ground, ball = prediction.panoptic.segments
    assert (ground.category_id, ground.area) == (GROUND, 128 * 150 - 88 * 90)
    assert (ball.category_id, ball.area) == (BALL, 88 * 90)
    assert np.unique(prediction.panoptic.ids[rows, columns]).tolist() == [ball.id]
    np.testing.assert_array_equal(prediction.semantic, image[..., 1])
    assert [ground.score, ball.score] == pytest.approx([0.5, 0.8])


def test_adjacent_things_stay_separate():
    rows = slice(0, 64)
    first_ball = (rows, slice(20, 70), 2, BALL)
    second_ball = (rows, slice(70, 130), 3, BALL)
    box = (rows, slice(130, 150), 4, BOX)
    things = segments_of(predict(paint(64, 160, first_ball, second_ball, box)), BALL, BOX)
    assert [segment.category_id for segment in things] == [BALL, BALL, BOX]
    assert [segment.bbox for segment in things] == [
        (20, 0, 50, 64),
        (70, 0, 60, 64),
        (130, 0, 20, 64),
    ]


def test_a_stuff_class_is_one_segment():
    left_sky = (slice(0, 64), slice(0, 20), 2, SKY)
    right_sky = (slice(0, 64), slice(280, 300), 3, SKY)
    prediction = predict(paint(64, 300, left_sky, right_sky))
    assert len(segments_of(prediction, SKY)) == 1
    assert len(segments_of(prediction, GROUND)) == 1


def test_a_pixel_gets_the_segment_of_the_window_whose_middle_is_nearest():
    # The windows are 0..64, 32..96 and 64..128, and their own pixels end at 48, 80 and 128.
    # The second window does not predict the 8 px of the thing that it contains.
    image = paint(64, 128, (slice(0, 64), slice(0, 40), 2, BALL))
    (ball,) = segments_of(predict(image, SegmentsByColour(rare=[2])), BALL)
    assert (ball.area, ball.bbox) == (64 * 40, (0, 0, 40, 64))


@pytest.mark.parametrize(
    ("min_iou", "expected"), [(0.5, [64 * 40, 64 * 12]), (0.25, [64 * 52])], ids=str
)
def test_things_join_from_the_minimum_iou_in_the_overlap(min_iou, expected):
    # The first window decides 48 px, and 40 of them are the thing. The second decides 48 px, and
    # predicts 12 of them. In the overlap it predicts 8 of 32 px: an IoU of 1/4.
    image = paint(64, 96, (slice(0, 64), slice(8, 96), 2, BALL))
    prediction = predict(image, QuarterOfTheThing(), min_iou=min_iou)
    assert areas(segments_of(prediction, BALL)) == expected


def test_nothing_is_joined_without_overlap():
    image = paint(64, 128, (slice(0, 64), slice(30, 100), 2, BALL))
    balls = segments_of(predict(image, overlap=0.0), BALL)
    assert sorted(areas(balls)) == [64 * 34, 64 * 36]


@pytest.mark.parametrize("size", [(97, 131), (20, 30), (64, 65)], ids=str)
def test_predictions_have_the_size_of_the_image_and_ids_from_1(size):
    prediction = predict(paint(*size, (slice(3, 15), slice(3, 25), 9, BOX)))
    assert prediction.panoptic.size == size
    assert prediction.semantic.shape == size
    assert [segment.id for segment in prediction.panoptic.segments] == [1, 2]


@pytest.mark.parametrize("min_iou", [0.0, 1.1, float("nan")])
def test_a_minimum_iou_out_of_range_raises_a_value_error(build_from_config, min_iou):
    target = "stitched_windows.StitchedWindows"
    with pytest.raises(ValueError, match=r"node\.min_iou: expected float, but got"):
        build_from_config(target, window=[64, 64], min_iou=min_iou)


def test_the_network_gets_one_window_at_a_time():
    shapes = []

    def recording_network(images):
        shapes.append((len(images), *images.shape[-2:]))
        return {"colours": images}

    inference = StitchedWindows((64, 64))
    next(inference(recording_network, SegmentsByColour(), [paint(64, 100)], 1))
    assert shapes == [(1, 64, 64), (1, 64, 64), (1, 64, 36)]
