"""How hosts that speak OpenAI's wire differ from it, as data.

Comes in: a provider's preset, or its address where it has none. Goes out: its ``Quirks``. A host that is not in the
table is taken at its word: the body goes out as it is. Rules are per host and, where a host's models differ, per
family of models; they are looked up once per provider. Sources: the hosts' documentation and published servers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from urllib.parse import urlsplit

__all__ = ["Family", "Quirks", "quirks_of"]


@dataclass(frozen=True, slots=True)
class Family:
    """Models of a host, by a pattern on the name, and what holds for them alone."""

    pattern: str
    refuses: tuple[str, ...] = ()  #: parameters that the models answer with an error
    renames: Mapping[str, str] = field(default_factory=dict)
    streams: bool = False  #: thinks for long: streamed under ``auto``

    def matches(self, model: str) -> bool:
        return re.search(self.pattern, model) is not None


@dataclass(frozen=True, slots=True)
class Quirks:
    """One host. ``ignores`` are parameters that it drops without a word, which we therefore refuse by name."""

    renames: Mapping[str, str] = field(default_factory=dict)
    ignores: tuple[str, ...] = ()
    refuses: tuple[str, ...] = ()
    families: tuple[Family, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    id_header: str = "X-Client-Request-Id"
    key_header: str | None = None  #: takes the key bare; absent: Authorization, as bearer
    responses: bool = True  #: has /responses; otherwise such a line goes out as chat
    stream_usage: bool = True  #: knows stream_options.include_usage
    output_is_rest: bool = False  #: thinking stands only in the total of the usage
    cost: str | None = None  #: the member of ``usage`` that is the charge in USD
    json_schema: bool = True
    image_urls: bool = True
    embeddings: bool = True
    plain_text: bool = False  #: content goes out as a string where it is text alone
    keeps_reasoning: bool = False  #: an assistant turn with tool calls carries its reasoning_content

    plain: bool = False  #: nothing here differs from OpenAI's

    def families_of(self, model: str) -> list[Family]:
        return [family for family in self.families if family.matches(model)]


_THINKERS = Family(
    r"(?i)think|reason|(^|[/.\-])(r1|qwq|o[134]|k3|kimi-k[23])\b|gpt-oss|magistral|deepseek-v4", streams=True
)
_PLAIN = Quirks(plain=True, families=(_THINKERS,))
_CAP = MappingProxyType({"max_completion_tokens": "max_tokens"})
_NEW_CAP = MappingProxyType({"max_tokens": "max_completion_tokens"})
_SAMPLING = ("temperature", "top_p", "n", "presence_penalty", "frequency_penalty")
_OPENAI_FAMILIES = (
    Family(r"^(o\d|gpt-[5-9])", renames=_NEW_CAP, streams=True),
    Family(r"^o\d", refuses=(*_SAMPLING, "logprobs", "top_logprobs", "logit_bias")),
    Family(r"^(o3|o4-mini)", refuses=("stop",)),
)
_OPENAI = Quirks(families=_OPENAI_FAMILIES)
_MOONSHOT = Quirks(
    families=(
        Family(
            r"^kimi-k(2\.[5-9]|[3-9])", refuses=(*_SAMPLING, "logit_bias", "functions"), renames=_NEW_CAP, streams=True
        ),
        Family(r"^kimi-k2-thinking", streams=True),
    ),
    image_urls=False,
    plain_text=True,
    keeps_reasoning=True,
)

#: preset → how it differs
_BY_PRESET: Mapping[str, Quirks] = MappingProxyType(
    {
        "openai": _OPENAI,
        "azure": Quirks(families=_OPENAI_FAMILIES, key_header="api-key"),
        "moonshot": _MOONSHOT,
        "moonshot-cn": _MOONSHOT,
        "llmapi": Quirks(
            renames=_CAP,
            ignores=("stop", "seed", "n", "parallel_tool_calls", "logprobs", "top_logprobs"),
            headers=MappingProxyType({"X-No-Fallback": "true"}),
            id_header="x-request-id",
            responses=False,
            embeddings=False,
            cost="cost_usd_total",
            families=(_THINKERS,),
        ),
        "openrouter": Quirks(cost="cost", responses=False, families=(_THINKERS,)),
        "deepseek": Quirks(renames=_CAP, responses=False, json_schema=False, embeddings=False, families=(_THINKERS,)),
        "groq": Quirks(refuses=("logprobs", "logit_bias", "top_logprobs"), families=(_THINKERS,)),
        "together": Quirks(renames=_CAP, responses=False, families=(_THINKERS,)),
        "mistral": Quirks(
            renames=MappingProxyType({**_CAP, "seed": "random_seed"}),
            responses=False,
            stream_usage=False,
            refuses=("logit_bias", "logprobs", "top_logprobs", "user", "service_tier"),
            families=(_THINKERS,),
        ),
        "google-openai": Quirks(output_is_rest=True, responses=False),
        "ollama": Quirks(
            renames=_CAP, ignores=("tool_choice", "n", "logit_bias", "user"), image_urls=False, families=(_THINKERS,)
        ),
    }
)
_BY_HOST: Mapping[str, str] = MappingProxyType(
    {
        "api.openai.com": "openai",
        "openai.azure.com": "azure",
        "cognitiveservices.azure.com": "azure",
        "services.ai.azure.com": "azure",
        "api.moonshot.ai": "moonshot",
        "api.moonshot.cn": "moonshot",
        "llmapi.ai": "llmapi",
        "openrouter.ai": "openrouter",
        "api.deepseek.com": "deepseek",
        "api.groq.com": "groq",
        "api.together.ai": "together",
        "api.together.xyz": "together",
        "api.mistral.ai": "mistral",
        "generativelanguage.googleapis.com": "google-openai",
    }
)


@lru_cache(maxsize=1024)
def quirks_of(preset: str | None, base_url: str) -> Quirks:
    """The quirks of a preset, else of the host in ``base_url``, else none."""
    if preset is not None and preset in _BY_PRESET:
        return _BY_PRESET[preset]
    try:
        host = urlsplit(base_url).hostname or ""
    except ValueError:
        return _PLAIN
    for known, name in _BY_HOST.items():
        if host == known or host.endswith("." + known):
            return _BY_PRESET[name]
    return _PLAIN
