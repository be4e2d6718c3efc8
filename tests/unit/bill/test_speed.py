"""The bill stands on the hot path, once per call; how dear it is, as a ratio to work that is known."""

from __future__ import annotations

import json
import timeit
from collections.abc import Callable

import orjson
from genai_prices import Usage as PackageUsage
from genai_prices import calc_price

from bucketline.outcome import encode_outcome
from bucketline.tally import Tally
from bucketline.usage import Usage
from tests.unit.bill.batches_for_tests import outcome
from tests.unit.bill.prices_for_tests import NOW_S, World


def _seconds(work: Callable[[], object], times: int) -> float:
    """The best of five: other work on the machine only ever adds."""
    return min(timeit.repeat(work, number=times, repeat=5)) / times


def test_a_cost_takes_less_than_a_tenth_of_the_packages_calculation() -> None:
    world = World(providers={"openai": {}})
    route, usage = world.route("openai/gpt-4.1"), Usage(1500, 1024, output_tokens=340)
    theirs = PackageUsage(input_tokens=1500, cache_read_tokens=1024, output_tokens=340)
    ours_s = _seconds(
        lambda: world.book.cost(route, served_model="gpt-4.1-2025-04-14", usage=usage, when_s=NOW_S), 2000
    )
    theirs_s = _seconds(lambda: calc_price(theirs, "gpt-4.1", provider_id="openai"), 50)
    assert ours_s < theirs_s / 10, (ours_s, theirs_s)


def test_tallying_a_line_takes_less_than_reading_it() -> None:
    """The bill is a small part of a line's cost; the standard library's reader is a yardstick that stays."""
    plain, tally = outcome(1), Tally()
    encoded = encode_outcome("batch_1", plain)
    line = orjson.loads(encoded)
    add_s = _seconds(lambda: tally.add(plain), 2000)
    parse_s = _seconds(lambda: json.loads(encoded), 2000)
    read_s = _seconds(lambda: tally.add_line(line), 2000)
    assert add_s < 1.5 * parse_s, (add_s, parse_s)
    assert read_s < 10 * add_s, (read_s, add_s)
