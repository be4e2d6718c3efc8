"""Refusals to failures: which row of ``bucketline.failure`` a status and its words mean.

Comes in: a reply that is no answer. Goes out: a ``Failure``. Order: not JSON at all; the words that mean one thing at
whatever status (``WORDS``), money first; then the status, with the few cases where only the sentence tells. Sentences
are read only where a provider gives nothing else. Called by every adapter; the waits are in ``delays``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from bucketline.failure import TABLE, Failure, Kind
from worker.providers.base import Reply
from worker.providers.delays import retry_after_s
from worker.providers.facts import Facts, facts_of
from worker.providers.redact import clean_body, clean_message

__all__ = ["WORDS", "kind_of", "not_json", "refusal"]

_MONEY = (
    "insufficient_quota", "credit_balance_exhausted", "billing_hard_limit_reached", "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded", "organization_usage_limit_exceeded", "exceeded_current_quota_error",
    "billing_error", "budget_exceeded", "enforced_spend_limit_reached", "contract_spend_limit_reached",
    "organization_on_hold", "usage_limit_exceeded", "BILLING_DISABLED", "1113",
)  # fmt: skip
_MEANS: Mapping[Kind, tuple[str, ...]] = {
    Kind.OVERLOAD: (
        "engine_overloaded_error", "overloaded_error", "overloaded", "ModelNotReadyException", "capacity_exceeded",
        "server_unavailable", "unavailable_error", "in_flight_budget_exhausted",
    ),
    Kind.RATE_LIMIT: ("rate_limit_reached_error", "slow_down", "ramp_limit_exceeded", "ThrottlingException"),
    Kind.BAD_KEY: (
        "invalid_api_key", "incorrect_api_key_error", "API_KEY_INVALID", "UnrecognizedClientException",
        "InvalidSignatureException", "token_not_found_in_db",
    ),
    Kind.TOKEN_EXPIRED: ("ACCESS_TOKEN_EXPIRED", "ExpiredTokenException"),
    Kind.MODEL_MISSING: ("model_not_found", "DeploymentNotFound", "model_not_active"),
    Kind.TOO_LARGE_FOR_LIMIT: ("ServiceQuotaExceededException", "weight_exceeds_budget"),
    Kind.CONTEXT_TOO_LONG: ("context_length_exceeded", "exceed_context_size_error"),
    Kind.CONTENT_FILTER: (
        "content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation", "invalid_prompt", "cyber_policy",
    ),
    Kind.UPSTREAM_REFUSED: ("gateway_error",),
    Kind.SERVER_ERROR: ("upstream_error", "fetch_failed", "no_db_connection", "ModelErrorException"),
}  # fmt: skip
#: a type, code or exception name that means one thing at every status
WORDS: Mapping[str, Kind] = MappingProxyType({word: kind for kind, words in _MEANS.items() for word in words})
_MONEY_WORDS = frozenset(_MONEY)
# Anchored, because a message may go on to quote the prompt, and this row closes the route for everyone.
_MONEY_SENTENCE = re.compile(
    r"(?:Your )?credit balance is too low|You have reached your specified (?:\w+ )?API usage limits"
    r"|Budget has been exceeded|(?:Organization has )?insufficient (?:account )?(?:balance|credits?)",
    re.IGNORECASE,
)
_EMPTY_BALANCE = re.compile(r"\baccount balance\b|insufficient balance", re.IGNORECASE)
_TOO_LONG = re.compile(
    r"maximum context length|context (?:window|length|size)|prompt is too long|exceed\w* model token limit"
    r"|input token count .{0,40}exceeds|too many (?:input )?tokens? in|input is too long",
    re.IGNORECASE,
)
_DEAD_ACCOUNT = re.compile(r"reported as leaked|suspended|API key (?:not valid|expired)", re.IGNORECASE)
_DEAD_KEY = re.compile(r"API key (?:not valid|expired)", re.IGNORECASE)
_NO_MODEL = re.compile(
    r"\bmodel\b.{0,200}\bnot (?:supported|found|exist)|\bdoes not exist\b.{0,40}\bmodel\b", re.IGNORECASE | re.DOTALL
)
_DAY = re.compile(r"\b(?:TPD|RPD)\b|per day|\bdaily\b", re.IGNORECASE)
_SOON_S = 3600.0
_MONEY_STATUSES = frozenset({0, 400, 403, 422, 429})  #: 0: an error inside a 200 that states none
_RETRIED_4XX = frozenset({408, 409, 424, 425, 460, 499})


def refusal(reply: Reply, document: Any, *, key: str, line_body: bytes, model: str) -> Failure:
    """The failure that a JSON error body means, also one that came with a 200."""
    if reply.status < 300:
        facts = facts_of(_inner_status(document), reply.headers, document)
        kind = _kind_in_200(facts, document)
    else:
        facts = facts_of(reply.status, reply.headers, document)
        kind = kind_of(facts)
    delay_s = retry_after_s(reply.headers, facts.error, facts.message)
    if kind is Kind.DAILY_QUOTA:
        # A short wait beside a daily limit that only the sentence names is a limit that refills all the time.
        kind = Kind.RATE_LIMIT if delay_s is not None and delay_s < _SOON_S and not facts.quota_ids else kind
    sentence = clean_message(facts.message, key=key, line_body=line_body, model=model)
    return Failure(
        kind=kind,
        message=f"{TABLE[kind].sentence} {sentence}" if sentence else TABLE[kind].sentence,
        status=reply.status,
        retry_after_s=None if kind is Kind.DAILY_QUOTA else delay_s,
        body=clean_body(reply.body, key),
        scope=_scope(kind, facts),
    )


def kind_of(facts: Facts) -> Kind:
    """The row for a refusal that came as JSON."""
    if facts.metadata.get("error_type") == "in_flight_budget_exhausted":
        return Kind.OVERLOAD
    if facts.status == 402 or not _MONEY_WORDS.isdisjoint(facts.words):
        return Kind.ACCOUNT_EXHAUSTED
    if facts.status in _MONEY_STATUSES and _MONEY_SENTENCE.match(facts.message):
        return Kind.ACCOUNT_EXHAUSTED
    if facts.status in (403, 429) and _EMPTY_BALANCE.search(facts.message):
        return Kind.ACCOUNT_EXHAUSTED
    if facts.status == 429 or (facts.status == 413 and "rate_limit_exceeded" in facts.words):
        return _limit(facts)
    for word in facts.words:
        kind = WORDS.get(word)
        if kind is not None:
            return kind
    return _by_status(facts)


def _inner_status(document: Any) -> int:
    """The status that an error inside a 200 states as its code (OpenRouter); 0 where it states none."""
    error = document.get("error") if isinstance(document, dict) else None
    code = error.get("code") if isinstance(error, dict) else None
    if isinstance(code, str) and code.isdecimal() and len(code) == 3:
        code = int(code)
    return code if isinstance(code, int) and 400 <= code <= 599 else 0


def _kind_in_200(facts: Facts, document: Any) -> Kind:
    """An error that came with a 200: by the status it states inside, else by its words; a retry where neither tells."""
    if not isinstance(document, dict | list):
        return Kind.NOT_JSON
    if facts.status:
        kind = kind_of(facts)
        return Kind.ERROR_IN_200 if kind is Kind.SERVER_ERROR else kind
    if "1008" in facts.words:
        return Kind.ACCOUNT_EXHAUSTED
    if "rate_limit_exceeded" in facts.words:
        return Kind.RATE_LIMIT
    kind = kind_of(facts)
    if kind not in (Kind.BAD_REQUEST, Kind.SERVER_ERROR):
        return kind
    failed = isinstance(document, dict) and document.get("status") == "failed" and "server_error" not in facts.words
    return Kind.BAD_REQUEST if failed else Kind.ERROR_IN_200


def _limit(facts: Facts) -> Kind:
    """429: which of the things that this status is used for. Only the daily kind and overload are not a rate limit."""
    if facts.status == 413 or "Request too large" in facts.message:
        return Kind.TOO_LARGE_FOR_LIMIT
    if facts.quota_ids:
        return Kind.DAILY_QUOTA if any("PerDay" in name for name in facts.quota_ids) else Kind.RATE_LIMIT
    if _DAY.search(facts.message):
        return Kind.DAILY_QUOTA
    overloaded = any(WORDS.get(word) is Kind.OVERLOAD for word in facts.words)
    return Kind.OVERLOAD if overloaded else Kind.RATE_LIMIT


def _by_status(facts: Facts) -> Kind:
    status = facts.status
    if status in (400, 404, 413, 422):
        return _client_error(facts)
    if status == 401:
        return Kind.BAD_KEY
    if status == 403:
        if facts.metadata.get("reasons"):
            return Kind.CONTENT_FILTER
        return Kind.BAD_KEY if _DEAD_ACCOUNT.search(facts.message) else Kind.NOT_PERMITTED
    if status == 410:
        return Kind.NOT_PERMITTED if "project" in facts.message.lower() else Kind.MODEL_MISSING
    if status in (498, 503, 529):
        return Kind.OVERLOAD
    if status in (501, 505):
        return Kind.BAD_REQUEST
    return Kind.SERVER_ERROR if status >= 500 or status in _RETRIED_4XX else Kind.BAD_REQUEST


def _client_error(facts: Facts) -> Kind:
    """400 and its like: Google's precondition, a context that overflows, a gateway's unknown model; else a bad request."""
    if facts.status == 404:
        return Kind.MODEL_MISSING
    if facts.grpc_status == "FAILED_PRECONDITION":
        return Kind.NOT_PERMITTED
    if _TOO_LONG.search(facts.message):
        return Kind.CONTEXT_TOO_LONG
    if _DEAD_KEY.match(facts.message):
        return Kind.BAD_KEY
    untyped = not facts.has_type and not facts.has_param
    return Kind.MODEL_MISSING if untyped and _NO_MODEL.search(facts.message) else Kind.BAD_REQUEST


def _scope(kind: Kind, facts: Facts) -> str | None:
    """The limit that a 429 names, for the gate: requests, tokens, day or concurrency."""
    if kind is Kind.DAILY_QUOTA:
        return "day"
    if kind not in (Kind.RATE_LIMIT, Kind.TOO_LARGE_FOR_LIMIT):
        return None
    text = " ".join((facts.message, *facts.words, *facts.quota_ids)).lower()
    if "concurren" in text:
        return "concurrency"
    if re.search(r"\btpm\b|\btokens?\b|tokenspermin|token rate", text):
        return "tokens"
    return "requests" if re.search(r"\brpm\b|\brequests\b|requestspermin", text) else None


def not_json(reply: Reply) -> Failure:
    """The failure for a body that is not JSON: a proxy's page, nothing, or half an answer."""
    status, headers = reply.status, reply.headers
    head = reply.body[:256].lstrip().lower()
    page = "html" in (headers.get("content-type") or "").lower() or head.startswith((b"<!doctype", b"<html"))
    if status < 400:
        redirect = status >= 300
        kind = Kind.NOT_JSON if page or redirect or (head and head[:1] not in b"{[") else Kind.CUT_BODY
    elif status == 429:
        kind = Kind.RATE_LIMIT
    elif status in (504, 524):
        kind = Kind.TIMEOUT_AFTER_SEND
    elif status in (503, 529):
        kind = Kind.OVERLOAD
    elif status >= 500 or status in _RETRIED_4XX:
        kind = Kind.SERVER_ERROR
    else:
        kind = Kind.MODEL_MISSING if status in (404, 410) else Kind.NOT_PERMITTED
    what = "a web page" if page else "no JSON" if head else "nothing"
    return Failure(
        kind=kind,
        message=f"{TABLE[kind].sentence} The host answered {status} with {what}; check base_url if it stays so.",
        status=status,
        retry_after_s=retry_after_s(headers, {}, ""),
    )
