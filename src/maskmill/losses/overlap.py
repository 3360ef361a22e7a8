"""Losses of the overlap of whole classes: Dice, Jaccard and their generalisation, Tversky.

Those of segmentation_models_pytorch divide by the number of all classes, including those absent
from the batch, so that the same error costs less if fewer classes are present. If every class is
present, theirs and ours are equal (a test compares them).
"""

from typing import Annotated

from annotated_types import Ge
from torch import Tensor, nn

from maskmill.canonical.categories import IGNORE_INDEX
from maskmill.losses.outputs import ClassOutputs
from maskmill.losses.semantic import Batch, Terms, Weight, check_weights, weights_tensor


class Tversky(nn.Module):
    """1 - TP / (TP + alpha FP + beta FN), from soft counts, averaged over the classes present.

    Salehi et al., MLMI 2017 (arXiv:1706.05721), eq. 3. A `beta` larger than `alpha` favours
    recall, so that small lesions are not missed.

    Args:
        weight: factor of the term.
        alpha: cost of a false positive.
        beta: cost of a false negative.
        class_weights: factor of each class in the mean, in the order of the category table; None
            means 1 for all.

    Example:
        >>> import torch
        >>> logits = torch.zeros(1, 2, 1, 1)
        >>> target = torch.zeros(1, 1, 1, dtype=torch.uint8)
        >>> Tversky(alpha=0.3, beta=0.7)({"semantic": logits}, {"semantic": target})
        {'tversky': tensor(0.4118)}
    """

    name = "tversky"
    class_weights: Tensor | None

    def __init__(
        self,
        weight: Weight = 1.0,
        *,
        alpha: Annotated[float, Ge(0)] = 0.3,
        beta: Annotated[float, Ge(0)] = 0.7,
        class_weights: list[Weight] | None = None,
    ) -> None:
        super().__init__()
        self.weight = weight
        self.alpha = alpha
        self.beta = beta
        # Not persistent: the weights are configuration, not state.
        self.register_buffer("class_weights", weights_tensor(class_weights), persistent=False)

    def forward(self, outputs: ClassOutputs, batch: Batch) -> Terms:
        """The loss of `semantic` logits (B, K, H, W): one scalar, 0 if no pixel is labelled.

        Raises:
            ValueError: the number of class weights is not K.
        """
        target = batch["semantic"].long()
        labelled = target != IGNORE_INDEX  # (B, H, W)
        probs = outputs["semantic"].float().softmax(dim=1)  # (B, K, H, W)
        num_classes = probs.shape[1]
        check_weights(self.class_weights, num_classes)
        class_index = target * labelled  # (B, H, W)
        prob_of_target = probs.gather(1, class_index.unsqueeze(1)).squeeze(1) * labelled
        # Sums over pixels, without maps of one-hot targets, which would be as large as the logits.
        of_class = class_index.flatten()
        zeros = probs.new_zeros(num_classes)
        true_positives = zeros.scatter_add(0, of_class, prob_of_target.flatten())  # (K,)
        num_pixels = zeros.scatter_add(0, of_class, labelled.flatten().to(probs.dtype))  # (K,)
        num_predicted = (probs * labelled.unsqueeze(1)).sum(dim=(0, 2, 3))  # (K,)
        false_positives = num_predicted - true_positives
        false_negatives = num_pixels - true_positives
        cost = self.alpha * false_positives + self.beta * false_negatives
        loss = 1 - true_positives / (true_positives + cost).clamp(min=1e-6)
        is_present = num_pixels > 0
        weights = is_present.float()
        if self.class_weights is not None:
            weights = is_present * self.class_weights
        return {self.name: self.weight * (loss * weights).sum() / weights.sum().clamp(min=1e-6)}


class Dice(Tversky):
    """One minus the soft Dice coefficient, 2 TP / (2 TP + FP + FN).

    Milletari et al., 3DV 2016 (arXiv:1606.04797).

    Args:
        weight: factor of the term.
        class_weights: factor of each class in the mean, in the order of the category table; None
            means 1 for all.

    Example:
        >>> import torch
        >>> logits = torch.zeros(1, 2, 1, 1)
        >>> target = torch.zeros(1, 1, 1, dtype=torch.uint8)
        >>> Dice()({"semantic": logits}, {"semantic": target})
        {'dice': tensor(0.3333)}
    """

    name = "dice"

    def __init__(self, weight: Weight = 1.0, *, class_weights: list[Weight] | None = None) -> None:
        super().__init__(weight, alpha=0.5, beta=0.5, class_weights=class_weights)


class Jaccard(Tversky):
    """One minus the soft intersection over union, TP / (TP + FP + FN).

    Rahman and Wang, ISVC 2016.

    Args:
        weight: factor of the term.
        class_weights: factor of each class in the mean, in the order of the category table; None
            means 1 for all.

    Example:
        >>> import torch
        >>> logits = torch.zeros(1, 2, 1, 1)
        >>> target = torch.zeros(1, 1, 1, dtype=torch.uint8)
        >>> Jaccard()({"semantic": logits}, {"semantic": target})
        {'jaccard': tensor(0.5000)}
    """

    name = "jaccard"

    def __init__(self, weight: Weight = 1.0, *, class_weights: list[Weight] | None = None) -> None:
        super().__init__(weight, alpha=1.0, beta=1.0, class_weights=class_weights)
