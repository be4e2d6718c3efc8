"""The configuration: ``bucketline.toml``, the environment over it, checked once at the edge.

Comes in: a path, ``BUCKETLINE_CONFIG`` or the working folder's ``bucketline.toml``. Goes out: a frozen ``Settings``.
An unknown key is an error that names the nearest known one. Keys of providers are named here by their environment
variable and never held. What a model name resolves to is ``bucketline.catalog``'s business.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bucketline.errors import ConfigError

__all__ = [
    "InboxSettings",
    "ModelSettings",
    "PriceSettings",
    "PriceTier",
    "ProviderSettings",
    "RetrySettings",
    "RouteSettings",
    "Settings",
    "WebhookSettings",
    "WorkerSettings",
    "load_settings",
]

Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]
Usd = Annotated[str, Field(pattern=r"^\d+(\.\d+)?$")]
_STREAM_S = 3600.0
Policy = Literal["ordered", "cheapest", "fastest", "weighted", "best"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LimitSettings(_Section):
    """Limits of an account or of one model under it; an absent figure is no limit."""

    rpm: Count | None = Field(None, description="requests per minute")
    tpm: Count | None = Field(None, description="tokens per minute, input and output together")
    input_tpm: Count | None = Field(None, description="input tokens per minute")
    output_tpm: Count | None = Field(None, description="output tokens per minute")
    rpd: Count | None = Field(None, description="requests per day")
    tpd: Count | None = Field(None, description="tokens per day")
    concurrency: Count | None = Field(None, description="calls in flight, over the whole fleet")
    burst_s: Annotated[float, Field(gt=0, le=60)] = Field(
        1.0, description="how many seconds' worth of a minute's allowance may leave at once"
    )
    reset_hour: Annotated[int, Field(ge=0, le=23)] = Field(0, description="the hour at which daily limits start anew")
    reset_zone: str = Field("UTC", description="the time zone of reset_hour")


class ProviderSettings(LimitSettings):
    """One account with one provider."""

    wire: str | None = Field(None, description="openai, anthropic, gemini, vertex or bedrock; presets know theirs")
    base_url: str | None = Field(None, description="where the API lies, with its version prefix")
    api_key_env: str | None = Field(None, description="the name of the variable that holds the key, never a key")
    api_key_file: str | None = Field(None, description="a file that holds the key, read at start")
    preset: str | None = Field(None, description="take wire, address and key variable from this preset")
    scope: str | None = Field(None, description="share the limits of this scope with other providers")
    headers: dict[str, str] = Field(default_factory=dict, description="further headers for each call")
    idempotency_header: str | None = Field(
        None, description="a header by which this host knows a call that is made again after a lost answer"
    )
    region: str | None = Field(None, description="region of the provider, for addresses and prices")
    project: str | None = Field(None, description="project of the cloud account (vertex)")
    api_version: str | None = Field(None, description="api-version (azure), anthropic-version (anthropic)")
    proxy: str | None = Field(None, description="an HTTP proxy for this provider")
    ca_file: str | None = Field(None, description="a private CA for this provider, PEM")
    price_as: str | None = Field(None, description="the provider's name in the price tables")
    stream: Literal["auto", "always", "never"] = Field("auto", description="stream from the provider")
    models: dict[str, LimitSettings] = Field(default_factory=dict, description="limits of single models")
    recheck_s: Seconds | None = Field(None, description="try a closed route again after this; absent: an operator does")


class RouteSettings(_Section):
    """One entry of a model's plan."""

    provider: str = Field(description="a provider of this file, or a preset")
    model: str = Field(description="the model's name at that provider")
    set: dict[str, Any] = Field(default_factory=dict, description="parameters set in the body for this route")
    unset: list[str] = Field(default_factory=list, description="parameters taken out of the body for this route")
    rename: dict[str, str] = Field(
        default_factory=dict, description="parameters that have another name on this route; their values are kept"
    )
    weight: Annotated[float, Field(ge=0)] = Field(1.0, description="share under the weighted policy")
    quality: float | None = Field(None, description="your figure of quality, for the best policy")
    context_tokens: Count | None = Field(None, description="how many tokens the model holds")
    drop: bool = Field(False, description="drop what the route cannot express, instead of refusing the line")


class ModelSettings(_Section):
    """What a line's ``model`` may say, and where it goes."""

    routes: Annotated[list[RouteSettings], Field(min_length=1)] = Field(description="the plan, in order")
    policy: Policy = Field("ordered", description="which route is tried first")
    fall_back_on_filter: bool = Field(False, description="content filter and refusal may try the next route")
    spill: bool = Field(False, description="a request that would wait too long takes the next route")
    spill_after_s: Seconds = Field(30.0, description="how long is too long")


class PriceTier(_Section):
    """Rates from a prompt length on: strictly over, and for the whole request."""

    over_input_tokens: Annotated[int, Field(ge=0)]
    input: Usd | None = None
    cached_input: Usd | None = None
    cache_write: Usd | None = None
    cache_write_1h: Usd | None = None
    output: Usd | None = None
    reasoning: Usd | None = None


class PriceSettings(_Section):
    """USD per million tokens as decimal strings; beats the price package."""

    input: Usd | None = Field(None, description="input tokens that were neither cached nor written to a cache")
    cached_input: Usd | None = Field(None, description="input tokens read from a cache; absent: as input")
    cache_write: Usd | None = Field(None, description="input tokens written to a cache; absent: as input")
    cache_write_1h: Usd | None = Field(None, description="those written for an hour; absent: as cache_write")
    output: Usd | None = Field(None, description="output tokens, reasoning included")
    reasoning: Usd | None = Field(None, description="reasoning tokens where priced apart; absent: as output")
    audio_input: Usd | None = Field(None, description="audio input tokens; absent: as input")
    audio_output: Usd | None = Field(None, description="audio output tokens; absent: as output")
    image_input: Usd | None = Field(None, description="image input tokens; absent: as input")
    image_output: Usd | None = Field(None, description="image output tokens; absent: as output")
    request: Usd | None = Field(None, description="USD for each request")
    tiers: list[PriceTier] = Field(default_factory=list, description="long-context tiers")
    batch: Usd | None = Field(None, description="factor on all prices for the batch tier")
    flex: Usd | None = Field(None, description="factor on all prices for the flex tier")
    priority: Usd | None = Field(None, description="factor on all prices for the priority tier")
    valid_from: str | None = Field(None, description="the date from which this price holds (YYYY-MM-DD)")


class RetrySettings(_Section):
    """When a call is tried again."""

    max_attempts: Count = Field(4, description="calls in all, per route")
    base_delay_s: Annotated[float, Field(ge=0)] = Field(0.5, description="the first backoff's upper bound")
    max_delay_s: Annotated[float, Field(ge=0)] = Field(30.0, description="no backoff of our own is longer")
    request_timeout_s: Seconds = Field(600.0, description="one call's longest life, from when it is sent")
    stream_timeout_s: Seconds | None = Field(
        None, description="the same of a streamed call; absent: request_timeout_s where that is set, else an hour"
    )
    connect_timeout_s: Seconds = Field(10.0, description="to make a connection")
    upload_timeout_s: Seconds = Field(
        60.0, description="a large body of which nothing more leaves for so long is stuck"
    )
    first_byte_timeout_s: Seconds | None = Field(
        None, description="from a streamed call's last byte to its reply's first; absent: the call's whole life"
    )
    idle_timeout_s: Seconds = Field(120.0, description="a stream that says nothing for so long has died")
    on_quota: Literal["wait", "fail"] = Field(
        "wait", description="when an account is exhausted or a key bad: lines wait for an operator, or fail"
    )
    max_attempts_total: Count | None = Field(None, description="calls in all over every route; absent: their sum")
    outage_s: Annotated[float, Field(gt=0)] | None = Field(
        None, description="a line that keeps failing gives a broken route up after this; absent: 30 × max_delay_s"
    )

    def call_s(self, *, stream: bool) -> float:
        """The longest life of a call."""
        if not stream:
            return self.request_timeout_s
        if self.stream_timeout_s is not None:
            return self.stream_timeout_s
        # A stream that still talks is alive, and thinking takes as long as it takes; what was set is kept to.
        return self.request_timeout_s if "request_timeout_s" in self.model_fields_set else _STREAM_S

    @property
    def longest_call_s(self) -> float:
        return max(self.call_s(stream=False), self.call_s(stream=True))


class WorkerSettings(_Section):
    """One worker process."""

    concurrency: Count = Field(1000, description="calls in flight per process")
    open_requests: Count | None = Field(
        None, description="requests held open per process; absent: 3 × concurrency, more where calls are short"
    )
    job_timeout_s: Seconds = Field(86400.0, description="one shard's longest life")
    lease_s: Annotated[float, Field(ge=1)] = Field(15.0, description="a dead worker's shard is taken up after this")
    grace_s: Annotated[float, Field(ge=0)] = Field(60.0, description="how long answers may land after SIGTERM")
    poll_s: Seconds = Field(0.1, description="how often the queue is looked at")
    trace_share: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="share of the lines whose spans go to OpenTelemetry; needs the extra otel"
    )
    max_unsealed_bytes: Count = Field(64 * 1024 * 1024, description="answers held before the store must take them")


class InboxSettings(_Section):
    """The bucket door."""

    poll_s: Seconds = Field(2.0, description="how often the inbox is listed")
    settle_s: Annotated[float, Field(ge=0)] = Field(2.0, description="an object must be still for so long")
    status_s: Seconds = Field(3.0, description="how often outbox/NAME/status.json follows")
    takes: Count = Field(8, description="objects taken up at once per watcher")
    sqs_url: str | None = Field(
        None, description="an SQS queue that S3 tells of new objects; listing goes on beside it"
    )


class WebhookSettings(_Section):
    """Who is told when an inbox object's batch is over, or was refused; Standard Webhooks."""

    url: str | None = Field(None, pattern=r"^https?://", description="is sent a signed POST; absent: nobody is told")
    secret_env: str = Field(
        "BUCKETLINE_WEBHOOK_SECRET", description="the variable that holds the secret, whsec_…; or several, by blanks"
    )


class Settings(_Section):
    """The whole configuration."""

    redis_url: str | None = Field(None, description="redis://, rediss:// or unix://; absent: run and demo start one")
    store: str | None = Field(None, description="s3://bucket/prefix, or a folder")
    default_provider: str | None = Field(None, description="serves model names that nothing else explains")
    providers: dict[str, ProviderSettings] = Field(default_factory=dict)
    models: dict[str, ModelSettings] = Field(default_factory=dict)
    prices: dict[str, PriceSettings | list[PriceSettings]] = Field(default_factory=dict)
    retry: RetrySettings = Field(default_factory=RetrySettings)
    worker: WorkerSettings = Field(default_factory=WorkerSettings)
    inbox: InboxSettings = Field(default_factory=InboxSettings)
    webhook: WebhookSettings = Field(default_factory=WebhookSettings)
    profiles: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="options of batches under inbox/NAME/, spelled as submit's"
    )
    max_line_bytes: Count = Field(32 * 1024 * 1024, description="a longer line is refused")
    allow_evicting_redis: bool = Field(False, description="run although Redis may evict keys")


def load_settings(path: str | None = None, env: Mapping[str, str] = os.environ) -> Settings:
    """Read, check and overlay the configuration. Raises ConfigError with one sentence that names the key."""
    chosen = path or env.get("BUCKETLINE_CONFIG")
    file = Path(chosen) if chosen else Path("bucketline.toml")
    document: dict[str, Any] = {}
    if chosen or file.is_file():
        document = _read(file)
    for key, variable in (("redis_url", "BUCKETLINE_REDIS_URL"), ("store", "BUCKETLINE_STORE")):
        if env.get(variable):
            document[key] = env[variable]
    try:
        return Settings.model_validate(document)
    except ValidationError as error:
        raise ConfigError(_sentence(error, file)) from None


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"There is no configuration file {file}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The configuration {file} cannot be read: {error}.") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"The configuration {file} is not TOML: {error}.") from None


def _sentence(error: ValidationError, file: Path) -> str:
    """The first fault in words: where it stands, what is wrong, and for an unknown key the nearest known one."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(step) for step in first["loc"] if step not in ("PriceSettings", "list[PriceSettings]"))
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(first["loc"][-1]), _known_keys(), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        return f"{file}: unknown key {place!r}.{hint}"
    return f"{file}: {place}: {first['msg'][:1].lower()}{first['msg'][1:]}."


def _known_keys() -> list[str]:
    sections: tuple[type[BaseModel], ...] = (
        Settings,
        ProviderSettings,
        ModelSettings,
        RouteSettings,
        PriceSettings,
        PriceTier,
        RetrySettings,
        WorkerSettings,
        InboxSettings,
        WebhookSettings,
    )
    return sorted({name for section in sections for name in section.model_fields})
