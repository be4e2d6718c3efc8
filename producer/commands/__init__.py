"""The commands that need no worker; each file registers one verb."""
