"""Studies that share their surveys among processes, each started with ``--part I N``."""

import os


def take(part: list[int] | None) -> tuple[int, int]:
    """First survey and step of this process, which keeps to one core: parts don't wait for each other."""
    if part is None:
        return 0, 1
    first, step = part
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[first % len(cores)]})
    return first, step
