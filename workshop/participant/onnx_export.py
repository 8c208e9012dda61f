"""A trained model as ONNX: bytes that a server can run without running anybody's code.

The model takes pixels, uint8 of shape (n, 28, 28) for any n, and returns scores of shape (n, 10),
of which the largest is the answer. Everything that was done to an image before the model saw it is
inside.
"""

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from samerun.errors import innermost
from workshop.errors import WorkshopError

if TYPE_CHECKING:  # all of them take seconds to import
    from google.protobuf.message import Message
    from onnx import ModelProto
    from skl2onnx.common._container import ModelComponentContainer
    from skl2onnx.common._topology import Operator, Scope
    from sklearn.base import ClassifierMixin
    from sklearn.preprocessing import FunctionTransformer
    from torch import nn

PIXELS, SCORES = "pixels", "scores"
SIDE = 28


def export_torch(model: "nn.Module") -> bytes:
    """Export a module that takes uint8 of shape (n, 28, 28) and returns scores of shape (n, 10).

    The same weights give the same bytes.

    Raises
    ------
    WorkshopError
        The module does something that ONNX has no word for.
    """
    import torch

    # Two images, since torch takes a size of 1 for a constant.
    example = torch.zeros((2, SIDE, SIDE), dtype=torch.uint8)
    try:
        with _quiet():
            program = torch.onnx.export(
                model,
                (example,),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("n")},),
                input_names=[PIXELS],
                output_names=[SCORES],
                external_data=False,
                verbose=False,
            )
            exported = program.model_proto
    except Exception as error:  # the exporter's own, and whatever the module raises
        reason = str(innermost(error)).strip().splitlines() or [type(error).__name__]
        raise WorkshopError(
            f"The model cannot be written as ONNX: {reason[0][:300]}\n"
            "Expected a forward made of tensor operations that are the same for every batch, of "
            "whatever size: no .item(), no numpy, no decision by the values of a tensor."
        ) from error
    taken = exported.graph.input[0].type.tensor_type.shape.dim[0]
    if taken.dim_value:
        raise WorkshopError(
            f"As ONNX the model takes {taken.dim_value} images at a time and no other number: in "
            "its forward the number of images has become a constant. In place of len(images) write "
            "images.shape[0], or images.flatten(1) for one row an image."
        )
    return _bare(exported)


def export_sklearn(model: "ClassifierMixin") -> bytes:
    """Export a fitted classifier, or a pipeline, that takes images: uint8 of shape (n, 28, 28).

    Raises
    ------
    WorkshopError
        skl2onnx cannot convert the model.
    """
    from onnx import TensorProto, helper
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.preprocessing import FunctionTransformer

    images = FloatTensorType([None, SIDE, SIDE])
    try:
        with _quiet():
            exported = convert_sklearn(
                model,
                initial_types=[("images", images)],
                options={id(model): {"zipmap": False}},
                custom_conversion_functions={FunctionTransformer: _convert_function},
                custom_shape_calculators={FunctionTransformer: _shape_of_function},
            )
    except Exception as error:  # of many kinds, the library's own and Python's
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise WorkshopError(
            f"{type(model).__name__} cannot be written as ONNX: {reason[0][:300]}"
        ) from error
    graph = exported.graph
    _, scores = graph.output  # the classes come first
    before = helper.make_node("Cast", [PIXELS], ["images"], to=TensorProto.FLOAT)
    after = helper.make_node("Identity", [scores.name], [SCORES])
    kind = scores.type.tensor_type
    columns = kind.shape.dim[1].dim_value or None
    whole = helper.make_graph(
        [before, *graph.node, after],
        "scikit-learn",
        [helper.make_tensor_value_info(PIXELS, TensorProto.UINT8, ["n", SIDE, SIDE])],
        [helper.make_tensor_value_info(SCORES, kind.elem_type, ["n", columns])],
        list(graph.initializer),
    )
    versions = {opset.domain: opset.version for opset in exported.opset_import}  # each one once
    opsets = [helper.make_opsetid(domain, version) for domain, version in versions.items()]
    made = helper.make_model(
        whole, opset_imports=opsets, ir_version=exported.ir_version, producer_name="skl2onnx"
    )
    return _bare(made)


# What ONNX calls a function of numpy that a FunctionTransformer may have, each number by itself.
WORDS = {"sqrt": "Sqrt", "log": "Log", "exp": "Exp", "absolute": "Abs", "tanh": "Tanh"}


def _shape_of_function(operator: "Operator") -> None:
    """Tell skl2onnx what comes out of a FunctionTransformer, whose functions it does not know."""
    from skl2onnx.common.data_types import FloatTensorType

    (entry,), (result,) = operator.inputs, operator.outputs
    reshaped = _reshape_to(operator.raw_operator)
    result.type = FloatTensorType([None, *reshaped[1:]] if reshaped else entry.type.shape)


def _convert_function(
    scope: "Scope", operator: "Operator", container: "ModelComponentContainer"
) -> None:
    """Write the function of a FunctionTransformer as ONNX."""
    from onnx import TensorProto

    (entry,), (result,) = operator.inputs, operator.outputs
    transformer = operator.raw_operator
    taken, word = [entry.full_name], None
    if isinstance(transformer.func, np.ufunc):
        word = WORDS.get(transformer.func.__name__)
    if shape := _reshape_to(transformer):
        word = "Reshape"
        taken.append(scope.get_unique_variable_name("shape"))
        container.add_initializer(taken[1], TensorProto.INT64, [len(shape)], shape)
    elif transformer.func is None:
        word = "Identity"
    elif word is None or set(transformer.kw_args or {}) - {"dtype"}:
        raise ValueError(
            f"{transformer} has no word in it. Expected numpy.reshape, or, with no argument but "
            f"dtype, one of {', '.join(f'numpy.{name}' for name in WORDS)}"
        )
    name = scope.get_unique_operator_name(word)
    container.add_node(word, taken, result.full_name, name=name)


def _reshape_to(transformer: "FunctionTransformer") -> list[int]:
    """Return the shape that a FunctionTransformer gives to its arrays, [] if that is not its task.

    Its first number stands for as many rows as there are.
    """
    if transformer.func is not np.reshape:
        return []
    return [-1, *list(transformer.kw_args["shape"])[1:]]


def run_onnx(model: bytes, images: np.ndarray, batch: int = 250) -> np.ndarray:
    """Return what a model makes of images, as the server computes it.

    images : uint8 of shape (n, 28, 28)

    Raises
    ------
    WorkshopError
        onnxruntime refuses the model or fails in it.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # on by default since 1.29
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        (taken,) = (entry.name for entry in session.get_inputs())
        pieces = [images[at : at + batch] for at in range(0, len(images), batch)]
        return np.concatenate([session.run(None, {taken: piece})[0] for piece in pieces])
    except Exception as error:  # its errors have no common base
        raise WorkshopError(
            f"onnxruntime cannot run the exported model: {str(error).strip()[:500]}"
        ) from error


def _bare(model: "ModelProto") -> bytes:
    """Return the model without what the exporter noted of this computer: paths, lines of code."""
    _strip(model)
    return model.SerializeToString(deterministic=True)


def _strip(message: "Message") -> None:
    for field, value in message.ListFields():
        if field.name in ("metadata_props", "doc_string"):
            message.ClearField(field.name)
        elif field.type == field.TYPE_MESSAGE:
            for part in [value] if hasattr(value, "ListFields") else value:
                _strip(part)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what exporters tell about their work."""
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
