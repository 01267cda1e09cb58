from pathlib import Path

from certisolve_zoo.records import WEIGHTS
from certisolve_zoo.report import (
    BASELINES_BEGIN,
    ERRORS_BEGIN,
    baselines_table,
    errors_table,
    put_table,
    table_of,
)

DOCS = Path(__file__).parents[2] / "docs"


def test_the_errors_of_the_page_are_those_of_the_records():
    assert table_of(DOCS / "models.md", ERRORS_BEGIN) == errors_table(WEIGHTS)


def test_the_baselines_of_the_page_are_those_of_the_records():
    assert table_of(DOCS / "honest-baselines.md", BASELINES_BEGIN) == baselines_table(WEIGHTS)


def test_a_table_replaces_what_stood_there_and_nothing_else(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{ERRORS_BEGIN}\nold\n<!-- end -->\nafter\n")
    put_table(page, ERRORS_BEGIN, "| new |\n")
    assert page.read_text() == f"before\n{ERRORS_BEGIN}\n| new |\n<!-- end -->\nafter\n"
