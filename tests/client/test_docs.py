"""The examples of the pages for Python, run against a real server."""

import re
from pathlib import Path

import numpy as np

from certisolve import Client, _errors

DOCS = Path(__file__).parents[2] / "docs"
GUIDE = DOCS / "sdk.md"


def blocks(heading, page=GUIDE):
    """The Python blocks under a heading of a page."""
    section = page.read_text().split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


def test_the_tree_of_exceptions_is_the_modules():
    tree = GUIDE.read_text().split("```\nCertisolveError", 1)[1].split("```", 1)[0]
    assert tree in _errors.__doc__


def test_a_job_in_the_background_runs_as_written(servers, backend, capsys):
    program, _ = blocks("Jobs in the background")
    backend.ends_jobs = True
    exec(
        compile(program.replace("http://127.0.0.1:8000", servers[1]["http"]), "sdk.md", "exec"), {}
    )
    printed = capsys.readouterr().out
    assert "job-0: queued, 3 before it, 0% done" in printed
    assert "job-0: succeeded, 100% done" in printed
    assert "(256,) Diagnostics(" in printed
    (request,) = backend.requests
    assert (request.tenant, request.priority) == ("team-7", "low")


def test_a_key_of_ones_own_finds_the_job_again(servers, backend):
    _, program = blocks("Jobs in the background")
    with Client(servers[1]["http"]) as client:
        names = {"client": client, "u0": np.zeros(4)}
        exec(program, names)
        first = names["job"].id
        exec(program, names)
    assert names["job"].id == first


def test_a_stream_runs_as_written(servers, backend, capsys):
    [program] = blocks("In Python", DOCS / "streaming.md")
    exec(compile(program.replace("http://127.0.0.1:8000", servers[1]["http"]), "page", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "1/10: t = 2.5, 10.000"
    assert len(printed) == 11
    assert printed[-1].startswith("ok Diagnostics(")
    [request] = backend.requests
    assert (request.model, request.steps, request.save_every) == ("ks1d-memno", 50, 5)


def test_frames_come_as_the_guide_says(servers, backend, capsys):
    [program] = blocks("Frame by frame")
    with Client(servers[1]["http"]) as client:
        exec(program.replace('"w"', '"u"'), {"client": client, "w0": np.ones(4)})
    assert len(capsys.readouterr().out.splitlines()) == 51
