"""The judge shares no code with the judged."""

from __future__ import annotations

import grimp


def test_the_simulator_imports_nothing_of_the_product_but_its_errors() -> None:
    """If limiter, prices or usage of the product were wrong, books built on them would be wrong alike."""
    graph = grimp.build_graph("worker", "producer", "bucketline", cache_dir=None)
    own = {"worker.simulator", *graph.find_descendants("worker.simulator")}
    used = {there for here in own for there in graph.find_modules_directly_imported_by(here)} - own
    assert used == {"bucketline.errors"}
