"""What a check of `maskmill doctor` found."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Literal

Status = Literal["ok", "note", "warning", "error"]


@dataclass(frozen=True)
class Diagnosis:
    """One thing that was looked at.

    Args:
        status: an `error` ends a command or gives wrong results, a `warning` may do so, a `note` is
            something that is missing and not needed.
        subject: what was looked at.
        found: what was found, and what was expected if it is a problem.
        fix: what to do; empty for `ok`.
        repair: does it, for `maskmill doctor --fix`.

    Example:
        >>> print(Diagnosis("warning", "disk", "1.0 GB are free, expected 5 GB", "free space"))
        warning  disk: 1.0 GB are free, expected 5 GB - free space
    """

    status: Status
    subject: str
    found: str
    fix: str = ""
    repair: Callable[[], None] | None = field(default=None, compare=False)

    def __str__(self) -> str:
        ending = f" - {self.fix}" if self.fix else ""
        return f"{self.status:<7}  {self.subject}: {self.found}{ending}"

    def as_dict(self) -> dict[str, str]:
        """The fields but the repair, for `--json`."""
        fields = asdict(self)
        del fields["repair"]
        return fields
