"""The one exception that users are meant to see."""


class InputError(ValueError):
    """What the user gave can't be used.

    The message is one line: it names the file, field or value, and what would be right. The command line
    prints it without a traceback and exits with code 2.
    """


class NotConvergedError(RuntimeError):
    """The posterior did not pass the convergence gate; the command line exits with code 3."""
