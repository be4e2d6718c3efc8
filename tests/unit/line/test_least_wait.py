"""After a refusal without a told delay there is a least wait; what was told is kept to, however short."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bucketline.failure import Failure, Kind
from tests.unit.line.test_decide import standing
from worker.decide import Retry, Rules, decide

DRAWS = st.floats(0, 1, exclude_max=True)
RULES = Rules(max_attempts=9, base_delay_s=0.05, max_delay_s=30.0)


@pytest.mark.parametrize(("kind", "least_s"), [(Kind.RATE_LIMIT, 1.0), (Kind.OVERLOAD, 5.0), (Kind.SERVER_ERROR, 0.0)])
@given(draw=DRAWS, told_s=st.none() | st.floats(0, 3))
def test_the_least_wait_stands_in_for_what_was_not_told(
    kind: Kind, least_s: float, draw: float, told_s: float | None
) -> None:
    """A provider that is overloaded and says no more is not helped by a fleet that is back within milliseconds."""
    decision = decide(Failure(kind, "", retry_after_s=told_s), standing(refusals_here=1), RULES, draw)
    assert isinstance(decision, Retry)
    floor_s = least_s if told_s is None else told_s
    assert floor_s <= decision.after_s <= max(1.1 * floor_s, RULES.base_delay_s)


@given(draw=DRAWS)
def test_the_least_wait_is_no_longer_than_the_longest_backoff(draw: float) -> None:
    """The configuration's promise: no backoff of our own is longer."""
    decision = decide(Failure(Kind.OVERLOAD, ""), standing(), Rules(max_delay_s=0.5), draw)
    assert isinstance(decision, Retry)
    assert decision.after_s <= 0.55
