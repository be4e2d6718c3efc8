"""Who calls: the key shown, the account it opens, the account's money and its gates.

In: the headers and the query of a call, what calls cost. Out: the account's name or None for a wrong key, whether
money is left, the gates a call has to pass. ``provider`` holds one ``Accounts``. Keys are compared and never told.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qs

from worker.simulator.bill import nano_of
from worker.simulator.config import AccountScope, ProviderConfig
from worker.simulator.limits import Gate, Limits

__all__ = ["NOBODY", "Accounts", "shown_key"]

NOBODY: Final = "-"  #: in the books: a wrong key, or a provider that asks for none
_ALL: Final = "*"  #: the one account of all keys
_CREDENTIAL: Final = re.compile(r"Credential=([^/,\s]+)")


def shown_key(headers: Mapping[str, str], query: str) -> str:
    """The key a call shows, wherever its wire puts it; of a signature (SigV4) the access key's id."""
    bearer = headers.get("authorization")
    if bearer is not None:
        if bearer[:7].lower() == "bearer ":
            return bearer[7:].strip()
        signed = _CREDENTIAL.search(bearer)
        return signed[1] if signed else bearer
    for name in ("x-api-key", "api-key", "x-goog-api-key"):
        if name in headers:
            return headers[name]
    return parse_qs(query).get("key", [""])[0] if "key=" in query else ""


class Accounts:
    """The accounts of one provider; made when first seen, so that limits apply to each alone."""

    def __init__(self, config: ProviderConfig, start_ns: int) -> None:
        self._names = {key: name for name, key in config.keys.items()}
        self._by_key = config.scope is AccountScope.KEY
        self._start_ns = start_ns
        self._first_nanousd = None if config.balance_usd is None else nano_of(config.balance_usd)
        self._left_nanousd: dict[str, int] = {}
        self._gates: dict[tuple[str, str], Gate] = {}
        self._limits = config.limits

    def name(self, headers: Mapping[str, str], query: str) -> str | None:
        """The name of the key shown; None if it is wrong."""
        return self._names.get(shown_key(headers, query)) if self._names else NOBODY

    def gates(self, name: str, model: str, limits: Limits | None) -> tuple[Gate, ...]:
        """The account's gate, and the model's own if it has limits."""
        account = self._account(name)
        gate = self._gate(account, "", self._limits)
        return (gate,) if limits is None else (gate, self._gate(account, model, limits))

    def change_limits(self, limits: Limits) -> None:
        """New limits for every account; models keep theirs."""
        self._limits = limits
        for (_, model), gate in self._gates.items():
            if not model:
                gate.change(limits)

    def has_money(self, name: str) -> bool:
        """Whether the account may still spend; the call that empties it is served."""
        return self._first_nanousd is None or self._left(self._account(name)) > 0

    def spend(self, name: str, nanousd: int) -> None:
        """Takes a call's cost off the account; it may end below zero."""
        if self._first_nanousd is not None:
            account = self._account(name)
            self._left_nanousd[account] = self._left(account) - nanousd

    def top_up(self, nanousd: int) -> None:
        """Adds money to every account, new ones too; without a balance there is nothing to add to."""
        if self._first_nanousd is not None:
            self._left_nanousd = {name: left + nanousd for name, left in self._left_nanousd.items()}
            self._first_nanousd += nanousd

    def report(self) -> dict[str, Any]:
        """For the books: each gate by account (and model), and the balances."""
        gates = {f"{account}/{model}" if model else account: g.report() for (account, model), g in self._gates.items()}
        return {"limits": gates, "balance_nanousd": dict(self._left_nanousd)}

    def _account(self, name: str) -> str:
        return name if self._by_key else _ALL

    def _left(self, account: str) -> int:
        return self._left_nanousd.setdefault(account, self._first_nanousd or 0)

    def _gate(self, account: str, model: str, limits: Limits) -> Gate:
        gate = self._gates.get((account, model))
        if gate is None:
            gate = self._gates[account, model] = Gate(limits, self._start_ns)
        return gate
