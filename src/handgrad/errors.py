"""What handgrad says when it cannot go on: what, where, why, and one next step."""

from __future__ import annotations

from handgrad.escape import escaped, escaped_name

VERIFIED = 0
WRONG = 1
BAD_INPUT = 2
USER_CODE = 3
BUG = 4
UNDECIDED = 5


class HandgradError(Exception):
    """Report a failure whose first line stands alone.

    Args:
        what: what went wrong, in the user's names.
        where: file and line, or the name of the argument.
        why: the cause, as measured.
        hint: one next step.
    """

    exit_code = BUG

    def __init__(self, what: str, *, where: str = "", why: str = "", hint: str = "") -> None:
        self.what, self.where, self.why, self.hint = what, where, why, hint
        super().__init__(self.message)

    @property
    def message(self) -> str:
        """Join the parts: the first line stands alone, the rest is indented or says what to try."""
        first, *rest = self.what.split("\n")
        lines = [f"{escaped_name(self.where)}: {first}" if self.where else first]
        lines += [f"    {line}" for line in [*rest, *self.why.split("\n")] if line]
        if self.hint:
            lines.append(f"try: {self.hint}")
        return escaped("\n".join(lines))

    def to_dict(self) -> dict[str, object]:
        """Return the parts as plain data."""
        return {
            "error": self.what,
            "where": self.where,
            "why": self.why,
            "try": self.hint,
            "exit_code": self.exit_code,
        }


class BadInput(HandgradError):
    """A file, an argument or a forward pass that handgrad cannot work on."""

    exit_code = BAD_INPUT


def must_be(value: object, kind: type, call: str) -> None:
    """Refuse what is of another kind than a function of ours works on.

    Args:
        value: what was given.
        kind: what it must be.
        call: how one is made and passed, `hg.derive(hg.trace(forward, *args))`.

    Raises:
        BadInput: it is of another kind.
    """
    if not isinstance(value, kind):
        name = getattr(value, "__name__", "")
        what = f"{name} is" if name else "it was given"
        raise BadInput(
            f"{call.partition('(')[0]} works on a {kind.__name__}, and {what} a "
            f"{type(value).__name__}",
            hint=call,
        )


class NoRule(BadInput):
    """A derivative was asked of an op that has no row in the table."""


class UserCodeFailed(HandgradError):
    """The user's own code raised."""

    exit_code = USER_CODE


class Undecided(HandgradError):
    """Nothing can be said about a gradient: NaN in both, or nothing to compare with."""

    exit_code = UNDECIDED


class Mismatch(HandgradError):
    """A backward pass that handgrad wrote is not autograd's: a bug, never shown as a result."""

    exit_code = BUG
