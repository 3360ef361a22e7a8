import resource

import numpy as np
import pytest
from hypothesis import given

from maskmill.canonical.png import (
    ids_to_rgb,
    read_ids,
    read_labels,
    read_rgb,
    rgb_to_ids,
    write_ids,
    write_labels,
    write_rgb,
)
from strategies import id_maps


@given(id_maps())
def test_decoding_the_colours_of_ids_returns_the_ids(ids):
    assert np.array_equal(rgb_to_ids(ids_to_rgb(ids)), ids)


@given(id_maps())
def test_a_pixel_encodes_its_id_as_in_coco(ids):
    red, green, blue = ids_to_rgb(ids).astype(np.int64).transpose(2, 0, 1)
    assert np.array_equal(red + 256 * green + 256**2 * blue, ids)


@given(id_maps())
def test_reading_written_ids_returns_them(tmp_path_factory, ids):
    path = tmp_path_factory.mktemp("ids") / "a.png"
    assert np.array_equal(read_ids(write_ids(path, ids)), ids)


@pytest.mark.parametrize("highest", [0, 255, 256, 65535])
def test_reading_written_labels_of_8_or_16_bits_returns_them(tmp_path, highest):
    labels = np.array([[0, highest]], np.int32)
    assert read_labels(write_labels(tmp_path / "a.png", labels)).tolist() == labels.tolist()


def test_reading_a_written_image_returns_its_colours(tmp_path):
    rgb = np.array([[[1, 2, 3], [250, 0, 7]]], np.uint8)
    assert np.array_equal(read_rgb(write_rgb(tmp_path / "a.png", rgb)), rgb)


@pytest.mark.parametrize("label", [-1, 65536])
def test_labels_outside_16_bits_are_refused(tmp_path, label):
    with pytest.raises(ValueError, match=r"expected labels in 0..65535, but got"):
        write_labels(tmp_path / "a.png", np.array([[0, label]]).cumsum(axis=1))
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_an_image_is_refused_with_its_path(tmp_path):
    (tmp_path / "a.png").write_bytes(b"not a picture")
    with pytest.raises(
        ValueError,
        match=r"a\.png: expected an image, but its 13 bytes do not decode - replace the file",
    ):
        read_rgb(tmp_path / "a.png")


def test_a_missing_image_is_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"b\.png: expected an image here, but there is none"
    ):
        read_rgb(tmp_path / "b.png")


def test_labels_with_several_channels_are_refused(tmp_path):
    write_rgb(tmp_path / "a.png", np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(ValueError, match="expected one channel of labels"):
        read_labels(tmp_path / "a.png")


def test_gray_ids_are_refused(tmp_path):
    write_labels(tmp_path / "a.png", np.zeros((2, 2), np.uint8))
    with pytest.raises(ValueError, match="expected an 8-bit RGB PNG of panoptic ids"):
        read_ids(tmp_path / "a.png")


def test_a_chunk_that_claims_more_than_the_file_takes_no_memory(tmp_path):
    path = tmp_path / "ids.png"
    write_ids(path, np.zeros((96, 160), np.int32))
    content = bytearray(path.read_bytes())
    data = content.index(b"IDAT")
    content[data - 4] = 0x20  # the length of the chunk: 512 MB more
    path.write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match="do not decode - replace the file"):
        read_ids(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


@pytest.mark.parametrize("cut", [1, 12, 40])
def test_an_image_without_its_last_bytes_is_refused(tmp_path, cut):
    path = tmp_path / "ids.png"
    write_ids(path, np.arange(96 * 160, dtype=np.int32).reshape(96, 160))
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(ValueError, match="do not decode - replace the file"):
        read_ids(path)
