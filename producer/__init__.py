"""The way in, and the way to look: scan, submit, watch, results."""
