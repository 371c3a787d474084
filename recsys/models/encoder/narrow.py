"""ONNX with narrower weights: a smaller file for other programs, and what that moves its vectors by.

Weights alone are narrowed, each output channel by a scale of its own; what flows between the layers stays in fp32. That
is standard ONNX of opset 13, without operators of one runtime. It saves size and no time. Rounding the activations as
well, as dynamic int8 does, is faster and moves vectors ten to fifty times as far.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Weights = Literal["fp32", "fp16", "int8"]
LEAST = 1024  # numbers of a matrix that is narrowed: smaller ones save nothing


@dataclass(frozen=True)
class Distance:
    """What narrower weights move unit vectors by: 1 − cos to those of fp32, over some texts."""

    mean: float
    max: float
    texts: int

    @classmethod
    def between(cls, exact: NDArray[np.float32], found: NDArray[np.float32]) -> "Distance":
        """Return it for two arrays of unit vectors, (texts, width)."""
        gap = exact.astype(np.float64) - found
        distances = (gap * gap).sum(axis=1) / 2  # 1 − cos of unit vectors, without the noise of 1 − (almost 1)
        return cls(float(distances.mean()), float(distances.max()), len(distances))


def narrow_weights(path: Path, weights: Weights) -> None:
    """Rewrite an ONNX file so that its matrices are kept in fp16 or int8, and widened where they are used."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(path)
    graph = model.graph
    axes = _output_axes(graph)
    kept, nodes = [], []
    for tensor in graph.initializer:
        axis = axes.get(tensor.name)
        if axis is None or tensor.data_type != TensorProto.FLOAT or int(np.prod(tensor.dims)) < LEAST:
            kept.append(tensor)
            continue
        values, narrow = numpy_helper.to_array(tensor), f"{tensor.name}.{weights}"
        if weights == "fp16":
            kept.append(numpy_helper.from_array(values.astype(np.float16), narrow))
            nodes.append(helper.make_node("Cast", [narrow], [tensor.name], to=TensorProto.FLOAT))
            continue
        scales = np.abs(values).max(axis=1 - axis) / np.float32(127)
        scales[scales == 0] = 1
        rounded = np.rint(values / np.expand_dims(scales, 1 - axis)).astype(np.int8)
        parts = {narrow: rounded, f"{narrow}.scale": scales, f"{narrow}.zero": np.zeros(len(scales), np.int8)}
        kept += [numpy_helper.from_array(part, name) for name, part in parts.items()]
        nodes.append(helper.make_node("DequantizeLinear", list(parts), [tensor.name], axis=axis))
    nodes += graph.node
    for field, content in ((graph.initializer, kept), (graph.node, nodes)):
        del field[:]
        field.extend(content)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _output_axes(graph: Any) -> dict[str, int]:
    """Return the axis of the output channels of each matrix that is multiplied with or looked up in, by its name."""
    axes: dict[str, int] = {}
    for node in graph.node:
        if node.op_type == "MatMul":
            axes[node.input[1]] = 1
        elif node.op_type == "Gather":
            axes[node.input[0]] = 0
        elif node.op_type == "Gemm":
            axes[node.input[1]] = 0 if any(one.name == "transB" and one.i for one in node.attribute) else 1
    return {
        tensor.name: axes[tensor.name] for tensor in graph.initializer if tensor.name in axes and len(tensor.dims) == 2
    }
