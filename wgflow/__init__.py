"""WGFlow: neural energy-based models learned by Wasserstein gradient flow."""

from wgflow._version import __version__

__all__ = ["__version__"]
