"""Lines of an input, made for tests."""

from __future__ import annotations

import json
from typing import Any

from bucketline.settings import Settings

__all__ = ["SETTINGS", "chat_line"]

SETTINGS = Settings.model_validate(
    {
        "providers": {
            "alpha": {"base_url": "http://127.0.0.1:9/v1", "api_key_env": "ALPHA_API_KEY"},
            "beta": {"base_url": "http://127.0.0.1:9/v1", "api_key_env": "BETA_API_KEY"},
        },
        "models": {
            "small": {"routes": [{"provider": "alpha", "model": "small"}]},
            "sure": {"routes": [{"provider": "alpha", "model": "small"}, {"provider": "beta", "model": "large"}]},
        },
        "prices": {"alpha/small": {"input": "1", "output": "2"}},
    }
)


def chat_line(custom_id: Any, text: str = "hello", model: str | None = "small") -> bytes:
    """One request without its line end."""
    body: dict[str, Any] = {} if model is None else {"model": model}
    body["messages"] = [{"role": "user", "content": text}]
    line = {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}
    return json.dumps(line, ensure_ascii=False).encode("utf-8", "surrogatepass")
