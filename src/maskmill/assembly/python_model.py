"""`from maskmill import load_model`: a model in Python, which takes images and gives segments."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from maskmill.assembly import model_loading
from maskmill.assembly.settings import Runtime
from maskmill.assembly.unchanged_process import unchanged_process
from maskmill.canonical.categories import Categories
from maskmill.canonical.png import RGB
from maskmill.postprocess.prediction import Prediction
from maskmill.sources.finding import Findings
from maskmill.sources.image_decoding import require_file
from maskmill.sources.images import decode_photo

log = logging.getLogger(__name__)

Image = str | os.PathLike[str] | npt.NDArray[np.uint8]  # a file or an array


class Model:
    """A model that is ready to predict.

    Args:
        loaded: its network, post-processing and description.

    Example:
        >>> from maskmill.postprocess.semantic import SemanticSegments
        >>> from maskmill.serving.model_files import ModelFiles
        >>> from maskmill.serving.predictor import Predictor
        >>> rows = [{"id": 7, "name": "road", "isthing": 0}, {"id": 9, "name": "sky", "isthing": 0}]
        >>> categories = Categories.from_list(rows)
        >>> def network(images):  # bright pixels are sky
        ...     classes = images[:, 0] // 128  # (B, H, W)
        ...     return {"classes": classes, "confidence": np.ones(classes.shape, np.float32)}
        >>> predictor = Predictor(network, SemanticSegments(categories=categories))
        >>> files = ModelFiles(Path("model.json"), {}, categories, "", "")
        >>> model = Model(model_loading.LoadedModel(predictor, files))  # as `load_model` returns it
        >>> image = np.array([[[10, 0, 0], [10, 0, 0], [200, 0, 0]]], np.uint8)
        >>> prediction = model(image)
        >>> prediction.semantic
        array([[7, 7, 9]], dtype=int32)
        >>> for segment in prediction.panoptic.segments:
        ...     print(model.categories[segment.category_id].name, segment.area, segment.score)
        road 2 1.0
        sky 1 1.0
    """

    def __init__(self, loaded: model_loading.LoadedModel) -> None:
        self._loaded = loaded

    @property
    def categories(self) -> Categories:
        """The classes of the model."""
        return self._loaded.files.categories

    @overload
    def __call__(self, images: list[Image], *, batch_size: int = 8) -> list[Prediction]: ...

    @overload
    def __call__(self, images: Image, *, batch_size: int = 8) -> Prediction: ...

    def __call__(self, images: Any, *, batch_size: int = 8) -> Prediction | list[Prediction]:
        """The prediction of an image, or the predictions of a list of images, in order.

        Args:
            images: a file, an array (H, W, 3) uint8 RGB or a PIL image in RGB; or a list of these,
                of any sizes. Files are read as `maskmill prepare` reads them.
            batch_size: images in memory at a time.

        Returns:
            `semantic` (H, W) int32 category ids, and `panoptic` with `ids` (H, W) int32 and
            `segments`, which have category, score, area and box.

        Raises:
            FileNotFoundError: a file does not exist.
            ValueError: a file is not an image that `prepare` reads, or an array has another shape
                or type.
        """
        is_list = isinstance(images, (list, tuple))
        pixels = _decoded(images if is_list else [images])
        predictions = list(self._loaded.predictor(pixels, batch_size=batch_size))
        return predictions if is_list else predictions[0]


def load_model(
    name: str | os.PathLike[str],
    *,
    device: str = "cpu",
    postprocess: Mapping[str, Any] | None = None,
    runtime: Runtime = "auto",
) -> Model:
    """Load a model that `train` wrote or that is registered.

    Args:
        name: a folder, or models:/NAME@ALIAS, models:/NAME/VERSION.
        device: cpu, cuda or cuda:N.
        postprocess: values that replace those the model was trained with, as {"threshold": 0.2}.
        runtime: what runs the network: auto, torch, torch_bf16, program, onnx, openvino,
            openvino_bf16 or openvino_int8; all but torch need an export or a registered model.

    Raises:
        FileNotFoundError: the folder holds no model, or none for this runtime.
        ValueError: the registry has no such model, or a value is refused.

    Example:
        >>> import maskmill
        >>> model = maskmill.load_model("out/train")
        >>> prediction = model("out/prepare/test/images/test_0000.png")
        >>> prediction.semantic.shape, model.categories[11].name
        ((96, 160), 'car')
    """
    with unchanged_process():
        loaded = model_loading.load_model(
            os.fspath(name), device=device, postprocess=postprocess, runtime=runtime
        )
    return Model(loaded)


def _decoded(images: Sequence[Any]) -> Iterator[RGB]:
    for image in images:
        if isinstance(image, (str, os.PathLike)):
            yield _read(Path(image))
        else:
            yield _checked(np.asarray(image))


def _read(path: Path) -> RGB:
    require_file(path)
    findings = Findings()
    image = decode_photo(path.read_bytes(), str(path), findings)
    for finding in findings:
        log.warning("%s", finding)
    return image


def _checked(image: npt.NDArray[Any]) -> RGB:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(
            f"Expected an image (H, W, 3) of uint8 in RGB, but got {image.shape} of {image.dtype} "
            "- convert it, or give the name of its file"
        )
    return image
