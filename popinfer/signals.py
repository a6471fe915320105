"""Ctrl-C and SIGTERM: what was computed is kept, and the program is gone within seconds.

Python runs signal handlers between two steps of the main thread, which may be inside a compiled program for
minutes, or inside a callback that swallows exceptions. A thread that waits for signals doesn't depend on it:
it flushes the journal of the stage at work, lets a file that is being written be finished, and ends the
process. Files are complete or absent, so nothing else has to be tidied up.
"""

import os
import signal
import socket
import sys
import threading

from popinfer.journal import flush_all, steps_kept
from popinfer.storage import WRITING

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
_LONGEST_WRITE = 3.0  # seconds to wait for a file that is being written


def leave_on_signals() -> None:
    """Make SIGINT and SIGTERM end this process in order; to be called in its main thread."""
    sender, receiver = socket.socketpair()
    sender.setblocking(False)
    signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    for number in EXIT_CODES:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup and shells in the background ask for that
            signal.signal(number, _pass_on)
    threading.Thread(target=_wait, args=(sender, receiver), daemon=True, name="signals").start()


def _pass_on(_number: int, _frame: object) -> None:
    """Leave it to the thread: the interpreter wakes it by the socket."""


def _wait(_sender: socket.socket, receiver: socket.socket) -> None:
    while True:
        number = receiver.recv(1)[0]
        if number in EXIT_CODES:
            break
    leave(number)


def leave(number: int) -> None:
    """Keep what was computed, say so, and end the process with the signal's exit code."""
    free = WRITING.acquire(timeout=_LONGEST_WRITE)
    try:
        if free:
            flush_all()
        kept = steps_kept()
    except ValueError as error:  # the disk is full
        kept = f"; {error}"
    name = "interrupted" if number == signal.SIGINT else "told to end"
    cursor = "\x1b[?25h\n" if sys.stderr.isatty() else ""  # a progress bar hides the terminal's
    os.write(2, f"{cursor}popinfer: {name}{kept}\n".encode())
    os._exit(EXIT_CODES[signal.Signals(number)])
