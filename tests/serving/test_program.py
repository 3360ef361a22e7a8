import pytest
import torch
from torch import nn

from maskmill.networks.padding import at_any_size
from maskmill.serving.program import export_program, load_program


class Tiny(nn.Module):
    """A network of stride 8: a convolution and a transposed convolution."""

    stride = 8

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(3, 4, 8, stride=8)
        self.up = nn.ConvTranspose2d(4, 2, 8, stride=8)

    def forward(self, images):
        return at_any_size(self.body, images, self.stride)

    def body(self, images):
        return {"semantic": self.up(torch.relu(self.down(images.float())))}


@pytest.mark.parametrize("shape", [(1, 3, 17, 31), (3, 3, 64, 16), (2, 3, 5, 5)], ids=str)
def test_a_program_equals_the_network_at_sizes_other_than_the_exported_one(tmp_path, shape):
    torch.manual_seed(0)
    network = Tiny().eval()
    export_program(network, tmp_path)
    images = torch.randint(0, 255, shape, dtype=torch.uint8)
    with torch.inference_mode():
        expected = network(images)["semantic"]
        actual = load_program(tmp_path)(images)["semantic"]
    assert actual.shape == (shape[0], 2, *shape[2:])
    assert torch.equal(actual, expected)


def test_a_folder_without_a_program_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="register the model again"):
        load_program(tmp_path)
