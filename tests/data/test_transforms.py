import albumentations as A
import numpy as np
import pytest

from maskmill.data.transforms import Augmentation

IMAGE = np.arange(40 * 60 * 3, dtype=np.uint32).astype(np.uint8).reshape(40, 60, 3)
IDS = np.zeros((40, 60), np.int32)
IDS[:20, :30] = 70_000  # more than 16 bits, as in COCO
IDS[20:, 10:50] = 16_000_001


def crop(**overrides):
    settings = {"size": (24, 32), "scale": (0.3, 1.0), "mask_interpolation": 0}
    return Augmentation([A.RandomResizedCrop(**settings | overrides), A.HorizontalFlip(p=0.5)])


def test_ids_survive_crop_flip_and_scaling():
    for index in range(20):
        _, ids = crop()(IMAGE, IDS, (0, 0, index))
        assert set(np.unique(ids)) <= {0, 70_000, 16_000_001}
        assert ids.dtype == np.int32
        assert ids.shape == (24, 32)


def test_image_and_ids_move_together():
    painted = np.zeros((*IDS.shape, 3), np.uint8)
    painted[IDS == 70_000] = 200
    painted[IDS == 16_000_001] = 90
    # Nearest neighbour for the image too, so that colours and ids must agree in every pixel.
    augment = crop(interpolation=0)
    for index in range(20):
        image, ids = augment(painted, IDS, (0, 0, index))
        assert np.array_equal(image[..., 0] == 200, ids == 70_000)
        assert np.array_equal(image[..., 0] == 90, ids == 16_000_001)


def test_a_draw_depends_only_on_its_seed_and_not_on_earlier_draws():
    first = crop()
    other = crop()
    other(IMAGE, IDS, (9, 9, 9))
    assert np.array_equal(first(IMAGE, IDS, (1, 2, 3))[0], other(IMAGE, IDS, (1, 2, 3))[0])
    assert not np.array_equal(first(IMAGE, IDS, (1, 2, 3))[0], first(IMAGE, IDS, (1, 2, 4))[0])


def test_an_interpolating_mask_is_refused():
    with pytest.raises(
        ValueError, match=r"RandomResizedCrop interpolates masks - set mask_interpolation: 0"
    ):
        crop(mask_interpolation=1)


def test_an_object_that_is_not_a_transform_is_refused():
    with pytest.raises(ValueError, match="albumentations transforms"):
        Augmentation(["HorizontalFlip"])
