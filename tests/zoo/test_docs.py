from pathlib import Path

from certisolve_zoo.records import WEIGHTS
from certisolve_zoo.report import markdown_tables

PAGE = Path(__file__).parents[2] / "docs" / "models.md"


def test_the_tables_of_the_page_are_those_of_the_records():
    _, _, rest = PAGE.read_text(encoding="utf-8").partition(
        "<!-- python -m certisolve_zoo table -->"
    )
    tables, _, _ = rest.partition("<!-- end -->")
    assert tables.strip() == markdown_tables(WEIGHTS).strip()
