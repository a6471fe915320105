"""What a run file may say, and how it is read: one section a module, every number with its bounds."""

from popinfer.config.run import NutsConfig, RunConfig, SampleConfig, load_config

__all__ = ["NutsConfig", "RunConfig", "SampleConfig", "load_config"]
