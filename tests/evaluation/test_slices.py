import logging

import cv2
import numpy as np
import pytest

from maskmill.canonical.folder import ImageRecord
from maskmill.canonical.png import write_rgb
from maskmill.evaluation.slices import by_brightness, by_crowding, mean_luma, read_tags

IMAGES = ["a.png", "b.png", "c.png"]


def tags(tmp_path, text):
    (tmp_path / "tags.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    return read_tags(tmp_path / "tags.csv", IMAGES)


def test_images_are_cut_by_their_number_of_objects():
    slicing = by_crowding(np.array([0, 1, 4, 5, 19, 20, 300]))
    assert {name: places.tolist() for name, places in slicing.indices().items()} == {
        "0 objects": [0],
        "1-4 objects": [1, 2],
        "5-9 objects": [3],
        "10-19 objects": [4],
        "20 objects or more": [5, 6],
    }


def test_images_are_cut_in_thirds_by_brightness():
    slicing = by_brightness(np.array([10.0, 200.0, 100.0, np.nan, 20.0, 110.0, 210.0]))
    dark, medium, bright, none = slicing.indices().values()
    assert [part.tolist() for part in (dark, medium, bright, none)] == [[0, 4], [2, 5], [1, 6], [3]]
    assert list(slicing.indices())[3] == "no image"


def test_images_of_one_brightness_are_all_in_the_middle_and_without_images_there_is_no_slicing():
    assert [len(part) for part in by_brightness(np.full(5, 77.0)).indices().values()] == [5]
    assert by_brightness(np.full(5, np.nan)) is None


@pytest.mark.parametrize("workers", [1, 2])
def test_luma_weighs_green_most_and_is_nan_where_the_image_is_not(tmp_path, workers):
    for name, color in (("red", (255, 0, 0)), ("green", (0, 255, 0)), ("gray", (50, 50, 50))):
        write_rgb(tmp_path / f"{name}.png", np.full((4, 4, 3), color, np.uint8))
    records = [ImageRecord(1, f"{name}.png", 4, 4) for name in ("red", "green", "gray", "nowhere")]
    luma = mean_luma(tmp_path, records, workers=workers)
    assert luma[:3] == pytest.approx(
        [0.299 * 255, 0.587 * 255, 50], abs=1
    )  # OpenCV cuts to whole levels
    assert np.isnan(luma[3])


def test_an_image_that_does_not_decode_is_an_error(tmp_path):
    (tmp_path / "a.png").write_bytes(
        cv2.imencode(".png", np.zeros((4, 4), np.uint8))[1].tobytes()[:20]
    )
    with pytest.raises(ValueError, match=r"a\.png: expected an image"):
        mean_luma(tmp_path, [ImageRecord(1, "a.png", 4, 4)])


def test_each_column_of_tags_is_a_slicing_and_images_without_a_tag_are_named(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        weather, camera = tags(
            tmp_path, "\ufeffimage,weather,camera\nc.png,sun,\na.png,rain,left\n"
        )
    assert (weather.name, weather.slice_of) == ("weather", ("rain", "untagged", "sun"))
    assert (camera.name, camera.slice_of) == ("camera", ("left", "untagged", "untagged"))
    assert "1 of 3 images have no row and are untagged: b.png" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected the header image,<tag>"),
        ("image\na.png\n", "expected the header image,<tag>"),
        ("file,weather\na.png,sun\n", "expected the header .* but got 'file,weather'"),
        ("image,a,a\na.png,1,2\n", "different names"),
        ("image,a\nz.png,1\n", r"such as 'a\.png', but \['z\.png'\] are not among them"),
        ("image,a\na.png,1\na.png,2\n", "some are listed twice"),
        ("image,a\na.png,Z\udcfcrich\n", r"tags\.csv: expected a CSV file of tags in UTF-8"),
        ("image,a\na.png," + "1" * 200_000, r"tags\.csv: expected CSV, but found: field larger"),
        ("image,a\na.png,1,2\n", "expected 2 cells in each row, but row 2"),
    ],
)
def test_invalid_tags_are_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        tags(tmp_path, text)


def test_a_tag_with_too_many_values_is_refused(tmp_path):
    images = [f"{place}.png" for place in range(60)]
    (tmp_path / "tags.csv").write_text(
        "image,speed\n" + "".join(f"{name},{place}\n" for place, name in enumerate(images))
    )
    with pytest.raises(
        ValueError, match="at most 50 values of tag 'speed', but got 60 - group them"
    ):
        read_tags(tmp_path / "tags.csv", images)
