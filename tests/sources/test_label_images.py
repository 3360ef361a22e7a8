import numpy as np
import pytest
from PIL import Image
from scipy import io

from maskmill.canonical.categories import Categories
from maskmill.sources.label_images import ColorImage, IndexImage, MatlabMatrix

TABLE = Categories.from_list(
    [
        {"id": 3, "name": "crop", "color": [0, 255, 0]},
        {"id": 9, "name": "weed", "color": [255, 0, 0]},
    ]
)
CLASSES = np.array([[3, 3, 9], [9, 3, 255]], np.uint8)


def test_gray_levels_and_palette_indices_are_classes(tmp_path):
    Image.fromarray(CLASSES).save(tmp_path / "gray.png")
    palette = Image.fromarray(CLASSES, mode="P")
    palette.putpalette(np.random.default_rng(0).integers(0, 255, 768, np.uint8).tobytes())
    palette.save(tmp_path / "palette.png")
    assert np.array_equal(IndexImage().read(tmp_path / "gray.png", TABLE), CLASSES)
    assert np.array_equal(IndexImage().read(tmp_path / "palette.png", TABLE), CLASSES)


def save_colors(path, colors):
    Image.fromarray(np.array(colors, np.uint8)).save(path)
    return path


GREEN, RED, WHITE, MIX = [0, 255, 0], [255, 0, 0], [255, 255, 255], [128, 128, 0]


def test_colours_are_classes(tmp_path):
    path = save_colors(tmp_path / "a.png", [[GREEN, GREEN, RED], [RED, GREEN, WHITE]])
    classes = ColorImage([(255, 255, 255)]).read(path, TABLE)
    assert classes.tolist() == [[3, 3, 9], [9, 3, -1]]
    assert ColorImage.void_ids == {-1}


def test_an_unknown_colour_is_named(tmp_path):
    path = save_colors(tmp_path / "a.png", np.full((5, 5, 3), 255))
    with pytest.raises(
        ValueError,
        match=r"a.png: expected colours of the category table, but got \[\(255, 255, 255\)\] -",
    ):
        ColorImage().read(path, TABLE)


def test_mixed_colours_along_a_border_get_a_message_of_their_own(tmp_path):
    path = save_colors(tmp_path / "a.png", [[GREEN, MIX, RED, RED]] * 4)
    with pytest.raises(ValueError, match=r"got \[\(128, 128, 0\)\]: stray values along borders"):
        ColorImage().read(path, TABLE)


def test_a_colour_for_two_classes_is_refused(tmp_path):
    with pytest.raises(ValueError, match="two have the same"):
        ColorImage([(0, 255, 0)]).read(save_colors(tmp_path / "a.png", [[GREEN]]), TABLE)


def test_a_matlab_matrix_is_classes(tmp_path):
    io.savemat(tmp_path / "a.mat", {"groundtruth": CLASSES})
    assert np.array_equal(MatlabMatrix("groundtruth").read(tmp_path / "a.mat", TABLE), CLASSES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"other": CLASSES}, "called 'groundtruth', but got .'other'."),
        ({"groundtruth": CLASSES.astype(float)}, "got float64"),
        ({"groundtruth": np.zeros((2, 2, 2), np.uint8)}, r"shape \(2, 2, 2\)"),
    ],
)
def test_another_matlab_file_is_refused(tmp_path, content, message):
    io.savemat(tmp_path / "a.mat", content)
    with pytest.raises(ValueError, match=message):
        MatlabMatrix("groundtruth").read(tmp_path / "a.mat", TABLE)


def test_the_message_for_a_matlab_7_3_file_says_what_to_do(tmp_path):
    (tmp_path / "a.mat").write_bytes(
        b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n\x1a\n" * 20
    )
    with pytest.raises(ValueError, match="save it with '-v7'"):
        MatlabMatrix("groundtruth").read(tmp_path / "a.mat", TABLE)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a.mat: expected labels, but"):
        MatlabMatrix("groundtruth").read(tmp_path / "a.mat", TABLE)
