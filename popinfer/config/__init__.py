"""What a run file may say, and how it is read: one section a module, every number with its bounds."""

from popinfer.config.run import ReadRunFile, RunConfig, examine, load_config

__all__ = ["ReadRunFile", "RunConfig", "examine", "load_config"]
