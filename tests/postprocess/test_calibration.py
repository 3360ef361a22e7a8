"""Calibration changes confidences and scores, and no label."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from maskmill.postprocess.calibration import Calibration
from maskmill.postprocess.mask_classification import PanopticMasks, SemanticMasks
from maskmill.postprocess.panoptic import PanopticGrouping
from maskmill.postprocess.semantic import SemanticSegments
from maskmill.postprocess.torch_network import TorchNetwork, reduce_logits
from strategies import CATEGORIES

LIMITS = {"min_area_px": 0, "stuff_area_px": 0, "categories": CATEGORIES}
PROBABILITY = st.floats(1e-4, 1 - 1e-4)
CALIBRATION = Calibration(temperature=2.5, slope=0.5, offset=-0.25)


def draw(*shape, scale=3.0):
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(len(shape))) * scale


MAPS = {"semantic": draw(4, 16, 24), "center": draw(1, 16, 24), "offset": draw(2, 16, 24)}
QUERIES = {"class_logits": draw(9, 5), "mask_logits": draw(9, 4, 6, scale=6.0)}
GROUPING = {"threshold": 0.1, "nms_kernel": 3, "top_k": 9}


@pytest.mark.parametrize(
    ("postprocess", "arguments", "outputs"),
    [
        (SemanticSegments, {"categories": CATEGORIES}, {"semantic": MAPS["semantic"]}),
        (PanopticGrouping, GROUPING | LIMITS, MAPS),
        (SemanticMasks, {"categories": CATEGORIES}, QUERIES),
        (PanopticMasks, {"threshold": 0.3, "overlap": 0.1} | LIMITS, QUERIES),
    ],
    ids=["semantic", "panoptic", "semantic-masks", "panoptic-masks"],
)
def test_calibration_changes_no_label(postprocess, arguments, outputs):
    image = np.zeros((1, 3, 16, 24), np.uint8)

    def predict(calibration):
        temperature = 1.0 if calibration is None else calibration.temperature
        network = TorchNetwork(lambda _: outputs, temperature=temperature)
        (pred,) = postprocess(calibration=calibration, **arguments)(network(image), [(16, 24)])
        return pred

    plain = predict(None)
    scores_only = predict(Calibration(slope=0.5, offset=-0.25))
    whole = predict(CALIBRATION)
    for pred in (scores_only, whole):
        assert np.array_equal(pred.semantic, plain.semantic)
        assert np.array_equal(pred.panoptic.ids, plain.panoptic.ids)
    assert len(plain.panoptic.segments) > 1
    for segment, calibrated in zip(
        plain.panoptic.segments, scores_only.panoptic.segments, strict=True
    ):
        odds = np.sqrt(segment.score / (1 - segment.score)) * np.exp(-0.25)
        assert calibrated.score == pytest.approx(odds / (1 + odds))
    assert plain.confidence.dtype == np.float32
    assert plain.confidence.min() > 0
    assert plain.confidence.max() <= 1
    if postprocess is not PanopticMasks:  # queries give no distribution over classes in a pixel
        assert whole.confidence.mean() < plain.confidence.mean()


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_the_temperature_divides_the_logits_before_the_softmax(temperature):
    logits = MAPS["semantic"]
    reduced = reduce_logits({"semantic": logits}, temperature)
    probs, classes = (logits / temperature).softmax(dim=1).max(dim=1)
    torch.testing.assert_close(reduced["confidence"], probs)
    assert torch.equal(reduced["classes"], classes.to(torch.uint8))


def test_the_temperature_divides_the_logarithms_of_votes():
    votes = np.array([0.6, 0.3, 0.1])
    tempered = votes ** (1 / 2.5) / (votes ** (1 / 2.5)).sum()
    class_logits = torch.tensor([[*np.log(votes), -1e9]], dtype=torch.float32)[None]
    outputs = {"class_logits": class_logits, "mask_logits": torch.full((1, 1, 1, 1), 9.0)}
    network = TorchNetwork(lambda _: outputs)
    few = CATEGORIES.__class__(list(CATEGORIES)[:3])
    postprocess = SemanticMasks(calibration=CALIBRATION, categories=few)
    (pred,) = postprocess(network(np.zeros((1, 3, 4, 4), np.uint8)), [(4, 4)])
    assert pred.confidence == pytest.approx(tempered[0], abs=1e-5)


@given(
    st.floats(0, 1),
    st.floats(0, 1),
    st.builds(Calibration, slope=st.floats(0.05, 20), offset=st.floats(-20, 20)),
)
def test_calibrated_scores_keep_their_order_and_range(score, other, calibration):
    low, high = sorted([score, other])
    assert 0 <= calibration.segment_score(low) <= calibration.segment_score(high) <= 1


def test_without_calibration_scores_keep_their_bits():
    assert Calibration().segment_score(0.1 + 0.2) == 0.1 + 0.2
    assert Calibration().segment_score(1.0) == 1.0


@given(PROBABILITY, st.floats(0.1, 8), st.floats(-4, 4))
def test_the_inverse_gives_the_score_of_the_network_back(score, slope, offset):
    calibration = Calibration(slope=slope, offset=offset)
    calibrated = calibration.segment_score(score)
    if 1e-5 < calibrated < 1 - 1e-5:  # beyond it, the 12 decimals of a score are too few
        inverse = calibration.inverse_of_scores()
        assert inverse.segment_score(calibrated) == pytest.approx(score, rel=1e-3, abs=1e-5)
