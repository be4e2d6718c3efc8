"""The commands that need the line itself; each file registers one."""
