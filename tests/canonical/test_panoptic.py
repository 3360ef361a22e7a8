import numpy as np
import pytest
from hypothesis import given

from maskmill.canonical.panoptic import MAX_ID, Panoptic
from strategies import id_maps, panoptics


@given(id_maps())
def test_areas_and_boxes_equal_those_of_each_mask(ids):
    values = np.unique(ids[ids > 0]).tolist()
    segments = Panoptic.from_ids(ids, dict.fromkeys(values, 7)).segments
    assert [segment.id for segment in segments] == values
    for segment in segments:
        y, x = np.nonzero(ids == segment.id)
        assert segment.area == len(y)
        width = x.max() - x.min() + 1
        height = y.max() - y.min() + 1
        assert segment.bbox == (x.min(), y.min(), width, height)


def test_a_segment_in_two_pieces_has_one_box():
    #    5 . 5      the box spans both pieces: x 0, y 0, w 3, h 2
    #    . . 5
    segment = Panoptic.from_ids(np.array([[5, 0, 5], [0, 0, 5]]), {5: 7}).segments[0]
    assert (segment.area, segment.bbox) == (3, (0, 0, 3, 2))


@given(panoptics())
def test_renumbering_keeps_every_pixels_category(panoptic):
    renumbered = panoptic.renumbered()
    assert np.array_equal(renumbered.category_map(), panoptic.category_map())
    new_ids = [segment.id for segment in renumbered.segments]
    assert new_ids == list(range(1, len(panoptic.segments) + 1))
    measured = Panoptic.from_ids(renumbered.ids, renumbered.category_of)
    assert measured.segments == renumbered.segments


@given(panoptics())
def test_exactly_void_pixels_have_no_category(panoptic):
    assert np.array_equal(panoptic.category_map() == -1, panoptic.ids == 0)


def test_segments_have_their_crowds_and_scores():
    panoptic = Panoptic.from_ids(
        np.array([[1, 2]]), {1: 21, 2: 21, 9: 3}, crowds={2}, scores={1: 0.5}
    )
    assert panoptic.crowds == {2}
    assert [segment.score for segment in panoptic.segments] == [0.5, None]
    assert panoptic.segments[0].as_dict() == {
        "id": 1,
        "category_id": 21,
        "area": 1,
        "bbox": [0, 0, 1, 1],
        "iscrowd": 0,
        "score": 0.5,
    }


BAD_MAPS = [
    pytest.param(
        np.zeros((2, 2, 3), int),
        "Expected an id map of shape (H, W) with pixels, but got shape (2, 2, 3)",
        id="colours",
    ),
    pytest.param(np.zeros((0, 4), int), "but got shape (0, 4)", id="no-pixel"),
    pytest.param(
        np.array([[-1, 1]]), f"Expected segment ids in 0..{MAX_ID}, but got -1..1", id="negative"
    ),
    pytest.param(
        np.array([[1, MAX_ID + 1]]),
        f"but got 1..{MAX_ID + 1} - renumber the segments",
        id="more-than-three-bytes",
    ),
    pytest.param(
        np.array([[1, 2, 3]]),
        "Expected every id of the map among the segments, but [2, 3] are not",
        id="unknown-id",
    ),
]


@pytest.mark.parametrize(("ids", "message"), BAD_MAPS)
def test_a_bad_id_map_is_refused(ids, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared below
        Panoptic.from_ids(ids, {1: 7})
    assert message in str(caught.value)
