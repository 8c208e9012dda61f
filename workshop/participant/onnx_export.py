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
    from sklearn.base import ClassifierMixin
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


def to_rows(images: np.ndarray) -> np.ndarray:
    """Return the rows that a model of part 1 takes, as that part's data.py makes them.

    Of shape (n, 784), for images that are uint8 of shape (n, 28, 28).
    """
    return np.sqrt(np.divide(images.reshape(len(images), -1), 255, dtype=np.float32))


def export_sklearn(model: "ClassifierMixin") -> bytes:
    """Export a fitted classifier, or a pipeline, that takes what `to_rows` makes of images.

    Raises
    ------
    WorkshopError
        skl2onnx cannot convert the model.
    """
    from onnx import TensorProto, helper, numpy_helper
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType

    rows = FloatTensorType([None, SIDE * SIDE])
    try:
        with _quiet():
            exported = to_onnx(
                model, initial_types=[("rows", rows)], options={id(model): {"zipmap": False}}
            )
    except Exception as error:  # of many kinds, the library's own and Python's
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise WorkshopError(
            f"{type(model).__name__} cannot be written as ONNX: {reason[0][:300]}"
        ) from error
    graph = exported.graph
    _, scores = graph.output  # the classes come first
    before = [  # what to_rows does
        helper.make_node("Cast", [PIXELS], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["numbers", "row"], ["flat"]),
        helper.make_node("Div", ["flat", "white"], ["shares"]),
        helper.make_node("Sqrt", ["shares"], ["rows"]),
    ]
    after = helper.make_node("Identity", [scores.name], [SCORES])
    nodes = [*before, *graph.node, after]
    constants = [
        *graph.initializer,
        numpy_helper.from_array(np.array([-1, SIDE * SIDE]), "row"),
        numpy_helper.from_array(np.array(255, np.float32), "white"),
    ]
    kind = scores.type.tensor_type
    columns = kind.shape.dim[1].dim_value or None
    whole = helper.make_graph(
        nodes,
        "scikit-learn",
        [helper.make_tensor_value_info(PIXELS, TensorProto.UINT8, ["n", SIDE, SIDE])],
        [helper.make_tensor_value_info(SCORES, kind.elem_type, ["n", columns])],
        constants,
    )
    versions = {opset.domain: opset.version for opset in exported.opset_import}  # each one once
    opsets = [helper.make_opsetid(domain, version) for domain, version in versions.items()]
    made = helper.make_model(
        whole, opset_imports=opsets, ir_version=exported.ir_version, producer_name="skl2onnx"
    )
    return _bare(made)


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
