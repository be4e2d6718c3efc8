"""What can go wrong in words a person can act on.

Every error that reaches a user is one of these; its text is one sentence that names the place and the remedy.
The command turns the class into an exit code (``exit_code``) and prints the sentence; nothing else prints errors.
Provider failures are not exceptions: they are rows of ``bucketline.failure``.

    BucketlineError              2
    ├── UsageError               2   wrong arguments, configuration or input
    │   ├── ConfigError          2   bucketline.toml or the environment
    │   └── InputError           2   the input file as a whole
    ├── BatchNotFound            2   no batch of that id in this store
    ├── NotFinished              3   asked for results that are not there yet
    ├── ServiceUnavailable       4   Redis, the store or a provider cannot be reached
    └── Interrupted              130 Ctrl-C
"""

from __future__ import annotations

__all__ = [
    "BatchNotFound",
    "BucketlineError",
    "ConfigError",
    "InputError",
    "Interrupted",
    "NotFinished",
    "ServiceUnavailable",
    "UsageError",
]


class BucketlineError(Exception):
    """Any error of ours; its text is the sentence for the user."""

    exit_code = 2


class UsageError(BucketlineError):
    """The arguments, the configuration or the input are wrong; nothing was changed."""


class ConfigError(UsageError):
    """The configuration file or the environment is wrong; the text names the key."""


class InputError(UsageError):
    """The input as a whole cannot be taken; ``faults`` lists what is wrong line by line."""

    def __init__(self, message: str, faults: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.faults = faults


class BatchNotFound(BucketlineError):
    """No batch of that id is known in this store."""


class NotFinished(BucketlineError):
    """The batch has not ended yet, so there is nothing to fetch."""

    exit_code = 3


class ServiceUnavailable(BucketlineError):
    """A service that is needed (Redis, the store) cannot be reached; the text says which and what to check."""

    exit_code = 4


class Interrupted(BucketlineError):
    """The user pressed Ctrl-C; what was recorded stays recorded."""

    exit_code = 130
