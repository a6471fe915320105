"""How a halo sample is divided into batches, which are evaluated one at a time.

The scatter between B batches measures the covariance of the halo sample's noise, with B - 1 degrees of
freedom. With hardly more of them than modes (some 20 a slice) noise is underestimated in some combination
of modes, and posteriors are too narrow: with eight modes and four times as much halo noise as counting noise
the squared distance of truths is 1.5 times what it should be with 16 batches, and 1.1 with 64
(`tests/infer/test_likelihood.py`).
"""

import math

LARGEST_BATCH = 4096  # halos of a slice; measured, a halo costs least in batches of this size
# as many as tell the covariance of the noise between them, unless that leaves each with very few halos
FEWEST_BATCHES, WANTED_BATCHES, SMALLEST_BATCH = 16, 64, 32
TOGETHER = 4096  # candidates of a slice that are drawn at once
CANDIDATES, MORE = 6, 4  # for every halo that is kept; times more where they make few galaxies
LEARNED_FROM = 1536  # halos of a slice that tell where candidates are to be drawn


def batch_shape(n_per_slice: int) -> tuple[int, int]:
    """Number of batches and halos of a slice in each, `LARGEST_BATCH` at most."""
    wanted = min(WANTED_BATCHES, max(FEWEST_BATCHES, n_per_slice // SMALLEST_BATCH))
    n_batch = max(wanted, math.ceil(n_per_slice / LARGEST_BATCH))
    return n_batch, max(n_per_slice // n_batch, 1)
