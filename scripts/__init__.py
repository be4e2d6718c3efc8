"""Tools of the project itself; no part of what is installed."""
