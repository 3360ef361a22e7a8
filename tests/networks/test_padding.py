import pytest
import torch

from maskmill.networks.padding import at_any_size

STRIDE = 8


def body(images):
    """Each pixel's own value, and the size it was computed at."""
    assert images.shape[2] % STRIDE == images.shape[3] % STRIDE == 0
    height, width = images.shape[2:]
    return {
        "image": images,
        "height": torch.full_like(images, height),
        "width": torch.full_like(images, width),
    }


@pytest.mark.parametrize(
    ("size", "padded"),
    [
        ((16, 24), (16, 24)),
        ((17, 25), (24, 32)),
        ((1, 23), (16, 24)),
        ((8, 16), (16, 16)),
    ],  # at least two strides each way
    ids=str,
)
def test_the_body_sees_multiples_of_its_stride_and_the_result_has_the_images_size(size, padded):
    images = torch.rand(2, 3, *size)
    outputs = at_any_size(body, images, STRIDE)
    assert torch.equal(outputs["image"], images)
    assert outputs["height"].unique().item() == padded[0]
    assert outputs["width"].unique().item() == padded[1]
