"""What a submitted ONNX model may hold. Stands alone, because the sandbox loads it by its path.

Every rule closes a way to files, to time without end or to answers that cannot be repeated. What is
left is written anew, so that onnxruntime never reads a byte that was not looked at here.
"""

import math
from dataclasses import dataclass

import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

MOST_BYTES = 50_000_000
MOST_NODES = 10_000
SIDE, CLASSES = 28, 10  # pixels; scores per image
DOMAINS = ("", "ai.onnx", "ai.onnx.ml")  # the last one is what skl2onnx writes

RANDOM = {
    "Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
    "RandomUniformLike",
}  # fmt: skip
TEXT_OR_FILES = {
    "CategoryMapper", "ImageDecoder", "RegexFullMatch", "StringConcat", "StringNormalizer",
    "StringSplit", "TfIdfVectorizer",
}  # fmt: skip
GRAPHS = {"If", "Loop", "Scan", "SequenceMap"}

# Of each kind of number: its bits, and the field that holds it when raw_data does not.
KINDS = {
    TensorProto.FLOAT: (32, "float_data"),
    TensorProto.DOUBLE: (64, "double_data"),
    TensorProto.FLOAT16: (16, "int32_data"),
    TensorProto.BFLOAT16: (16, "int32_data"),
    TensorProto.INT4: (4, "int32_data"),
    TensorProto.INT8: (8, "int32_data"),
    TensorProto.INT16: (16, "int32_data"),
    TensorProto.INT32: (32, "int32_data"),
    TensorProto.INT64: (64, "int64_data"),
    TensorProto.UINT4: (4, "int32_data"),
    TensorProto.UINT8: (8, "int32_data"),
    TensorProto.UINT16: (16, "int32_data"),
    TensorProto.UINT32: (32, "uint64_data"),
    TensorProto.UINT64: (64, "uint64_data"),
    TensorProto.BOOL: (8, "int32_data"),
}
# Weights may be quantised; whole numbers of more bits are shapes and indices.
WEIGHTS = {
    TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16,
    TensorProto.INT4, TensorProto.UINT4, TensorProto.INT8, TensorProto.UINT8,
}  # fmt: skip


class RuleBroken(Exception):
    """What is wrong with a model, in words for who made it."""


@dataclass(frozen=True)
class Checked:
    """A model that keeps the rules.

    model : its bytes, written anew without what is not needed
    input : the name of its input
    parameters : how many numbers it holds, shapes and indices not counted
    """

    model: bytes
    input: str
    parameters: int


def check(model: bytes) -> Checked:
    """Return what onnxruntime may be given.

    Raises
    ------
    RuleBroken
        It is no ONNX model, or one that breaks a rule.
    """
    if len(model) > MOST_BYTES:
        raise RuleBroken(
            f"The model has {len(model) / 1e6:.1f} MB. Expected at most {MOST_BYTES / 1e6:.0f} MB."
        )
    proto = _parse(model)
    if proto.functions:
        raise RuleBroken(
            "The model defines functions of its own, and they may call one another without end. "
            "Export it with all functions inlined, as torch.onnx.export does by default."
        )
    graph = proto.graph
    if len(graph.node) > MOST_NODES:
        raise RuleBroken(
            f"The model has {len(graph.node):,} nodes. Expected at most {MOST_NODES:,}."
        )
    if graph.sparse_initializer:
        raise RuleBroken("The model holds sparse tensors. Expected ordinary ones.")
    parameters = sum(_check_tensor(tensor) for tensor in graph.initializer)
    parameters += sum(_check_node(node) for node in graph.node)
    name = _check_ends(graph)
    return Checked(_written_anew(proto), name, parameters)


def shown(text: str, most: int = 60) -> str:
    """Return untrusted text as a message may repeat it: printable, on one line and short."""
    text = "".join(sign if sign.isprintable() else "?" for sign in text[: 4 * most])
    return text if len(text) <= most else text[:most] + "..."


def _parse(model: bytes) -> ModelProto:
    proto = ModelProto()
    try:
        proto.ParseFromString(model)
    except MemoryError:
        raise
    except Exception:  # protobuf's DecodeError, also for messages nested too deep
        raise RuleBroken(_begins_like(model)) from None
    if not proto.graph.node:
        raise RuleBroken(_begins_like(model))
    return proto


def _begins_like(model: bytes) -> str:
    kinds = {
        b"PK\x03\x04": "a zip archive, such as torch.save writes,",
        b"\x1f\x8b": "a gzip file",
        b"\x80": "a pickle file",
    }
    what = "something else, or an ONNX file that was cut off,"
    what = next((kinds[start] for start in kinds if model.startswith(start)), what)
    return (
        f"This is no ONNX model but {what} of {len(model):,} bytes. Expected the bytes of a file "
        "that onnx.load can read."
    )


def _check_node(node: NodeProto) -> int:
    """Check a node; return how many parameters its attributes hold."""
    kind = shown(node.op_type)
    if node.domain not in DOMAINS:
        raise RuleBroken(
            f"The model uses the operator {kind} of the domain {shown(node.domain)!r}. Expected "
            "only those of ONNX itself (ai.onnx and ai.onnx.ml)."
        )
    if node.op_type in GRAPHS:
        raise RuleBroken(
            f"The model uses {kind}, which runs another graph as often as it likes, so nobody can "
            "say beforehand that it ends. Expected a graph of a fixed number of steps."
        )
    training = node.op_type == "Dropout" and len(node.input) > 2 and node.input[2]
    if node.op_type in RANDOM or training:
        raise RuleBroken(
            f"The model draws random numbers ({kind}), so its scores could not be repeated. "
            "Export it in evaluation mode: model.eval()."
        )
    if node.op_type in TEXT_OR_FILES:
        raise RuleBroken(
            f"The model uses {kind}, which reads text or files. Expected numbers only."
        )
    return sum(_check_attribute(attribute, kind) for attribute in node.attribute)


def _check_attribute(attribute: AttributeProto, kind: str) -> int:
    # What is filled in counts, whatever attribute.type says.
    if attribute.HasField("g") or attribute.graphs:
        raise RuleBroken(
            f"The model's {kind} holds another graph. Expected a graph of a fixed number of steps."
        )
    if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
        raise RuleBroken("The model holds sparse tensors. Expected ordinary ones.")
    if attribute.ref_attr_name:
        raise RuleBroken(
            f"The model's {kind} takes an attribute from a function that is not there."
        )
    makes_text = kind == "Constant" and attribute.name in ("value_string", "value_strings")
    if makes_text or (kind == "Cast" and attribute.name == "to" and attribute.i == 8):
        raise RuleBroken(f"The model's {kind} makes text. Expected numbers only.")
    held = len(attribute.floats)
    if attribute.HasField("t"):
        held += _check_tensor(attribute.t)
    return held + sum(_check_tensor(tensor) for tensor in attribute.tensors)


def _check_tensor(tensor: TensorProto) -> int:
    """Check a tensor; return how many parameters it holds."""
    if tensor.external_data or tensor.data_location == TensorProto.EXTERNAL:
        place = next((e.value for e in tensor.external_data if e.key == "location"), "not named")
        raise RuleBroken(
            f"The model keeps weights in another file ({shown(place)}). Expected all of it in one "
            "file: torch.onnx.export(..., external_data=False)."
        )
    name = f"The tensor {shown(tensor.name)!r}" if tensor.name else "A tensor"
    if tensor.data_type == TensorProto.STRING:
        raise RuleBroken(f"{name} of the model holds text. Expected numbers only.")
    if tensor.data_type not in KINDS:
        raise RuleBroken(
            f"{name} of the model has numbers of the kind {tensor.data_type}, which is not "
            "accepted here. Expected floats or whole numbers of at least 4 bits."
        )
    if tensor.HasField("segment") or any(size < 0 for size in tensor.dims):
        raise RuleBroken(f"{name} of the model has no valid shape: {list(tensor.dims)[:8]}.")
    bits, field = KINDS[tensor.data_type]
    count = math.prod(tensor.dims)
    if tensor.HasField("raw_data"):
        held, expected = len(tensor.raw_data), math.ceil(count * bits / 8)
    else:
        held, expected = len(getattr(tensor, field)), math.ceil(count / 2) if bits == 4 else count
    if held != expected:
        raise RuleBroken(
            f"{name} of the model declares {count:,} numbers of {bits} bits "
            f"({count * bits / 8 / 1e6:,.1f} MB), but the file does not hold them. "
            "Expected every tensor with all of its numbers."
        )
    return count if tensor.data_type in WEIGHTS else 0


def _check_ends(graph: GraphProto) -> str:
    """Check input and output; return the name of the input."""
    filled = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in filled]
    wanted = f"Expected one input, uint8 of shape (n, {SIDE}, {SIDE}) with n left open"
    if len(inputs) != 1:
        raise RuleBroken(f"The model has {len(inputs)} inputs. {wanted}.")
    kind, dims = _type_of(inputs[0])
    if kind != TensorProto.UINT8 or dims is None or dims[1:] != [SIDE, SIDE] or dims[0] is not None:
        raise RuleBroken(f"The input of the model is {_described(kind, dims)}. {wanted}.")
    wanted = f"Expected one output, float32 or float64 of shape (n, {CLASSES})"
    if len(graph.output) != 1:
        raise RuleBroken(f"The model has {len(graph.output)} outputs. {wanted}.")
    kind, dims = _type_of(graph.output[0])
    wrong = dims is not None and (len(dims) != 2 or dims[1] not in (None, CLASSES))
    if kind not in (TensorProto.FLOAT, TensorProto.DOUBLE) or wrong:
        raise RuleBroken(f"The output of the model is {_described(kind, dims)}. {wanted}.")
    return inputs[0].name


def _type_of(value: ValueInfoProto) -> tuple[int, list[int | None] | None]:
    """Return the kind of numbers, and the shape with None for what is open."""
    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type"):
        return 0, None
    if not tensor.HasField("shape"):
        return tensor.elem_type, None
    dims = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
    return tensor.elem_type, dims


def _described(kind: int, dims: list[int | None] | None) -> str:
    try:
        name = TensorProto.DataType.Name(kind).lower()
    except ValueError:
        name = f"of the kind {kind}"
    if kind == 0:
        return "no tensor"
    if dims is None:
        return f"{name} of unknown shape"
    return f"{name} of shape ({', '.join('n' if d is None else str(d) for d in dims[:8])})"


def _written_anew(proto: ModelProto) -> bytes:
    # onnxruntime may know fields that our onnx does not, and takes bytes 4 to 8 for the sign of
    # another format, which a producer_name can spell: "ORTM".
    proto.DiscardUnknownFields()
    for field in (
        "producer_name", "producer_version", "domain", "model_version", "doc_string",
        "metadata_props", "training_info", "configuration",
    ):  # fmt: skip
        proto.ClearField(field)
    for field in ("doc_string", "metadata_props", "quantization_annotation"):
        proto.graph.ClearField(field)
    # skl2onnx names a version twice, torch those of functions that it has inlined.
    versions = {o.domain: o.version for o in proto.opset_import if o.domain in DOMAINS}
    proto.ClearField("opset_import")
    proto.opset_import.extend(onnx.helper.make_opsetid(*item) for item in versions.items())
    return proto.SerializeToString(deterministic=True)
