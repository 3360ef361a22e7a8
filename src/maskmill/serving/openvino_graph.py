"""Changes of OpenVINO's graphs that keep the outputs and save time."""

from typing import Any

import numpy as np

# From the last operation to the first: a layer normalization of channels, which PyTorch's own
# function wants to be the last axis, as in EoMT's decoder.
PATTERN = ("Transpose", "Add", "Multiply", "MVN", "Transpose")
TO_LAST = [0, 2, 3, 1]  # (B, C, H, W) to (B, H, W, C)
TO_FIRST = [0, 3, 1, 2]
LAST_AXIS = ([-1], [3])


def normalize_channels_in_place(graph: Any) -> int:
    """Normalize channels (B, C, H, W) where they are, without two transpositions.

    For one image of 480 x 360 px, EoMT takes 0.234 s of CPU time in place of 0.260.

    Args:
        graph: an `openvino.Model`, which is changed.

    Returns:
        the number of normalizations that were changed.
    """
    from openvino import opset13 as operations
    from openvino.passes import ConstantFolding, Manager

    folding = Manager()
    folding.register_pass(ConstantFolding())  # the axes of ONNX's normalization are computed
    folding.run_passes(graph)
    count = 0
    for node in graph.get_ordered_ops():
        found = _normalization(node)
        if found is None:
            continue
        first, mvn, multiply, add = found
        attributes = mvn.get_attributes()
        normalized = operations.mvn(
            first.input_value(0),
            operations.constant(np.array([1])),
            attributes["normalize_variance"],
            attributes["eps"],
            attributes["eps_mode"],
        )
        scaled = operations.multiply(normalized, _of_channels(multiply))
        node.output(0).replace(operations.add(scaled, _of_channels(add)).output(0))
        count += 1
    return count


def give_own_constants(graph: Any) -> int:
    """Give each operation a constant of its own, where several share one.

    NNCF corrects the bias of each layer. Layers that share one, as those of Mask2Former's
    predictions do, would get new ones of the same name, which it then refuses.

    Args:
        graph: an `openvino.Model`, which is changed.

    Returns:
        the number of copies.
    """
    from openvino import opset13 as operations

    count = 0
    for node in graph.get_ordered_ops():
        if node.get_type_name() != "Constant":
            continue
        _, *others = node.output(0).get_target_inputs()
        for target in others:
            count += 1
            copy = operations.constant(node.get_data())
            copy.set_friendly_name(f"{node.get_friendly_name()}_{count}")
            target.replace_source_output(copy.output(0))
    return count


def _normalization(last: Any) -> tuple[Any, Any, Any, Any] | None:
    """The operations of a normalization that ends in this one, in their order; None for others."""
    chain = [last]
    for kind in PATTERN:
        node = chain[-1]
        if node.get_type_name() != kind or not node.inputs():
            return None
        chain.append(node.input_value(0).get_node())
    _, add, multiply, mvn, first, _ = chain
    orders = (_constant(first), _constant(last))
    if orders != (TO_LAST, TO_FIRST) or _constant(mvn) not in LAST_AXIS:
        return None
    is_per_channel = all(np.ndim(_constant(node)) == 1 for node in (multiply, add))
    return (first, mvn, multiply, add) if is_per_channel else None


def _constant(node: Any) -> Any:
    """The second input of an operation, if it is a constant."""
    value = node.input_value(1).get_node()
    return value.get_data().tolist() if value.get_type_name() == "Constant" else None


def _of_channels(node: Any) -> Any:
    from openvino import opset13 as operations

    values = node.input_value(1).get_node().get_data()
    return operations.constant(values.reshape(1, -1, 1, 1))
