"""peerd: hosts train a model together over a mix network, and nobody can tell who contributed what."""

__version__ = "0.1.0"
