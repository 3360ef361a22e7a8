import numpy as np
import pytest
import torch
from torch.nn import functional as F

from maskmill.canonical.categories import Categories, Category
from maskmill.canonical.panoptic import VOID_CATEGORY
from maskmill.postprocess.semantic import SemanticSegments
from maskmill.postprocess.torch_network import as_arrays
from strategies import CATEGORIES

NUCLEI = Categories([Category(5, "nucleus", True, (220, 90, 20))])


def logits_of(classes, num_classes, confidence=0.7):
    """Logits whose softmax is `confidence` for the given class, and equal for the others."""
    one_hot = F.one_hot(torch.tensor(classes), num_classes).permute(2, 0, 1).float()[None]
    others = (1 - confidence) / (num_classes - 1)
    return {"semantic": (one_hot * confidence + (1 - one_hot) * others).log()}


def predict(outputs, size, categories=CATEGORIES):
    (pred,) = SemanticSegments(categories=categories)(as_arrays(outputs), [size])
    return pred


def test_each_pixel_gets_the_id_of_its_most_likely_class():
    pred = predict(logits_of([[0, 1, 2], [0, 3, 3]], 4), (2, 3))
    # the category ids in the order of the table are 7, 0, 21 and 3
    assert pred.semantic.tolist() == [[7, 0, 21], [7, 3, 3]]
    assert pred.semantic.dtype == np.int32


def test_every_class_in_the_image_is_one_segment():
    pred = predict(logits_of([[3, 1, 3], [1, 1, 1]], 4), (2, 3))
    area_of = {segment.category_id: segment.area for segment in pred.panoptic.segments}
    assert len(pred.panoptic.segments) == 2
    assert area_of == {0: 4, 3: 2}
    np.testing.assert_array_equal(pred.panoptic.category_map(), pred.semantic)


def test_the_score_of_a_segment_is_the_mean_probability_of_its_class():
    pred = predict(logits_of([[3, 1, 3]], 4, confidence=0.6), (1, 3))
    scores = [segment.score for segment in pred.panoptic.segments]
    assert scores == pytest.approx([0.6, 0.6])


def test_the_confidence_is_the_softmax_of_the_most_likely_class():
    logits = 30 * torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(0))
    arrays = as_arrays({"semantic": logits.bfloat16(), "offset": logits[:, :2].bfloat16()})
    probs = logits.bfloat16().double().softmax(dim=1)
    np.testing.assert_array_equal(arrays["classes"], probs.argmax(dim=1))
    np.testing.assert_allclose(arrays["confidence"], probs.amax(dim=1), rtol=1e-6)
    assert (arrays["classes"].dtype, arrays["offset"].dtype) == (np.uint8, np.float32)


def test_background_is_not_a_segment():
    pred = predict(logits_of([[0, 1, 1]], 2), (1, 3), NUCLEI)
    assert pred.semantic.tolist() == [[5, VOID_CATEGORY, VOID_CATEGORY]]
    (segment,) = pred.panoptic.segments
    assert (segment.category_id, segment.area) == (5, 1)
    assert pred.panoptic.ids.tolist()[0][1:] == [0, 0]


def test_padding_is_removed():
    first_logits = logits_of([[0, 0], [1, 1]], 4)["semantic"]
    second_logits = logits_of([[2, 3], [3, 3]], 4)["semantic"]
    outputs = {"semantic": torch.cat([first_logits, second_logits])}
    first, second = SemanticSegments(categories=CATEGORIES)(as_arrays(outputs), [(2, 1), (1, 2)])
    assert first.semantic.tolist() == [[7], [0]]
    assert second.semantic.tolist() == [[21, 3]]
    assert second.panoptic.size == (1, 2)


def test_a_size_too_few_raises_a_value_error():
    logits = logits_of([[0, 0]], 4)["semantic"]
    with pytest.raises(ValueError, match="shorter"):
        predict({"semantic": torch.cat([logits, logits])}, (1, 2))
