"""How many nodes a surrogate has for each parameter, and how long the chains on it are."""

# measured on the SDSS posteriors: with 8 the surrogate's log-density is off by 0.3 (7 parameters) to 0.6 nat
# (9), with 16 by 0.2 to 0.3
NODES_PER_PARAMETER = 16
FIRST_NODES, ROUND_NODES = 8, 4  # at the start, and in each round that follows
# of 28 parameters: the error is 1.8 nat with 16, 1.3 with 36, and falls as the square root of their number
MOST_IN_ROUNDS = 52
FEWEST_NODES = 4  # a linear trend alone takes one, and errors must be told from curvature
MAX_NODES_PER_PARAMETER = 56  # arrays are padded to it, so that compiled programs don't depend on the number

# effective size of chains, in units of the draws that are asked for: 400 of these need a Kish size of 480
# then. Weights that vary as slowly along chains as the parameters, and are worth half their number, would
# leave 340 of them
CHAIN_ESS = 6.0
MAX_EXTENSIONS = 15
