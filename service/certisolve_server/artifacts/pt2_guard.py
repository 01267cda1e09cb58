"""What a `.pt2` may hold: raw tensors and a graph of ATen operators, nothing that runs on load.

`torch.export.load` unpickles sample inputs, odd tensors and custom objects, evaluates symbolic
shapes as Python text, and resolves operator names by attribute look-up below `torch`. Each of
these lets an author run code on the server, so each is checked here before torch sees the file.
"""

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

_MAX_JSON_BYTES = 256 << 20
_PLAIN_MEMBERS = re.compile(
    r"archive_format|archive_version|byteorder|\.data/(version|serialization_id|alignment)"
    r"|\.format_version|\.storage_alignment|models/[\w-]+\.json"
    r"|data/weights/[\w-]+_weights_config\.json|data/constants/[\w-]+_constants_config\.json"
    r"|data/weights/weight_\d+|data/constants/tensor_\d+"
)
# Must exist for torch to load the archive, and must be empty: its content would be unpickled.
_SAMPLE_INPUTS = re.compile(r"data/sample_inputs/[\w-]+\.pt")
_TARGET = re.compile(
    r"torch\.ops\.aten\.\w+\.\w+|torch\.sym_(max|min|float|int|not|sqrt|sum)"
    r"|_operator\.(getitem|add|sub|mul|floordiv|truediv|mod|pow|neg|eq|ne|lt|le|gt|ge|and_|or_)"
    r"|math\.(ceil|floor|trunc)|torch\.ops\.aten\.sym_\w+"
)
# As sympy's srepr writes a symbol: Symbol('s41', positive=True, integer=True).
_SYMBOL = re.compile(r"Symbol\('[su]\d+'(, [a-z]+=(True|False))*\)")
_BARE_SYMBOL = re.compile(r"[su]\d+")
_SHAPE_FUNCTIONS = {
    "Max",
    "Min",
    "Mod",
    "PythonMod",
    "FloorDiv",
    "CleanDiv",
    "IntTrueDiv",
    "FloatTrueDiv",
    "CeilToInt",
    "FloorToInt",
    "CeilDiv",
    "TruncToInt",
    "RoundToInt",
    "ToFloat",
    "Where",
    "Eq",
    "Ne",
    "Lt",
    "Le",
    "Gt",
    "Ge",
    "And",
    "Or",
    "Not",
    "True",
    "False",
    "oo",
    "int_oo",
    "Integer",
    "Rational",
    "Float",
    "Add",
    "Mul",
    "Pow",
}
_EXPRESSION = re.compile(r"[\w\s+\-*/(),.<>=&|~]*")
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
_NAME_KEYS = frozenset({"name", "as_name", "parameter_name", "buffer_name", "tensor_name"})
_SAFE_NAME = re.compile(r"[\w.]*")


class UnsafeProgram(Exception):
    """A program file that could run code of its author; the message names the member."""


def check_pt2(path: Path) -> None:
    """Refuse a torch.export archive that could execute code when it is loaded.

    Raises:
        UnsafeProgram: pickled payload, unexpected member, non-ATen operator, or not an archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                _check_member(archive, info)
    except (zipfile.BadZipFile, OSError) as error:
        raise UnsafeProgram(f"{path.name}: not a torch.export archive: {error}") from error


def _check_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
    # The first component is the archive's own name, chosen by whoever saved it.
    name = info.filename.partition("/")[2]
    if _SAMPLE_INPUTS.fullmatch(name):
        if info.file_size:
            raise UnsafeProgram(f"{name}: pickled sample inputs; export without them")
        return
    if not _PLAIN_MEMBERS.fullmatch(name):
        raise UnsafeProgram(f"{info.filename}: member is not a graph or a raw tensor")
    if name.endswith(".json"):
        _check_document(name, _read_json(archive, info))


def _read_json(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> object:
    if info.file_size > _MAX_JSON_BYTES:
        raise UnsafeProgram(f"{info.filename}: {info.file_size} bytes of JSON")
    try:
        document: object = json.loads(archive.read(info))
    except (ValueError, RecursionError) as error:
        raise UnsafeProgram(f"{info.filename}: not JSON: {error}") from error
    return document


def _check_document(name: str, document: object) -> None:
    for node in _dictionaries(document):
        if node.get("use_pickle", False) is not False:
            raise UnsafeProgram(f"{name}: a tensor is pickled; make it dense and contiguous")
        if "as_operator" in node:
            raise UnsafeProgram(f"{name}: operators as arguments are not served")
        if "expr_str" in node:
            _check_expression(name, node["expr_str"])
        if {"target", "inputs", "outputs"} <= node.keys():
            _check_target(name, node["target"])
        for key in node.keys() & _NAME_KEYS:
            _check_name(name, node[key])


def _dictionaries(document: object) -> Iterator[dict[str, object]]:
    pending = [document]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            yield node
            pending.extend(node.values())
        elif isinstance(node, list):
            pending.extend(node)


def _check_target(name: str, target: object) -> None:
    if not (isinstance(target, str) and _TARGET.fullmatch(target)):
        raise UnsafeProgram(f"{name}: operator {target!r} is not an ATen operator")


def _check_name(name: str, value: object) -> None:
    # torch writes these into the Python source of the module it generates.
    if isinstance(value, str) and not _SAFE_NAME.fullmatch(value):
        raise UnsafeProgram(f"{name}: {value[:80]!r} is not a plain name")


def _check_expression(name: str, expression: object) -> None:
    # torch hands this text to sympify, which evaluates it as Python.
    text = _SYMBOL.sub("s0", expression) if isinstance(expression, str) else "?"
    words = set(_IDENTIFIER.findall(text)) - _SHAPE_FUNCTIONS
    if not _EXPRESSION.fullmatch(text) or not all(_BARE_SYMBOL.fullmatch(word) for word in words):
        raise UnsafeProgram(f"{name}: symbolic shape {text[:80]!r} is not arithmetic")
