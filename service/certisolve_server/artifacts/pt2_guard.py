"""What a `.pt2` may hold: raw tensors and a graph of ATen operators, nothing that runs on load.

`torch.export.load` unpickles sample inputs, odd tensors and custom objects, evaluates symbolic
shapes as Python text, resolves operator names by attribute look-up below `torch`, imports modules
that a tree of arguments names, and pastes names into the Python source it generates. Each of these
lets an author run code on the server. So every member and every string of every document has to be
of a known form, here, before torch sees the file; `guards_code` alone is any text, which is why a
program's module may only be made with `check_guards=False`.
"""

import json
import re
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

from .aten_operators import is_aten_operator

_MAX_JSON_BYTES = 256 << 20
_PLAIN_MEMBERS = re.compile(
    r"archive_format|archive_version|byteorder|\.data/(version|serialization_id|alignment)"
    r"|\.format_version|\.storage_alignment|models/[\w-]+\.json"
    r"|data/weights/[\w-]+_weights_config\.json|data/constants/[\w-]+_constants_config\.json"
    r"|data/weights/weight_\d+|data/constants/tensor_\d+",
    re.ASCII,
)
# Must exist for torch to load the archive, and must be empty: its content would be unpickled.
_SAMPLE_INPUTS = re.compile(r"data/sample_inputs/[\w-]+\.pt", re.ASCII)
_ROOT = re.compile(r"[\w.-]+", re.ASCII)

# As sympy's srepr writes a symbol: Symbol('s41', positive=True, integer=True).
_SYMBOL = re.compile(r"Symbol\('[a-z]+\d+'(, [a-z]+=(True|False))*\)", re.ASCII)
_FLOAT = re.compile(r"Float\('-?\d+(\.\d+)?(e[+-]?\d+)?', precision=\d+\)", re.ASCII)
_TOKENS = re.compile(r"(\s|[-+*/(),<>=&|~]|\d++(\.\d++)?|[A-Za-z_]\w*+)*+", re.ASCII)
_WORD = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_SHAPE_WORD = re.compile(
    r"[su]\d+|Max|Min|Mod|PythonMod|ModularIndexing|FloorDiv|CeilDiv|CleanDiv|IntTrueDiv"
    r"|FloatTrueDiv|CeilToInt|FloorToInt|TruncToInt|TruncToFloat|RoundToInt|ToFloat|Where|Identity"
    r"|Pow|PowByNatural|FloatPow|LShift|RShift|Add|Mul|Integer|Rational|Float|And|Or|Not|Eq|Ne|Lt|Le"
    r"|Gt|Ge|Equality|Unequality|StrictLessThan|LessThan|StrictGreaterThan|GreaterThan"
    r"|true|false|True|False|oo|int_oo",
    re.ASCII,
)

# Not keys of a document: what stands for a key itself, and for each key directly under metadata.
_KEY, _METADATA = "key", "metadata.*"
_ANY = re.compile(r".*", re.DOTALL)
_NUMBER = re.compile(r"-?Infinity|NaN")
_IDENTIFIER = re.compile(r"([A-Za-z_]\w*)?", re.ASCII)
# Attributes below a module; dunder attributes lead out of it.
_PATH = re.compile(r"((?!__)[\w-]+(\.(?!__)[\w-]+)*)?", re.ASCII)
_TREE = re.compile(
    r'([\s\[\]{}:,1]|null|"type"|"context"|"children_spec"|"builtins\.(tuple|list|dict)"|"null"'
    r'|"\[(\\"(?!__)[A-Za-z_]\w*\\"(, )?)*\]")*+',
    re.ASCII,
)
#: The form of a string, by the key it stands under. A key that is not here takes no string.
_FORMS = {
    _KEY: _PATH,
    _METADATA: _ANY,
    "target": _ANY,
    "expr_str": _ANY,
    "name": _IDENTIFIER,
    "as_name": _IDENTIFIER,
    "forward_arg_names": _IDENTIFIER,
    "fqn": _PATH,
    "parameter_name": _PATH,
    "buffer_name": _PATH,
    "tensor_constant_name": _PATH,
    "user_input_name": _PATH,
    "path_name": re.compile(r"weight_\d+|tensor_\d+", re.ASCII),
    "type": re.compile(r"[a-z]+", re.ASCII),
    "in_spec": _TREE,
    "out_spec": _TREE,
    "as_float": _NUMBER,
    "as_floats": _NUMBER,
    "as_string": _ANY,
    "as_strings": _ANY,
    "guards_code": _ANY,
    "verifiers": _ANY,
    "torch_version": _ANY,
}


class UnsafeProgram(Exception):
    """A program file that could run code of its author; the message names the member."""


def check_pt2(path: Path) -> None:
    """Refuse a torch.export archive that could execute code when it is loaded or called.

    Raises:
        UnsafeProgram: pickled payload, unexpected member, operator or text, or not an archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_directory(path, archive)
            for info in archive.infolist():
                _check_member(archive, info)
    except (zipfile.BadZipFile, OSError) as error:
        raise UnsafeProgram(f"{path.name}: not a torch.export archive: {error}") from error


def _check_directory(path: Path, archive: zipfile.ZipFile) -> None:
    # torch has a zip reader of its own; where it could see other members than zipfile does, refuse.
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - 98))
        tail = file.read()
    end, ends = size - 22, {struct.unpack("<4xHHLLH", tail[-18:])}
    if tail[-42:-38] == b"PK\x06\x07":
        end = size - 98
        ends.add((*struct.unpack("<QQQQ", tail[-74:-42]), 0))
    count, start = len(archive.filelist), archive.start_dir
    if tail[-22:-18] != b"PK\x05\x06" or ends != {(count, count, end - start, start, 0)}:
        raise UnsafeProgram(f"{path.name}: the directory is not where the archive says it is")
    names = [info.filename.lower() for info in archive.filelist]
    if len({name.partition("/")[0] for name in names}) != 1 or len(set(names)) < count:
        raise UnsafeProgram(f"{path.name}: several roots, or members of one name")


def _check_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
    # The first component is the archive's own name, chosen by whoever saved it.
    root, _, name = info.filename.partition("/")
    if info.orig_filename != info.filename or not _ROOT.fullmatch(root):
        raise UnsafeProgram(f"{info.orig_filename!r}: not a plain member name")
    encrypted = info.flag_bits & 0x1
    if encrypted or info.compress_size != info.file_size or info.compress_type or info.extra:
        raise UnsafeProgram(f"{name}: member must be stored as it is")
    if _SAMPLE_INPUTS.fullmatch(name):
        if info.file_size:
            raise UnsafeProgram(f"{name}: pickled sample inputs; export without them")
    elif not _PLAIN_MEMBERS.fullmatch(name):
        raise UnsafeProgram(f"{info.filename}: member is not a graph or a raw tensor")
    elif name.endswith(".json"):
        _check_document(name, _read_json(archive, info))


def _read_json(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> object:
    if info.file_size > _MAX_JSON_BYTES:
        raise UnsafeProgram(f"{info.filename}: {info.file_size} bytes of JSON")
    try:
        document: object = json.loads(archive.read(info).decode())
    except (ValueError, RecursionError) as error:
        raise UnsafeProgram(f"{info.filename}: not JSON: {error}") from error
    return document


def _check_document(name: str, document: object) -> None:
    for key, value in _values(document):
        if key == "use_pickle" and value is not False:
            raise UnsafeProgram(f"{name}: a tensor is pickled; make it dense and contiguous")
        if isinstance(value, str):
            _check_text(name, key, value)


def _values(document: object) -> Iterator[tuple[str, object]]:
    """Every value with the key it stands under, also through lists; every key under `_KEY`."""
    pending = [("", document)]
    while pending:
        key, value = pending.pop()
        yield key, value
        if isinstance(value, list):
            pending.extend((key, item) for item in value)
        if isinstance(value, dict):
            pending.extend((_KEY, name) for name in value)
            inherited = _METADATA if key == "metadata" else None
            pending.extend((inherited or name, item) for name, item in value.items())


def _check_text(name: str, key: str, text: str) -> None:
    if key == "target" and not is_aten_operator(text):
        raise UnsafeProgram(f"{name}: operator {text[:80]!r} is not a known ATen operator")
    if key == "expr_str" and not _is_arithmetic(text):
        raise UnsafeProgram(f"{name}: symbolic shape {text[:80]!r} is not arithmetic")
    form = _FORMS.get(key)
    if form is None or not form.fullmatch(text):
        raise UnsafeProgram(f"{name}: {key} {text[:80]!r} is not of a known form")


def _is_arithmetic(expression: str) -> bool:
    # torch hands this text to sympify, which evaluates it as Python.
    text = _FLOAT.sub("0", _SYMBOL.sub("s0", expression))
    words = _WORD.findall(text)
    return bool(_TOKENS.fullmatch(text)) and all(map(_SHAPE_WORD.fullmatch, words))
