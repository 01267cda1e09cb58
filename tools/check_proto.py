"""Compare client/certisolve/v1 with what proto/ generates; `--write` brings it up to date."""

import filecmp
import os
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).parent.parent
GENERATED = ROOT / "client/certisolve/v1"


def main() -> int:
    """0 when the committed code is what the protos say."""
    if "--write" in sys.argv:
        generate(ROOT / "client")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        fresh = Path(folder) / "certisolve/v1"
        names = {path.name for path in (*fresh.glob("*_pb2*"), *GENERATED.glob("*_pb2*"))}
        _, stale, missing = filecmp.cmpfiles(fresh, GENERATED, names, shallow=False)
    if stale or missing:
        print(f"out of date: {', '.join(stale + missing)}; run `make proto`")  # noqa: T201
        return 1
    return 0


def generate(target: Path) -> None:
    """Write the Python code of every proto below `target`."""
    protos = sorted(str(path) for path in (ROOT / "proto/certisolve/v1").glob("*.proto"))
    plugins = ("python", "grpc_python", "mypy", "mypy_grpc")
    flags = [f"--{plugin}_out={'quiet:' if 'mypy' in plugin else ''}{target}" for plugin in plugins]
    if protoc.main(["protoc", f"-I{ROOT / 'proto'}", *flags, *protos]):
        raise SystemExit("protoc failed")


if __name__ == "__main__":
    # protoc looks for its plugins on PATH, where a virtual environment need not be.
    os.environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    sys.exit(main())
