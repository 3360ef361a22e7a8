import numpy as np
import pytest
import torch

from maskmill.canonical.categories import Categories, Category
from maskmill.canonical.panoptic import VOID_CATEGORY
from maskmill.postprocess.semantic import SemanticSegments
from strategies import CATEGORIES

NUCLEI = Categories([Category(5, "nucleus", True, (220, 90, 20))])


def outputs(classes, num_classes, confidence=0.7):
    """Logits whose softmax gives the wanted class `confidence` and the others the rest."""
    one_hot = (
        torch.nn.functional.one_hot(torch.tensor(classes), num_classes)
        .permute(2, 0, 1)
        .float()[None]
    )
    others = (1 - confidence) / (num_classes - 1)
    return {"semantic": (one_hot * confidence + (1 - one_hot) * others).log()}


def test_each_pixel_gets_the_id_of_its_likeliest_class():
    (pred,) = SemanticSegments(categories=CATEGORIES)(outputs([[0, 1, 2], [0, 3, 3]], 4), [(2, 3)])
    assert pred.semantic.tolist() == [
        [7, 0, 21],
        [7, 3, 3],
    ]  # the table's ids in its order: 7, 0, 21, 3
    assert pred.semantic.dtype == np.int32


def test_every_class_present_is_one_segment():
    (pred,) = SemanticSegments(categories=CATEGORIES)(outputs([[3, 1, 3], [1, 1, 1]], 4), [(2, 3)])
    assert {(segment.category_id, segment.area) for segment in pred.panoptic.segments} == {
        (0, 4),
        (3, 2),
    }
    np.testing.assert_array_equal(pred.panoptic.category_map(), pred.semantic)


def test_the_score_of_a_segment_is_the_mean_probability_of_its_class():
    (pred,) = SemanticSegments(categories=CATEGORIES)(
        outputs([[3, 1, 3]], 4, confidence=0.6), [(1, 3)]
    )
    assert [segment.score for segment in pred.panoptic.segments] == pytest.approx([0.6, 0.6])


def test_background_is_no_segment():
    (pred,) = SemanticSegments(categories=NUCLEI)(outputs([[0, 1, 1]], 2), [(1, 3)])
    assert pred.semantic.tolist() == [[5, VOID_CATEGORY, VOID_CATEGORY]]
    assert [(segment.category_id, segment.area) for segment in pred.panoptic.segments] == [(5, 1)]
    assert pred.panoptic.ids.tolist()[0][1:] == [0, 0]


def test_padding_is_cut_off():
    both = torch.cat(
        [outputs([[0, 0], [1, 1]], 4)["semantic"], outputs([[2, 3], [3, 3]], 4)["semantic"]]
    )
    first, second = SemanticSegments(categories=CATEGORIES)({"semantic": both}, [(2, 1), (1, 2)])
    assert first.semantic.tolist() == [[7], [0]]
    assert second.semantic.tolist() == [[21, 3]]
    assert second.panoptic.size == (1, 2)
