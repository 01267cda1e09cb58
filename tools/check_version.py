"""Fail unless both distributions carry the version on top of CHANGELOG.md."""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def main() -> int:
    """0 when the three agree."""
    changelog = (ROOT / "CHANGELOG.md").read_text()
    top = re.search(r"^## \[?(\d+\.\d+\.\d+)", changelog, re.MULTILINE)
    versions = {
        "CHANGELOG.md": top[1] if top else "none",
        **{
            path: tomllib.loads((ROOT / path).read_text())["project"]["version"]
            for path in ("pyproject.toml", "client/pyproject.toml")
        },
    }
    if len(set(versions.values())) > 1:
        print(f"versions disagree: {versions}")  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
