"""How a halo sample is divided into batches, which are drawn and evaluated one at a time."""

import math

LARGEST_BATCH = 4096  # halos of a slice; measured, a halo costs least in batches of this size
FEWEST_BATCHES = 16  # fewer don't tell the noise between batches
CANDIDATES, MORE = 6, 4  # for every halo that is kept; times more where they make few galaxies


def batch_shape(n_per_slice: int) -> tuple[int, int]:
    """Number of batches and halos of a slice in each, `FEWEST_BATCHES` or more of `LARGEST_BATCH` at most."""
    n_batch = max(FEWEST_BATCHES, math.ceil(n_per_slice / LARGEST_BATCH))
    return n_batch, max(n_per_slice // n_batch, 1)
