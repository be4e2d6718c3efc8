"""What the tests of the gate share: the scripts on a clock of their own, and the promises that both Redis keep."""
