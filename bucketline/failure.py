"""Every way a call can fail, and what each one means for the line.

One row a kind: whether the same route is tried again and after what wait, whether the next route may be tried,
whether the route's health suffers, whether the route is paused or closed, whether the provider may have billed the
call, and the code and sentence that the user reads. Adapters turn a reply into a ``Failure`` of some kind from the
provider's status, code and type; ``decide`` reads the rows; nothing else asks what a 429 means.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from bucketline.usage import Usage

__all__ = ["TABLE", "Billed", "Code", "Effect", "Failure", "Kind", "Row", "Wait"]


class Code(StrEnum):
    """The ``error.code`` of a failed line; part of what the outside relies on."""

    INVALID_INPUT = "invalid_input"
    QUOTA = "quota"
    RATE_LIMIT = "rate_limit"
    PROVIDER_4XX = "provider_4xx"
    PROVIDER_5XX = "provider_5xx"
    BAD_RESPONSE = "bad_response"
    CONTENT_FILTER = "content_filter"
    TRUNCATED = "truncated"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    BUDGET = "budget"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    INTERNAL = "internal"


class Wait(StrEnum):
    """What a retry on the same route waits for."""

    TOLD = "told"  #: what the provider said, or the backoff where it said nothing
    BACKOFF = "backoff"
    DAY = "day"  #: the provider's daily reset
    OPERATOR = "operator"  #: until a person, or the configured re-check, finds the account well
    NONE = "none"


class Effect(StrEnum):
    """What the failure does to the route for all requests."""

    NONE = "none"
    PAUSE = "pause"  #: a shared not-before mark
    CLOSE = "close"  #: no calls until an operator or a re-check opens it


class Billed(StrEnum):
    """Whether the provider charged for the call."""

    NO = "no"
    MAYBE = "maybe"
    YES = "yes"


class Kind(StrEnum):
    """The kinds of failure; the names are the metric labels too."""

    RATE_LIMIT = "rate_limit"
    OVERLOAD = "overload"
    DAILY_QUOTA = "daily_quota"
    ACCOUNT_EXHAUSTED = "account_exhausted"
    BAD_KEY = "bad_key"
    TOKEN_EXPIRED = "token_expired"  # noqa: S105 – a kind of failure
    NOT_PERMITTED = "not_permitted"
    MODEL_MISSING = "model_missing"
    TOO_LARGE_FOR_LIMIT = "too_large_for_limit"
    BAD_REQUEST = "bad_request"
    INEXPRESSIBLE = "inexpressible"
    CONTEXT_TOO_LONG = "context_too_long"
    CONTENT_FILTER = "content_filter"
    REFUSAL = "refusal"
    TRUNCATED = "truncated"
    EMPTY_ANSWER = "empty_answer"
    INVALID_ANSWER = "invalid_answer"
    ERROR_IN_200 = "error_in_200"
    NOT_JSON = "not_json"
    CUT_BODY = "cut_body"
    SERVER_ERROR = "server_error"
    UPSTREAM_REFUSED = "upstream_refused"
    TIMEOUT_BEFORE_SEND = "timeout_before_send"
    TIMEOUT_AFTER_SEND = "timeout_after_send"
    CONNECTION_REFUSED = "connection_refused"
    CONNECTION_LOST = "connection_lost"
    DNS = "dns"
    TLS = "tls"
    BUDGET = "budget"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    INVALID_INPUT = "invalid_input"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class Row:
    """What one kind of failure means. ``costs_attempt`` is false where waiting, not failing, is the right word.

    ``min_wait_s`` is the least wait where the provider told none; the configured longest backoff bounds it too.
    """

    code: Code
    sentence: str
    retry: bool
    fall_back: bool
    wait: Wait = Wait.BACKOFF
    costs_attempt: bool = True
    hurts_health: bool = False
    effect: Effect = Effect.NONE
    billed: Billed = Billed.NO
    min_wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed call. ``message`` is shown to the user and holds no prompt, answer or key.

    ``body`` is the provider's own error body, for the error line only; ``usage`` the tokens of an answer that was
    billed but could not be used; ``scope`` the limit that a 429 named: requests, tokens, day or concurrency.
    """

    kind: Kind
    message: str
    status: int | None = None
    retry_after_s: float | None = None
    body: bytes | None = None
    usage: Usage | None = None
    request_id: str | None = None
    scope: str | None = None
    finish_reason: str | None = None
    served_model: str | None = None

    @property
    def row(self) -> Row:
        return TABLE[self.kind]


def _rows() -> dict[Kind, Row]:
    k, c = Kind, Code
    return {
        k.RATE_LIMIT: Row(
            c.RATE_LIMIT,
            "The provider's rate limit was reached.",
            True,
            True,
            wait=Wait.TOLD,
            costs_attempt=False,
            effect=Effect.PAUSE,
            min_wait_s=1.0,
        ),
        k.OVERLOAD: Row(
            c.PROVIDER_5XX, "The provider is overloaded.", True, True, wait=Wait.TOLD, hurts_health=True, min_wait_s=5.0
        ),
        k.DAILY_QUOTA: Row(
            c.RATE_LIMIT,
            "The provider's daily limit is used up until its reset.",
            True,
            True,
            wait=Wait.DAY,
            costs_attempt=False,
            effect=Effect.PAUSE,
        ),
        k.ACCOUNT_EXHAUSTED: Row(
            c.QUOTA,
            "The provider's account has no credit left; top it up, then resume the route.",
            True,
            True,
            wait=Wait.OPERATOR,
            costs_attempt=False,
            hurts_health=True,
            effect=Effect.CLOSE,
        ),
        k.BAD_KEY: Row(
            c.PROVIDER_4XX,
            "The provider refused the key; set a valid one, then resume the route.",
            True,
            True,
            wait=Wait.OPERATOR,
            costs_attempt=False,
            hurts_health=True,
            effect=Effect.CLOSE,
        ),
        k.TOKEN_EXPIRED: Row(c.PROVIDER_4XX, "The access token had run out; a new one is fetched.", True, True),
        k.NOT_PERMITTED: Row(c.PROVIDER_4XX, "The key may not use this model or endpoint.", False, True),
        k.MODEL_MISSING: Row(c.PROVIDER_4XX, "The provider has no such model, or has retired it.", False, True),
        k.TOO_LARGE_FOR_LIMIT: Row(
            c.RATE_LIMIT, "The request alone is larger than the provider's limit per minute.", False, True
        ),
        k.BAD_REQUEST: Row(c.PROVIDER_4XX, "The provider refused the request as it stands.", False, False),
        k.INEXPRESSIBLE: Row(c.INVALID_INPUT, "The route cannot express what the line asks for.", False, True),
        k.CONTEXT_TOO_LONG: Row(c.PROVIDER_4XX, "The prompt does not fit the model's context.", False, True),
        k.CONTENT_FILTER: Row(c.CONTENT_FILTER, "The provider's content filter stopped the request.", False, False),
        k.REFUSAL: Row(c.CONTENT_FILTER, "The model refused to answer.", False, False, billed=Billed.YES),
        k.TRUNCATED: Row(
            c.TRUNCATED, "The output cap was used up before there was an answer.", False, False, billed=Billed.YES
        ),
        k.EMPTY_ANSWER: Row(
            c.BAD_RESPONSE, "The provider answered without content.", True, True, hurts_health=True, billed=Billed.YES
        ),
        k.INVALID_ANSWER: Row(
            c.BAD_RESPONSE,
            "The answer does not satisfy the schema that the request asked for.",
            True,
            True,
            billed=Billed.YES,
        ),
        k.ERROR_IN_200: Row(
            c.PROVIDER_5XX, "The provider answered 200 with an error inside.", True, True, hurts_health=True
        ),
        k.NOT_JSON: Row(
            c.BAD_RESPONSE,
            "The answer was not the provider's JSON (a proxy's page, perhaps).",
            True,
            True,
            hurts_health=True,
            billed=Billed.MAYBE,
        ),
        k.CUT_BODY: Row(
            c.BAD_RESPONSE, "The answer broke off in the middle.", True, True, hurts_health=True, billed=Billed.MAYBE
        ),
        k.SERVER_ERROR: Row(
            c.PROVIDER_5XX, "The provider failed on its side.", True, True, wait=Wait.TOLD, hurts_health=True
        ),
        k.UPSTREAM_REFUSED: Row(
            c.PROVIDER_5XX, "The gateway's own upstream refused the request.", False, True, hurts_health=True
        ),
        k.TIMEOUT_BEFORE_SEND: Row(
            c.TIMEOUT, "The connection could not be made in time.", True, True, hurts_health=True
        ),
        k.TIMEOUT_AFTER_SEND: Row(
            c.TIMEOUT,
            "The provider did not answer in time; the call may have been billed.",
            True,
            True,
            hurts_health=True,
            billed=Billed.MAYBE,
        ),
        k.CONNECTION_REFUSED: Row(
            c.CONNECTION, "The provider's host refused the connection.", True, True, hurts_health=True
        ),
        k.CONNECTION_LOST: Row(
            c.CONNECTION,
            "The connection was lost after the request was sent; the call may have been billed.",
            True,
            True,
            hurts_health=True,
            billed=Billed.MAYBE,
        ),
        k.DNS: Row(
            c.CONNECTION, "The provider's host name cannot be resolved; check base_url.", True, True, hurts_health=True
        ),
        k.TLS: Row(
            c.CONNECTION,
            "No trusted TLS connection to the provider; check its certificate and base_url.",
            True,
            True,
            hurts_health=True,
        ),
        k.BUDGET: Row(c.BUDGET, "The batch's budget is used up.", False, False, wait=Wait.NONE),
        k.EXPIRED: Row(c.EXPIRED, "The batch's window ended before this line was answered.", False, False),
        k.CANCELLED: Row(c.CANCELLED, "The batch was cancelled before this line was answered.", False, False),
        k.INVALID_INPUT: Row(c.INVALID_INPUT, "The line cannot be sent.", False, False),
        k.INTERNAL: Row(c.INTERNAL, "The line could not be processed.", False, False, billed=Billed.MAYBE),
    }


#: kind → row; the only place that says what a failure means
TABLE: Mapping[Kind, Row] = MappingProxyType(_rows())
