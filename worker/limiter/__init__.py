"""The gate: every limit of every provider holds across the fleet, is used to the full, and makes work wait.

In the order of a request: ``gate`` is the door and the one name that others need; ``waiters`` is whose turn it is inside this
process; ``lane`` asks Redis for many at once; ``admit.lua`` (on ``window.lua``) decides what fits all limits together;
``permits`` is what was granted, and is settled; ``handout`` lets a block leave evenly, ``standby`` has the next for a place
that comes free; ``scopes`` are the limits themselves, set and seen. What it learns:
``likely`` and ``learning`` how large answers are, ``ratelimits`` what a provider says of its limits, ``trust`` what they are worth,
``daily`` when a day begins.
"""

from worker.limiter.gate import BudgetExhausted, Demand, Gate, Permit

__all__ = ["BudgetExhausted", "Demand", "Gate", "Permit"]
