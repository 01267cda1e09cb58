"""The Prefer header (RFC 7240): how the client would like to wait."""

import re
from typing import NamedTuple

_MEMBER = re.compile(r'(?:[^,"]|"(?:\\.|[^"\\])*"?)+')
_SECONDS = re.compile(r"[0-9]{1,9}")


class Preferences(NamedTuple):
    """What a client prefers; None and False where it has no preference.

    Attributes:
        respond_async: an answer at once, or after `wait_s`, in the shape of a job.
        wait_s: longest to be kept waiting, whole seconds.
    """

    respond_async: bool = False
    wait_s: int | None = None

    def applied(self, *, became_job: bool, max_wait_s: float) -> str:
        """The value of Preference-Applied; empty when nothing was.

        Args:
            became_job: whether the answer is a job.
            max_wait_s: longest the server lets a client wait.
        """
        words = ["respond-async"] if self.respond_async and became_job else []
        if self.wait_s is not None and self.wait_s <= max_wait_s:
            words.append(f"wait={self.wait_s}")
        return ", ".join(words)


NO_PREFERENCES = Preferences()


def read_preferences(header: str | None) -> Preferences:
    """What a Prefer header asks for; unknown and malformed members are passed over.

    Args:
        header: several of them joined by commas; None for none.
    """
    if header is None:
        return NO_PREFERENCES
    members: dict[str, str] = {}
    for member in _MEMBER.findall(header):
        name, _, value = member.partition(";")[0].partition("=")
        # Of a preference given twice, the first one counts.
        members.setdefault(name.strip().lower(), value.strip().strip('"'))
    wait = members.get("wait", "")
    return Preferences(
        respond_async=members.get("respond-async") == "",
        wait_s=int(wait) if _SECONDS.fullmatch(wait) else None,
    )
