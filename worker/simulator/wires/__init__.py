"""The wires that the simulator speaks: one file for each provider's shape, ``base`` for what they share.

``routes`` finds the wire of a path.
"""
