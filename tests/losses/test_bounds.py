"""Values out of range are refused when a loss or class weights are built from configuration."""

import pytest
from omegaconf import OmegaConf
from torch import nn

from maskmill.assembly.build import build

NAN = float("nan")
CROSS_ENTROPY = {"_target_": "maskmill.losses.semantic.CrossEntropy"}

OUT_OF_RANGE = [
    ("semantic.CrossEntropy", "weight", -1.0),
    ("semantic.CrossEntropy", "weight", NAN),
    ("semantic.CrossEntropy", "label_smoothing", 1.0),
    ("semantic.CrossEntropy", "label_smoothing", -0.1),
    ("semantic.CrossEntropy", "hardest", 0.0),
    ("semantic.CrossEntropy", "hardest", 1.1),
    ("semantic.CrossEntropy", "class_weights", [1.0, -1.0]),
    ("semantic.CrossEntropy", "class_weights", [1.0, NAN]),
    ("semantic.Focal", "weight", -1.0),
    ("semantic.Focal", "gamma", -1.0),
    ("boundary.Boundary", "weight", -1.0),
    ("lovasz.Lovasz", "weight", -1.0),
    ("overlap.Dice", "weight", -1.0),
    ("overlap.Jaccard", "weight", -1.0),
    ("overlap.Tversky", "alpha", -1.0),
    ("overlap.Tversky", "beta", NAN),
    ("panoptic_deeplab.BootstrappedCrossEntropy", "weight", NAN),
    ("panoptic_deeplab.BootstrappedCrossEntropy", "hardest", 0.0),
    ("panoptic_deeplab.BootstrappedCrossEntropy", "small_weight", -1.0),
    ("panoptic_deeplab.BootstrappedCrossEntropy", "small_area_px", -1),
    ("mask_classification.MaskClassificationLoss", "class_weight", -1.0),
    ("mask_classification.MaskClassificationLoss", "mask_weight", NAN),
    ("mask_classification.MaskClassificationLoss", "no_object_weight", 0.0),
    ("mask_classification.MaskClassificationLoss", "num_points", 3),
]
OUT_OF_RANGE_AROUND_A_LOSS = [
    ("auxiliary.WithAuxiliary", "loss", "weight", -1.0),
    ("panoptic_deeplab.PanopticDeepLabLoss", "semantic", "sigma_px", 0.0),
    ("panoptic_deeplab.PanopticDeepLabLoss", "semantic", "sigma_px", NAN),
    ("panoptic_deeplab.PanopticDeepLabLoss", "semantic", "center_weight", -1.0),
    ("panoptic_deeplab.PanopticDeepLabLoss", "semantic", "offset_weight", -0.1),
]


def assert_refused(node, argument):
    config = OmegaConf.create({"loss": node})
    with pytest.raises(ValueError, match=rf"loss\.{argument}: expected .* should be (g|l)"):
        build(config.loss, nn.Module)


@pytest.mark.parametrize(("target", "argument", "value"), OUT_OF_RANGE)
def test_a_loss_with_a_value_out_of_range_is_refused(target, argument, value):
    assert_refused({"_target_": f"maskmill.losses.{target}", argument: value}, argument)


@pytest.mark.parametrize(("target", "inner", "argument", "value"), OUT_OF_RANGE_AROUND_A_LOSS)
def test_a_loss_around_another_with_a_value_out_of_range_is_refused(target, inner, argument, value):
    node = {"_target_": f"maskmill.losses.{target}", inner: CROSS_ENTROPY, argument: value}
    assert_refused(node, argument)


@pytest.mark.parametrize("beta", [-0.1, 1.0, NAN])
def test_an_effective_number_with_beta_out_of_range_is_refused(tmp_path, beta):
    target = "maskmill.losses.class_weights.effective_number"
    assert_refused({"_target_": target, "dataset": str(tmp_path), "beta": beta}, "beta")
