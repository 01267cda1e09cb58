"""Counts that are forgotten at zero."""

from collections import Counter
from typing import TypeVar

Key = TypeVar("Key")


class Tally(Counter[Key]):
    """How many there are of each; what there is none of is no key."""

    # `counter -= Counter(...)` looks at every key, and these are changed with every request.
    def leave(self, key: Key, count: int = 1) -> None:
        """So many of them have gone."""
        self[key] -= count
        if not self[key]:
            del self[key]
