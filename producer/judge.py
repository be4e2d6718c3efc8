"""What refuses an input as a whole, each in one sentence.

Comes in: the plan of each model that the input names, each line with its plan, and at the end what the scanner found.
Goes out: nothing, the sentence why a line cannot be sent, or the error that says why there will be no batch. Called by ``submit``. Single bad lines are no reason, unless all are bad or
``strict`` was asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

from bucketline.batch import BatchOptions
from bucketline.catalog import Plan, Route
from bucketline.errors import ConfigError, InputError
from bucketline.settings import Settings
from producer.expressible import Refusal, refusal
from producer.scan import BadLine, Scanner

__all__ = ["Judge", "Refused", "config_digest", "verdict"]


class Refused(InputError):
    """The input was read and can be no batch; ``bad_lines`` are the first of those that cannot be sent."""

    def __init__(self, message: str, faults: Sequence[str] = (), bad_lines: Sequence[BadLine] = ()) -> None:
        super().__init__(message, tuple(faults) or tuple(bad.sentence() for bad in bad_lines))
        self.bad_lines = tuple(bad_lines)


class Judge:
    """Looks at each model's plan once: are its keys here, is its price known where money is bounded? And at each line:
    ``refused`` says why no route of its plan can express it (absent: what the adapters say).
    """

    def __init__(
        self,
        settings: Settings,
        options: BatchOptions,
        env: Mapping[str, str],
        warn: Callable[[str], None],
        *,
        check_keys: bool,
        refused: Refusal | None = None,
    ) -> None:
        self.line = refused or refusal()
        self._settings = settings
        self.options = options
        self._bounded = options.max_usd is not None and options.unpriced == "refuse"
        self._env = env
        self._warn = warn
        self._check_keys = check_keys

    def plan(self, plan: Plan) -> None:
        """Raises ConfigError when the first route cannot be paid or called; later routes only earn a warning."""
        if self._check_keys:
            for position, route in enumerate(plan.routes):
                self._key(plan, route, needed=position == 0)
        if self._bounded:
            self._price(plan)
        self._quality(plan)

    def _quality(self, plan: Plan) -> None:
        least = self.options.min_quality
        if least is None or plan.policy != "best":
            return
        if all(route.quality is None or route.quality < least for route in plan.routes):
            raise ConfigError(
                f"No route of model {plan.model!r} has a quality of {least:g}; lower --min-quality, or add a route to "
                f"[models.{plan.model}]."
            )

    def _key(self, plan: Plan, route: Route, *, needed: bool) -> None:
        provider = route.provider
        variable = provider.api_key_env
        if variable is None or provider.api_key_file or any(self._env.get(name) for name in provider.key_variables):
            return
        missing = f"The variable {variable}, which holds the key of {provider.name}, is not set"
        if needed:
            raise ConfigError(f"{missing}; model {plan.model!r} needs it.")
        self._warn(f"{missing}; the fallback {route.name} of model {plan.model!r} cannot be used.")

    def _price(self, plan: Plan) -> None:
        from bucketline.prices import PriceBook

        book = PriceBook(self._settings)
        for route in plan.routes:
            if not book.priced(route):
                raise ConfigError(
                    f"No price is known for {route.name}, so the budget cannot be kept; "
                    f'add [prices."{route.name}"] or give --unpriced allow.'
                )


def verdict(name: str, scanner: Scanner, shown: Sequence[BadLine], *, strict: bool) -> None:
    """Raise Refused when the scanned input can be no batch."""
    if scanner.lines == 0:
        raise Refused(f"{name} is empty; a batch needs at least one line.")
    bad = len(scanner.rejected)
    if bad == scanner.lines:
        first = shown[0]
        hint = _hint(first, scanner.lines)
        raise Refused(
            f"None of the {bad} lines of {name} can be sent{hint}; the first is {first.sentence()}",
            [one.sentence() for one in shown[1:10]],
            shown,
        )
    if strict and bad:
        raise Refused(f"{bad} of the {scanner.lines} lines of {name} cannot be sent; nothing was submitted.", (), shown)
    pairs = scanner.ids.repeated()
    if pairs:
        one, other = pairs[0]
        more = f" (and {len(pairs) - 1} more pairs)" if len(pairs) > 1 else ""
        raise Refused(
            f"Lines {one} and {other} of {name} have the same custom_id{more}; "
            "make them different or give --duplicates number.",
            [f"line {later}: the custom_id of line {first_line}" for first_line, later in pairs],
        )


def _hint(first: BadLine, lines: int) -> str:
    """A guess at what the file is instead, where its first fault tells."""
    if lines > 1 and first.line == 1 and "unexpected end of data" in first.message:
        return " (a pretty-printed file? write one JSON object a line)"
    if "is an array" in first.message and lines == 1:
        return " (a JSON array? write its items one a line)"
    return ""


def config_digest(settings: Settings) -> str:
    """The digest of what decides how lines are sent: providers, models and prices, never a key or an address of ours."""
    relevant = settings.model_dump_json(include={"providers", "models", "prices", "retry", "default_provider"})
    return hashlib.sha256(relevant.encode()).hexdigest()[:16]
