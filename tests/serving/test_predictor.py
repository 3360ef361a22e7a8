import numpy as np

from maskmill.postprocess.semantic import SemanticSegments
from maskmill.serving.predictor import Predictor
from strategies import CATEGORIES


def brightness(images):
    """A minimal network: the class of a pixel is its red value."""
    classes = images[:, 0]
    return {"classes": classes, "confidence": np.ones(classes.shape, np.float32)}


def image(height, width, value):
    return np.full((height, width, 3), value, np.uint8)


IMAGES = [image(4, 6, 0), image(4, 6, 1), image(5, 3, 2), image(4, 6, 3), image(4, 6, 1)]


def test_predictions_have_the_order_and_sizes_of_the_images():
    predictor = Predictor(brightness, SemanticSegments(categories=CATEGORIES))
    maps = [prediction.semantic for prediction in predictor(IMAGES, batch_size=2)]
    assert [array.shape for array in maps] == [(4, 6), (4, 6), (5, 3), (4, 6), (4, 6)]
    corners = [int(array[0, 0]) for array in maps]
    assert corners == CATEGORIES.ids[[0, 1, 2, 3, 1]].tolist()


def test_images_of_one_size_share_a_forward_pass_whatever_lies_between_them():
    seen = []

    def network(images):
        seen.append(tuple(images.shape))
        return brightness(images)

    list(Predictor(network, SemanticSegments(categories=CATEGORIES))(IMAGES, batch_size=4))
    assert seen == [(3, 3, 4, 6), (1, 3, 5, 3), (1, 3, 4, 6)]


def test_the_result_does_not_depend_on_the_batch_size():
    predictor = Predictor(brightness, SemanticSegments(categories=CATEGORIES))
    single = list(predictor(IMAGES, batch_size=1))
    batched = list(predictor(IMAGES, batch_size=5))
    for one, other in zip(single, batched, strict=True):
        assert np.array_equal(one.panoptic.ids, other.panoptic.ids)
