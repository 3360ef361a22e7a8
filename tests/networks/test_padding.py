import pytest
import torch

from maskmill.networks.padding import at_any_size

STRIDE = 8


def body(images):
    """The images, and maps that contain the height and width that the body received."""
    height, width = images.shape[2:]
    assert height % STRIDE == 0
    assert width % STRIDE == 0
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
        ((8, 16), (16, 16)),  # at least two strides in each direction
    ],
    ids=str,
)
def test_body_gets_multiples_of_its_stride_and_outputs_have_the_size_of_the_images(size, padded):
    images = torch.rand(2, 3, *size)
    outputs = at_any_size(body, images, STRIDE)
    assert torch.equal(outputs["image"], images)
    assert outputs["height"].unique().item() == padded[0]
    assert outputs["width"].unique().item() == padded[1]
