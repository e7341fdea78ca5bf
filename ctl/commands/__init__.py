"""One module for each noun. A command reads options, asks, and prints; it decides nothing."""
