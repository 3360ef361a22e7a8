import numpy as np
import torch

from maskmill.postprocess.semantic import SemanticSegments
from maskmill.serving.predictor import Predictor
from strategies import CATEGORIES


def brightness(images):
    """A network of a sort: the class of a pixel is its red value."""
    return {
        "semantic": torch.nn.functional.one_hot(images[:, 0].long(), 4).permute(0, 3, 1, 2).float()
    }


def image(height, width, value):
    return np.full((height, width, 3), value, np.uint8)


IMAGES = [image(4, 6, 0), image(4, 6, 1), image(5, 3, 2), image(4, 6, 3), image(4, 6, 1)]


def test_predictions_come_in_order_and_at_the_size_of_each_image():
    predictor = Predictor(brightness, SemanticSegments(categories=CATEGORIES))
    maps = [prediction.semantic for prediction in predictor(IMAGES, batch_size=2)]
    assert [each.shape for each in maps] == [each.shape[:2] for each in IMAGES]
    assert [int(each[0, 0]) for each in maps] == [
        CATEGORIES.ids[value] for value in (0, 1, 2, 3, 1)
    ]


def test_images_of_several_sizes_never_share_a_batch():
    seen = []

    def network(images):
        seen.append(tuple(images.shape))
        return brightness(images)

    list(Predictor(network, SemanticSegments(categories=CATEGORIES))(IMAGES, batch_size=8))
    assert seen == [(2, 3, 4, 6), (1, 3, 5, 3), (2, 3, 4, 6)]


def test_the_result_does_not_depend_on_the_batch_size():
    predictor = Predictor(brightness, SemanticSegments(categories=CATEGORIES))
    one, many = (list(predictor(IMAGES, batch_size=size)) for size in (1, 5))
    for left, right in zip(one, many, strict=True):
        assert np.array_equal(left.panoptic.ids, right.panoptic.ids)
