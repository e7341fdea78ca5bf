"""peerd: hosts train a model together over a mix network; nobody can tell who gave what."""

__version__ = "0.1.0"
