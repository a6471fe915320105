"""The exceptions that users are meant to see, and how values look in them."""

from collections.abc import Sequence

LONGEST = 80  # characters of a value that a message repeats


def shortened(text: str, longest: int = LONGEST) -> str:
    """One line of printable characters, with its middle left out when it is long."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    if len(plain) <= longest:
        return plain
    return f"{plain[: longest // 2]}...{plain[-longest // 4 :]} ({len(plain):,} characters)"


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its kind where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def percent(fraction: float) -> str:
    """A fraction in percent as a person writes it: two digits, whole percents from 10 % on."""
    value = 100 * fraction
    if 0 < value < 0.001:
        return "less than 0.001 %"
    return f"{value:.0f} %" if abs(value) >= 10 else f"{value:.2g} %"


class InputError(ValueError):
    """What the user gave can't be used.

    The message is one line: it names the file, field or value, and what would be right. The command line
    prints it without a traceback and exits with code 2.

    Attributes
    ----------
    lines : the message; several lines when several things are wrong, one a thing.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.lines: tuple[str, ...] = (message,)

    @classmethod
    def of_lines(cls, lines: Sequence[str]) -> "InputError":
        """One error for several wrong things, each with a line of its own."""
        error = cls("\n".join(lines))
        error.lines = tuple(lines)
        return error

    def __reduce__(self) -> tuple[object, ...]:
        """Keep the lines when the error passes from one process to another."""
        return InputError.of_lines, (self.lines,)


class NotConvergedError(RuntimeError):
    """The posterior did not pass the convergence gate; the command line exits with code 3."""


class MisfitError(RuntimeError):
    """The model doesn't describe the data; the command line exits with code 4."""
