"""Bodies between forms: each form's reader, each wire's writer, and the answers back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from bucketline.request import Form
from worker.providers.forms.chat_read import read_chat
from worker.providers.forms.generate_read import read_generate
from worker.providers.forms.messages_read import read_messages
from worker.providers.forms.responses_read import read_responses
from worker.providers.neutral import Prompt

__all__ = ["PROMPT_READERS"]

#: the form of a line → the reader of its prompt; the forms of embeddings have their own (``embeddings``)
PROMPT_READERS: Mapping[Form, Callable[[dict[str, Any]], Prompt]] = MappingProxyType(
    {Form.CHAT: read_chat, Form.RESPONSES: read_responses, Form.MESSAGES: read_messages, Form.GENERATE: read_generate}
)
