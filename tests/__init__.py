"""Tests are promises: a name is a sentence, nobody sleeps, the real part runs wherever it can."""
