"""Every test runs in float64, with array shapes checked at run time."""

from jaxtyping import install_import_hook

with install_import_hook("popinfer", "beartype.beartype"):
    from popinfer import precision

precision.start()
