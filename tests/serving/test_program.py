from itertools import product, starmap

import pytest
import torch
from timm.layers import padding

from maskmill.serving.program import export_program, exportable_padding, load_program
from strided_network import StridedNetwork


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 3, 17, 31), (3, 3, 64, 16), (2, 3, 5, 5)], ids=str)
def test_a_program_equals_the_network_at_sizes_other_than_the_exported_one(tmp_path, shape):
    torch.manual_seed(0)
    network = StridedNetwork().eval()
    export_program(network, tmp_path)
    images = torch.randint(0, 255, shape, dtype=torch.uint8)
    with torch.inference_mode():
        expected = network(images)["semantic"]
        actual = load_program(tmp_path)(images)["semantic"]
    assert actual.shape == (shape[0], 2, *shape[2:])
    assert torch.equal(actual, expected)


def test_the_padding_of_a_program_is_that_of_timm():
    cases = list(product(range(1, 70), (1, 2, 3, 5, 7), (1, 2, 3, 4), (1, 2)))  # size, kernel, ...
    expected = list(starmap(padding.get_same_padding, cases))
    with exportable_padding():
        assert list(starmap(padding.get_same_padding, cases)) == expected


def test_a_folder_without_a_program_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="register the model again"):
        load_program(tmp_path)
