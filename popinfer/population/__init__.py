"""From halos to galaxies: the parts of the population model, and the chain of them."""
