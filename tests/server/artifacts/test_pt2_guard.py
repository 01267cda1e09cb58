"""Loading a model runs no code of its author: each attack here works on an unguarded torch."""

import io
import json
import pickle
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from certisolve_server.artifacts import UnsafeProgram, check_pt2
from helpers import Pointwise, export_pt2

Members = dict[str, bytes]
GRAPH = "archive/models/model.json"
CONSTANTS = "archive/data/constants/model_constants_config.json"
WEIGHTS = "archive/data/weights/model_weights_config.json"
SAMPLE_INPUTS = "archive/data/sample_inputs/model.pt"


class Affine(nn.Module):
    """A parameter, buffers of both kinds and a constant, under a name that is no identifier."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({"in-out": nn.Linear(8, 8)})
        self.register_buffer("kept", torch.ones(8))
        self.register_buffer("derived", torch.ones(8), persistent=False)
        self.constant = torch.ones(8)

    def forward(self, x):
        return self.layers["in-out"](x) * self.kept * self.derived + self.constant


@pytest.fixture(scope="module")
def as_written(tmp_path_factory) -> Path:
    """A program as torch writes it, with the ZIP64 records that Python's zipfile leaves out."""
    path = tmp_path_factory.mktemp("clean") / "program.pt2"
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(Affine(), (torch.rand(2, 8),), dynamic_shapes=({0: batch},))
    program._example_inputs = None
    buffer = io.BytesIO()  # into a file, torch would name the archive after the file
    torch.export.save(program, buffer)
    path.write_bytes(buffer.getvalue())
    return path


@pytest.fixture(scope="module")
def clean(as_written) -> Members:
    with zipfile.ZipFile(as_written) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path: Path, members: Members) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def edited(members: Members, edit: Callable[[Any], object], member: str = GRAPH) -> Members:
    document = json.loads(members[member])
    edit(document)
    return {**members, member: json.dumps(document).encode()}


def raw(members: Members) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


# --- What must pass -------------------------------------------------------------------------------


def _pad_to_multiple(x):
    return functional.pad(x, (0, -x.shape[1] % 8))


def _circular_convolution(x):
    stencil = torch.tensor([[[1.0, -2.0, 1.0]]])
    return functional.conv1d(functional.pad(x[:, None], (1, 1), mode="circular"), stencil)[:, 0]


def _low_pass(x):
    return torch.fft.irfft(torch.fft.rfft(x)[:, :5], n=x.shape[1])


def _masked(x):
    n = x.shape[1]
    ramp = torch.arange(n, dtype=x.dtype) / (n + 1)
    return torch.where((x > ramp) & (x < 1) | ~(x > 2), x.sin(), functional.gelu(x))


LEGITIMATE = [
    pytest.param(Pointwise(lambda x: x[:, : x.shape[1] // 3]), id="FloorDiv"),
    pytest.param(Pointwise(_pad_to_multiple), id="Mod"),
    pytest.param(Pointwise(lambda x: x.new_zeros(torch.sym_max(x.shape[1], 20))), id="Max"),
    pytest.param(Pointwise(lambda x: torch.cat([x, x[:, ::2]], 1)), id="CeilDiv"),
    pytest.param(Pointwise(_masked), id="where-arange-gelu"),
    pytest.param(Pointwise(_low_pass), id="fft"),
    pytest.param(Pointwise(_circular_convolution), id="convolution"),
    pytest.param(Pointwise(lambda x: torch.bmm(x[:, :, None], x[:, None])), id="bmm"),
    pytest.param(
        Pointwise(lambda x: torch.einsum("bi,bj->bij", x, x).softmax(-1)), id="einsum-softmax"
    ),
    pytest.param(Pointwise(lambda x: (2 * x).add_(1).clamp_(0, 1)), id="in-place"),
    pytest.param(Pointwise(lambda x: x.masked_fill(x > 1, float("-inf"))), id="infinite-constant"),
]


@pytest.mark.parametrize("module", LEGITIMATE)
def test_programs_with_symbolic_shapes_pass_and_load(module, tmp_path):
    path, x = tmp_path / "program.pt2", torch.rand(3, 30)
    export_pt2(path, module, (x,))
    check_pt2(path)
    loaded = torch.export.load(path).module(check_guards=False)
    # Same operators on the same numbers; only the order of a reduction may differ.
    torch.testing.assert_close(loaded(x), module(x))


def test_parameters_buffers_and_constants_pass_and_load(clean, tmp_path):
    path = write(tmp_path / "program.pt2", clean)
    check_pt2(path)
    loaded = torch.export.load(path).module(check_guards=False)
    assert loaded(torch.zeros(2, 8)).shape == (2, 8)


def test_an_archive_as_torch_writes_it_passes(as_written):
    check_pt2(as_written)


# --- Attacks that run on load or on the first call ------------------------------------------------


def _python(marker: Path) -> str:
    """Python that leaves a trace, without quotes, dots or spaces."""
    source = f"open({str(marker)!r}, 'w').close()"
    return f"exec(bytes([{','.join(map(str, source.encode()))}]))"


def _evaluated_shape(members: Members, marker: Path) -> Members:
    def edit(document):
        for meta in document["graph_module"]["graph"]["tensor_values"].values():
            for size in meta["sizes"]:
                if "as_expr" in size:
                    text = size["as_expr"]["expr_str"]
                    size["as_expr"]["expr_str"] = f"open({str(marker)!r}, 'w').name and {text}"

    return edited(members, edit)


def _constant_name_in_source(members: Members, marker: Path) -> Members:
    name = f'training", {_python(marker)})#'

    def rename(document):
        for spec in document["graph_module"]["signature"]["input_specs"]:
            constant = spec.get("tensor_constant", {})
            if constant.get("tensor_constant_name") == "constant":
                constant["tensor_constant_name"] = name

    def move(document):
        document["config"][name] = document["config"].pop("constant")

    return edited(edited(members, rename), move, CONSTANTS)


def _node(target: str, *arguments: dict[str, Any]) -> dict[str, Any]:
    return {
        "target": target,
        "inputs": list(arguments),
        "outputs": [{"as_tensor": {"name": "evil"}}],
        "metadata": {},
        "is_hop_single_tensor_return": None,
        "name": "evil",
    }


def _call(members: Members, node: dict[str, Any]) -> Members:
    def edit(document):
        graph = document["graph_module"]["graph"]
        graph["nodes"].insert(0, node)
        graph["tensor_values"]["evil"] = graph["tensor_values"]["c_constant"]

    return edited(members, edit)


def _file_written_by_an_operator(members: Members, marker: Path) -> Members:
    node = _node(
        "torch.ops.aten.from_file.default",
        {"name": "filename", "arg": {"as_string": str(marker)}, "kind": 1},
        {"name": "shared", "arg": {"as_bool": True}, "kind": 1},
        {"name": "size", "arg": {"as_int": 4}, "kind": 1},
    )
    return _call(members, node)


class _Pickle:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return (exec, (f"open({str(self.marker)!r}, 'w').close()",))


def _pickled(marker: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save(_Pickle(marker), buffer)
    return buffer.getvalue()


def _pickled_sample_inputs(members: Members, marker: Path) -> Members:
    return {**members, SAMPLE_INPUTS: _pickled(marker)}


def _pickled_weight(members: Members, marker: Path) -> Members:
    def edit(document):
        for payload in document["config"].values():
            payload["use_pickle"] = True

    weights = {name: _pickled(marker) for name in members if "/weights/weight_" in name}
    return edited({**members, **weights}, edit, WEIGHTS)


def _opaque_object(members: Members, marker: Path) -> Members:
    def edit(document):
        document["config"]["constant"]["path_name"] = "opaque_obj_0"
        document["config"]["constant"]["use_pickle"] = True

    name = "archive/data/constants/opaque_obj_0"
    return edited({**members, name: pickle.dumps(_Pickle(marker))}, edit, CONSTANTS)


ATTACKS = {
    "evaluated-shape": (_evaluated_shape, "not arithmetic"),
    "constant-name-in-source": (_constant_name_in_source, "not of a known form"),
    "file-written-by-an-operator": (_file_written_by_an_operator, "from_file"),
    "pickled-sample-inputs": (_pickled_sample_inputs, "pickled sample inputs"),
    "pickled-weight": (_pickled_weight, "a tensor is pickled"),
    "opaque-object": (_opaque_object, "a tensor is pickled"),
    "two-directories": (None, "directory"),
}

#: Loads every program in a folder as the engine does, but unguarded.
_VICTIM = """
import sys, warnings
from pathlib import Path
import torch
warnings.simplefilter("ignore")
for path in sorted(Path(sys.argv[1]).glob("*.pt2")):
    try:
        torch.export.load(path).module(check_guards=False)(torch.ones(3, 8))
    except Exception as error:
        print(path.name, repr(error)[-300:])
"""


def _attack(name: str, clean: Members, folder: Path) -> tuple[Path, Path]:
    path, marker = folder / f"{name}.pt2", folder / f"{name}.ran"
    build, _ = ATTACKS[name]
    if build is None:
        path.write_bytes(_two_directories(clean, _evaluated_shape(clean, marker)))
    else:
        write(path, build(clean, marker))
    return path, marker


def _two_directories(shown: Members, hidden: Members) -> bytes:
    """An archive in which zipfile finds `shown`, and torch's own reader `hidden`.

    The end record names the offset of one directory; zipfile looks right before the end record
    instead and takes the difference for a prefix, to be added to every offset.
    """
    hidden_body, hidden_directory, count = _split(raw(hidden))
    shown_body, shown_directory, _ = _split(raw(shown))
    assert len(hidden_directory) == len(shown_directory)
    prefix = hidden_body + hidden_directory
    shift = len(shown_directory) + len(shown_body)
    moved, position = bytearray(shown_directory), 0
    while position < len(moved):
        lengths = struct.unpack_from("<3H", moved, position + 28)
        (offset,) = struct.unpack_from("<L", moved, position + 42)
        struct.pack_into("<L", moved, position + 42, len(prefix) + offset - shift)
        position += 46 + sum(lengths)
    end = struct.pack(
        "<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, len(moved), len(hidden_body), 0
    )
    return prefix + shown_body + bytes(moved) + end


def _split(archive: bytes) -> tuple[bytes, bytes, int]:
    _, _, _, _, count, size, start, _ = struct.unpack("<4s4H2LH", archive[-22:])
    return archive[:start], archive[start : start + size], count


@pytest.fixture(scope="module")
def ran(clean, tmp_path_factory) -> set[str]:
    """Names of the attacks that left their trace in a process without the guard."""
    folder = tmp_path_factory.mktemp("attacks")
    markers = {name: _attack(name, clean, folder)[1] for name in ATTACKS}
    victim = [sys.executable, "-c", _VICTIM, str(folder)]
    subprocess.run(victim, check=True, timeout=60, stdout=subprocess.DEVNULL)
    return {name for name, marker in markers.items() if marker.exists()}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_that_works_on_torch_is_refused(name, clean, ran, tmp_path):
    assert name in ran, "not an attack: nothing ran without the guard"
    path, marker = _attack(name, clean, tmp_path)
    with pytest.raises(UnsafeProgram, match=ATTACKS[name][1]):
        check_pt2(path)
    assert not marker.exists()


# --- Whatever else is not plain -------------------------------------------------------------------


def _signature(document):
    entries = document["graph_module"]["module_call_graph"]
    return next(entry["signature"] for entry in entries if entry["fqn"] == "")


def _set_tree(type_name: str, context: str) -> Callable[[Any], None]:
    def edit(document):
        _signature(document)["in_spec"] = json.dumps(
            [1, {"type": type_name, "context": context, "children_spec": []}]
        )

    return edit


def _rename_output(name: str) -> Callable[[Any], None]:
    def edit(document):
        graph = document["graph_module"]["graph"]
        old = graph["outputs"][0]["as_tensor"]["name"]
        text = json.dumps(graph).replace(json.dumps(old), json.dumps(name))
        document["graph_module"]["graph"] = json.loads(text)

    return edit


def _first_shape(value: object) -> Callable[[Any], None]:
    def edit(document):
        meta = next(iter(document["graph_module"]["graph"]["tensor_values"].values()))
        meta["sizes"][0] = value

    return edit


def _expression(text: str) -> Callable[[Any], None]:
    return _first_shape({"as_expr": {"expr_str": text, "hint": None}})


def _wide(word: str) -> str:
    """Letters that Python reads as the plain ones in an identifier."""
    return "".join(chr(ord(letter) + 0xFEE0) for letter in word)


def _target(target: str) -> Callable[[Any], None]:
    def edit(document):
        document["graph_module"]["graph"]["nodes"][0]["target"] = target

    return edit


def _first_argument(value: object) -> Callable[[Any], None]:
    def edit(document):
        document["graph_module"]["graph"]["nodes"][0]["inputs"][0]["arg"] = value

    return edit


UNSAFE_DOCUMENTS = {
    "argument-names-in-source": lambda d: _signature(d).update(
        forward_arg_names=["x=__import__('os')"]
    ),
    "argument-tree-imports-an-enum": _set_tree(
        "builtins.dict", '[{"__enum__": true, "fqn": "antigravity:X", "name": "x"}]'
    ),
    "argument-tree-imports-a-factory": _set_tree(
        "collections.defaultdict", '{"default_factory_module": "antigravity"}'
    ),
    "argument-tree-names-in-source": _set_tree("builtins.dict", '["x=exec(1)"]'),
    "node-name-with-code": _rename_output("a = exec('1')"),
    "node-name-with-a-newline": _rename_output("a\nimport os"),
    "node-name-that-is-a-path": _rename_output("torch.ops.aten.add"),
    "node-name-beyond-ascii": _rename_output(_wide("exec")),
    "shape-calls-a-builtin": _expression("eval(s0)"),
    "shape-calls-a-builtin-beyond-ascii": _expression(_wide("eval") + "(s0)"),
    "shape-reads-an-attribute": _expression("Integer(1).Add"),
    "shape-reads-an-attribute-beyond-ascii": _expression("(1)." + _wide("numerator")),
    "shape-with-a-string": _expression("Max('s0', 1)"),
    "shape-with-a-lambda": _expression("(lambda: s0)()"),
    "shape-that-stalls-a-backtracking-check": _expression("1" * 5000 + "!"),
    "shape-that-is-a-list": _first_shape({"as_expr": {"expr_str": ["s0", "eval(s0)"]}}),
    "hint-that-is-text": _first_shape({"as_expr": {"expr_str": "s0", "hint": {"as_int": "exec"}}}),
    "target-below-torch": _target("torch.hub.load"),
    "target-of-another-namespace": _target("torch.ops.prim.device.default"),
    "target-of-an-extension": _target("#ext:op"),
    "target-that-is-bare": _target("exec"),
    "target-builtin": _target("builtins.exec"),
    "target-operator-call": _target("_operator.call"),
    "target-operator-attrgetter": _target("_operator.attrgetter"),
    "target-higher-order": _target("torch.ops.higher_order.cond"),
    "target-sets-attributes": _target("torch.ops.aten.__setattr__.__call__"),
    "target-below-an-operator": _target("torch.ops.aten.add.__init__"),
    "target-too-deep": _target("torch.ops.aten.add.Tensor.__globals__"),
    "target-saves-a-pickle": _target("torch.ops.aten.save.default"),
    "target-swaps-storage": _target("torch.ops.aten.set_.source_Tensor"),
    "target-seeds-the-process": _target("torch.ops.aten.manual_seed.default"),
    "target-trusts-indices": _target("torch.ops.aten._sparse_coo_tensor_unsafe.default"),
    "operator-as-an-argument": _first_argument({"as_operator": "torch.hub.load"}),
    "custom-object-as-an-argument": _first_argument(
        {"as_custom_obj": {"name": "o", "class_fqn": "__torch__.X"}}
    ),
    "metadata-used-as-a-hiding-place": lambda d: d["graph_module"]["graph"]["tensor_values"].update(
        metadata={"sizes": [{"as_expr": {"expr_str": "eval(s0)"}}]}
    ),
    "text-under-an-unknown-key": lambda d: d.update(future_feature="exec"),
}


@pytest.mark.parametrize("edit", UNSAFE_DOCUMENTS.values(), ids=UNSAFE_DOCUMENTS)
def test_text_that_torch_would_evaluate_is_refused(edit, clean, tmp_path):
    changed = edited(clean, edit)
    assert changed != clean
    with pytest.raises(UnsafeProgram, match=r"models/model\.json"):
        check_pt2(write(tmp_path / "program.pt2", changed))


@pytest.mark.parametrize(
    "value",
    [True, 1, "yes", [True], [[]], {"a": 1}, None],
    ids=["true", "number", "text", "list", "nested-list", "object", "null"],
)
def test_only_false_says_that_a_tensor_is_not_pickled(value, clean, tmp_path):
    def edit(document):
        next(iter(document["config"].values()))["use_pickle"] = value

    with pytest.raises(UnsafeProgram, match="pickled"):
        check_pt2(write(tmp_path / "program.pt2", edited(clean, edit, WEIGHTS)))


@pytest.mark.parametrize("path_name", ["custom_obj_0", "../models/model.json", "/etc/passwd", ""])
def test_a_tensor_lies_only_where_tensors_lie(path_name, clean, tmp_path):
    def edit(document):
        next(iter(document["config"].values()))["path_name"] = path_name

    with pytest.raises(UnsafeProgram, match="path_name"):
        check_pt2(write(tmp_path / "program.pt2", edited(clean, edit, CONSTANTS)))


MEMBERS = [
    "archive/data/constants/custom_obj_0",
    "archive/data/constants/opaque_obj_0",
    "archive/data/constants/model.pt",
    "archive/data/weights/model.pt",
    "archive/data/aotinductor/model/model.so",
    "archive/extra/notes.txt",
    "archive/models/model.json.bak",
    "archive/models/../models/model.json",
    "archive/models/sub/model.json",
    "archive/",
    "version",
    "serialized_state_dict.pt",
    "/archive/data/weights/weight_9",
    "archive\\models\\other.json",
    "archive//models/other.json",
    "archive/data/weights/weight_٣",
    "archive/data/weights/weight_9\nx",
    "../data/weights/weight_9",
    "other/data/weights/weight_9",
]


@pytest.mark.parametrize("member", MEMBERS)
def test_a_member_of_another_name_is_refused(member, clean, tmp_path):
    with pytest.raises(UnsafeProgram):
        check_pt2(write(tmp_path / "program.pt2", {**clean, member: b""}))


@pytest.mark.parametrize("second", [GRAPH, "archive/models/MODEL.json"], ids=["same", "other-case"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused(second, clean, tmp_path):
    path = write(tmp_path / "program.pt2", clean)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(second, clean[GRAPH])
    with pytest.raises(UnsafeProgram, match="one name"):
        check_pt2(path)


def test_a_name_that_ends_early_is_refused(clean, tmp_path):
    # zipfile reads a name up to its NUL, torch reads all of it.
    path = write(tmp_path / "program.pt2", {**clean, "archive/data/weights/weight_9#x": b""})
    path.write_bytes(path.read_bytes().replace(b"weight_9#x", b"weight_9\0x"))
    with pytest.raises(UnsafeProgram, match="not a plain member name"):
        check_pt2(path)


def test_compressed_members_are_refused_unread(clean, tmp_path):
    path = tmp_path / "program.pt2"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in clean.items():
            archive.writestr(name, content)
        archive.writestr("archive/models/bomb.json", b" " * (64 << 20))
    assert path.stat().st_size < 1 << 20
    with pytest.raises(UnsafeProgram, match="stored as it is"):
        check_pt2(path)


def _with_comment(archive: bytes) -> bytes:
    return archive[:-2] + b"\x01\x00#"


def _with_prefix(archive: bytes) -> bytes:
    return b"#!/bin/sh\n" + archive


DAMAGED = {
    "empty": lambda archive: b"",
    "not-a-zip": lambda archive: b"{}",
    "pickle": lambda archive: b"\x80\x04.",
    "cut": lambda archive: archive[: len(archive) // 2],
    "without-its-end": lambda archive: archive[:-1],
    "with-a-comment": _with_comment,
    "with-a-prefix": _with_prefix,
    "with-a-suffix": lambda archive: archive + b"#",
    "no-members": lambda archive: raw({}),
    "flipped-bits-in-the-graph": lambda archive: archive.replace(
        b'"graph_module"', b'"grbph_module"'
    ),
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_what_is_not_exactly_an_archive_is_refused(damage, clean, tmp_path):
    path = tmp_path / "program.pt2"
    path.write_bytes(damage(raw(clean)))
    with pytest.raises(UnsafeProgram):
        check_pt2(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"not json", b"\xff\xfe{\x00}\x00", b"[" * 100_000, b'{"a": 1' + b"0" * 5000 + b"}"],
    ids=["empty", "text", "utf-16", "deep", "huge-integer"],
)
def test_a_document_that_cannot_be_read_is_refused(content, clean, tmp_path):
    with pytest.raises(UnsafeProgram, match="not JSON"):
        check_pt2(write(tmp_path / "program.pt2", {**clean, GRAPH: content}))


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UnsafeProgram, match=r"not a torch\.export archive"):
        check_pt2(tmp_path / "program.pt2")
