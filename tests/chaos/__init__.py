"""Storms: the whole line against simulated trouble, judged by the simulator's own books."""
