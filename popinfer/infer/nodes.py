"""How many nodes a surrogate has."""

# exact evaluations for each parameter, measured on the SDSS posteriors: with 8 the surrogate's log-density is
# off by 0.3 (7 parameters) to 0.6 nat (9), with 16 by 0.2 to 0.3
NODES_PER_PARAMETER = 16
FEWEST_NODES = 4  # a parameter; a linear trend alone takes one, and errors must be told from curvature
MAX_NODES_PER_PARAMETER = 40  # arrays are padded to it, so that compiled programs don't depend on the number
