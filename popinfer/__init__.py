"""popinfer: gradient-based population inference of the galaxy-halo connection."""

__version__ = "0.1.0"
