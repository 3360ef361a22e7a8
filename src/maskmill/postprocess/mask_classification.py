"""Queries to segments, for mask classification networks (Mask2Former, EoMT).

Cheng et al., MaskFormer (arXiv:2107.06278), sec. 3.4.
"""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from annotated_types import Ge, Interval

from maskmill.canonical.categories import Categories
from maskmill.postprocess.calibration import Calibration
from maskmill.postprocess.outputs import Floats, MaskOutputs
from maskmill.postprocess.pixel_assignment import assign_pixels, softmax, vote_for_classes
from maskmill.postprocess.prediction import Prediction, Size
from maskmill.postprocess.semantic import ClassTable, SegmentMap, SemanticSegments


class SemanticMasks:
    """The most likely class of each pixel; all pixels of a class are one segment.

    Each query votes for its classes with its mask.

    Args:
        calibration: of confidences and scores; None: they are those of the network.
        categories: of the data set.

    Example:
        >>> from maskmill.canonical.categories import Category
        >>> road = Category(7, "road", False, (128, 64, 128))
        >>> postprocess = SemanticMasks(categories=Categories([road]))
        >>> class_logits = np.zeros((1, 3, 2), np.float32)
        >>> mask_logits = np.zeros((1, 3, 1, 2), np.float32)
        >>> outputs = {"class_logits": class_logits, "mask_logits": mask_logits}
        >>> postprocess(outputs, [(4, 8)])[0].semantic.shape
        (4, 8)
    """

    def __init__(self, *, calibration: Calibration | None = None, categories: Categories) -> None:
        self.segments = SemanticSegments(calibration=calibration, categories=categories)
        self.table = self.segments.table

    def __call__(self, outputs: MaskOutputs, sizes: Sequence[Size]) -> list[Prediction]:
        """One prediction per image.

        Args:
            outputs: for a batch.
            sizes: of the images, which may be padded at the right and bottom.
        """
        images = zip(outputs["class_logits"], outputs["mask_logits"], sizes, strict=True)
        return [self._predict(classes, masks, size) for classes, masks, size in images]

    def _predict(self, class_logits: Floats, mask_logits: Floats, size: Size) -> Prediction:
        height, width = size
        pixels = np.arange(height * width)
        temperature = self.table.calibration.temperature
        classes, confidence = vote_for_classes(
            class_logits, mask_logits, pixels, width, temperature
        )
        (prediction,) = self.segments(
            {
                "classes": classes.reshape(1, height, width),
                "confidence": confidence.reshape(1, height, width),
            },
            [size],
        )
        return prediction


class PanopticMasks:
    """Assigns each pixel to the most confident query whose mask covers it.

    Queries that lose most of their mask to others are dropped. All queries of a stuff class are one
    segment. A query keeps the pixels that it wins inside its own mask, as in EoMT's code;
    Mask2Former's code also keeps those outside.

    Args:
        threshold: minimum probability of a query's class; 0.8 in the paper. A lower threshold gives
            more, but less certain instances, which AP rewards.
        overlap: minimum share of its mask that a query must keep; 0.8 in the paper.
        min_area_px: smaller instances become void.
        stuff_area_px: smaller stuff segments become void.
        keep_stuff: False keeps things only, for instance segmentation.
        calibration: of confidences and scores; None: they are those of the network. The temperature
            has no effect, since queries give no distribution over classes in a pixel.
        categories: of the data set.

    Example:
        >>> from maskmill.canonical.categories import Category
        >>> cell = Categories([Category(5, "cell", True, (220, 90, 20))])  # and background
        >>> limits = {"overlap": 0.5, "min_area_px": 0, "stuff_area_px": 0}
        >>> postprocess = PanopticMasks(threshold=0.5, **limits, categories=cell)
        >>> class_logits = np.array([[[9.0, 0, 0], [9.0, 0, 0]]], np.float32)  # (1, 2, 3)
        >>> mask_logits = np.array([[[[9.0, -9]], [[-9.0, 9]]]], np.float32)  # (1, 2, 1, 2)
        >>> outputs = {"class_logits": class_logits, "mask_logits": mask_logits}
        >>> postprocess(outputs, [(1, 8)])[0].panoptic.ids
        array([[1, 1, 1, 1, 2, 2, 2, 2]], dtype=int32)
    """

    def __init__(
        self,
        *,
        threshold: Annotated[float, Interval(ge=0, lt=1)],
        overlap: Annotated[float, Interval(ge=0, le=1)],
        min_area_px: Annotated[int, Ge(0)],
        stuff_area_px: Annotated[int, Ge(0)],
        keep_stuff: bool = True,
        calibration: Calibration | None = None,
        categories: Categories,
    ) -> None:
        self.threshold = threshold
        self.overlap = overlap
        self.min_area_px = max(min_area_px, 1)
        self.stuff_area_px = max(stuff_area_px, 1)
        self.keep_stuff = keep_stuff
        self.table = ClassTable(categories, calibration)

    def __call__(self, outputs: MaskOutputs, sizes: Sequence[Size]) -> list[Prediction]:
        """One prediction per image.

        Args:
            outputs: for a batch.
            sizes: of the images, which may be padded at the right and bottom.
        """
        images = zip(outputs["class_logits"], outputs["mask_logits"], sizes, strict=True)
        return [self._predict(classes, masks, size) for classes, masks, size in images]

    def _predict(self, class_logits: Floats, mask_logits: Floats, size: Size) -> Prediction:
        segments = self.find_segments(class_logits, mask_logits, size)
        class_of_id = np.concatenate([[0], segments.classes])  # (N + 1,), by segment id
        classes = class_of_id[segments.ids]  # (H, W)
        void = (segments.ids == 0).ravel().nonzero()[0]
        void_classes, shares = vote_for_classes(class_logits, mask_logits, void, size[1])
        classes.ravel()[void] = void_classes
        confidence = segments.confidence
        if confidence is None:  # no query is confident, so all pixels are void
            confidence = np.empty(size, np.float32)
        confidence.ravel()[void] = shares
        semantic = self.table.category_map(classes)
        return Prediction(semantic, self.table.panoptic(segments), confidence)

    def find_segments(self, class_logits: Floats, mask_logits: Floats, size: Size) -> SegmentMap:
        """Segments of one image.

        A segment's score is the mean over its pixels of class probability times mask probability.

        Args:
            class_logits: (Q, K + 1).
            mask_logits: (Q, H/4, W/4).
            size: H and W.
        """
        is_thing = self.table.is_thing  # (K,)
        num_classes = len(is_thing)
        all_probs = softmax(class_logits)  # (Q, K + 1)
        classes = all_probs.argmax(axis=1)  # (Q,)
        class_probs = all_probs.max(axis=1)  # (Q,)
        is_confident = (classes < num_classes) & (class_probs > self.threshold)
        chosen = is_confident.nonzero()[0]  # (N,) queries
        class_probs = class_probs[chosen]  # (N,)
        classes = classes[chosen]  # (N,)
        num_chosen = len(chosen)
        if num_chosen == 0:
            return SegmentMap(np.zeros(size, np.int32), classes, np.zeros(0))
        assigned = assign_pixels(mask_logits[chosen], class_probs, size)
        # One more query gets the pixels outside the mask of their query.
        owner = np.where(assigned.mask_prob >= 0.5, assigned.query, num_chosen)  # (H, W)
        area = np.bincount(owner.ravel(), minlength=num_chosen + 1)[:-1]  # (N,) kept pixels
        total_prob = np.bincount(
            owner.ravel(), assigned.mask_prob.ravel(), minlength=num_chosen + 1
        )[:-1]  # (N,)
        is_kept = (area >= self.overlap * assigned.mask_area) & (assigned.mask_area > 0)
        # A thing is the segment of its query, and stuff the segment of its class:
        # segments 0..N-1 belong to queries, and segments N..N+K-1 to classes.
        segment = np.where(is_thing[classes], np.arange(num_chosen), num_chosen + classes)  # (N,)
        num_segments = num_chosen + num_classes
        segment_area = np.bincount(segment, area * is_kept, minlength=num_segments)  # (N + K,)
        score = total_prob * class_probs * is_kept  # (N,)
        segment_score = np.bincount(segment, score, minlength=num_segments)  # (N + K,)
        min_area = np.full(num_segments, self.stuff_area_px)
        min_area[:num_chosen] = self.min_area_px
        is_large = segment_area >= min_area
        if not self.keep_stuff:
            is_large[num_chosen:] = False
        id_of_segment = is_large.cumsum() * is_large  # (N + K,), 0 for dropped segments
        id_of_query = np.zeros(num_chosen + 1, np.int32)
        id_of_query[:-1] = id_of_segment[segment] * is_kept
        class_of_segment = np.concatenate([classes, np.arange(num_classes)])  # (N + K,)
        scores = segment_score[is_large] / segment_area[is_large]
        confidence = (class_probs[assigned.query] * assigned.mask_prob).astype(np.float32)
        return SegmentMap(id_of_query[owner], class_of_segment[is_large], scores, confidence)
