"""Names of jobs: unique, and not to be guessed, because a name gives access to a result."""

import os

_NUM_BYTES = 16
_BLOCK = 256


class JobIds:
    """Draws ids from the system's randomness, a block at a time: a call for each costs more."""

    def __init__(self) -> None:
        self._block = ""

    def next(self) -> str:
        """32 hexadecimal digits."""
        if not self._block:
            self._block = os.urandom(_NUM_BYTES * _BLOCK).hex()
        job_id, self._block = self._block[-2 * _NUM_BYTES :], self._block[: -2 * _NUM_BYTES]
        return job_id
