"""The words that both sides of the line say: requests, outcomes, money, settings, names, the store, the ledger."""
