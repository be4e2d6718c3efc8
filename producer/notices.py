"""Notices of new objects: S3 event notifications that wait in an SQS queue.

Comes in: the queue's address. Goes out: a nudge to look at the inbox now. A notice is no more than that: what is taken is
what the listing shows, so a lost, doubled, late or foreign message changes nothing but the time. Run beside ``inbox``
where ``sqs_url`` is configured. Credentials and endpoint are the SDK's usual ones.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import structlog

__all__ = ["Notices"]

_log = structlog.get_logger(__name__)
_WAIT_S = 5  #: one long poll; stopping may take as long
_AGAIN_S = 10.0  #: after an error


class Notices:
    """One queue."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client: Any = None

    async def run(self, nudge: Callable[[], None], stop: asyncio.Event) -> None:
        """Call ``nudge`` whenever messages came, until told to stop; errors are waited out."""
        while not stop.is_set():
            try:
                if await asyncio.to_thread(self._receive):
                    nudge()
            except Exception as error:  # the SDK's errors have no common root but this; listing goes on without notices
                _log.warning("notices_put_off", error=type(error).__name__)
                try:
                    async with asyncio.timeout(_AGAIN_S):
                        await stop.wait()
                except TimeoutError:
                    continue

    def _receive(self) -> bool:
        """Wait for messages and drop them; whether there were any."""
        if self._client is None:
            import boto3

            region = re.search(r"//sqs\.([a-z0-9-]+)\.", self._url)
            self._client = boto3.client("sqs", region_name=region.group(1) if region else None)
        answer = self._client.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10, WaitTimeSeconds=_WAIT_S)
        messages = answer.get("Messages", [])
        if messages:
            entries = [
                {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
                for number, message in enumerate(messages)
            ]
            self._client.delete_message_batch(QueueUrl=self._url, Entries=entries)
        return bool(messages)
