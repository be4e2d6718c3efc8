"""The line of workers: shards, dispatch, providers, limits, records, the merge."""
