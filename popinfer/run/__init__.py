"""Where a run file becomes objects, stages and results: ``results/<run>/``."""
