"""The manifest for people: ``manifest.md``.

Comes in: a ``Manifest``. Goes out: one page of Markdown that reads well unrendered too. Written by finish beside
``manifest.json``, shown by ``demo`` and ``run``. Says in words why a bill is not complete; computes nothing.
"""

from __future__ import annotations

from bucketline.manifest import Manifest, ManifestCost, RouteRow

__all__ = ["incomplete_reasons", "manifest_text"]


def manifest_text(manifest: Manifest) -> str:
    """One page of Markdown."""
    lines = [
        f"# {manifest.id}: {manifest.status}",
        "",
        f"From {_code(manifest.source)}, {manifest.created_at} to {manifest.finished_at}.",
    ]
    if manifest.reason:
        lines.append(manifest.reason)
    lines += ["", *_counts(manifest), "", *_money(manifest.cost), "", *_routes(manifest.cost.by_route)]
    lines += ["", *_files(manifest)]
    if manifest.errors:
        lines += ["", "| error | lines |", "| --- | ---: |"]
        lines += [f"| {_cell(code)} | {count:,} |" for code, count in manifest.errors.items()]
    if manifest.metadata:
        lines += ["", "Metadata: " + ", ".join(f"{_cell(k)}={_cell(v)}" for k, v in manifest.metadata.items()) + "."]
    lines += ["", f"{manifest.software}, configuration {manifest.config_digest or 'without a digest'}."]
    return "\n".join(lines) + "\n"


def incomplete_reasons(cost: ManifestCost) -> list[str]:
    """Why the bill is not all there is, a sentence each; empty when it is."""
    reasons = []
    if cost.unpriced:
        names = ", ".join(cost.unpriced[:5]) + (" and others" if len(cost.unpriced) > 5 else "")
        reasons.append(f"No price is known for {names}; add it under [prices].")
    if cost.without_usage:
        reasons.append(f"{_some(cost.without_usage, 'answer')} came without usage.")
    maybe = cost.maybe_billed
    if maybe.attempts:
        most = "an unknown sum" if maybe.high_usd is None else f"{maybe.high_usd} USD at most"
        reasons.append(f"{_some(maybe.attempts, 'call')} broke off and may have been billed, for {most}.")
    if cost.unknown_cost and not reasons:
        reasons.append(f"The cost of {_some(cost.unknown_cost, 'call')} cannot be known.")
    return reasons


def _counts(manifest: Manifest) -> list[str]:
    counts, latency = manifest.counts, manifest.latency_s
    lines = [
        f"{counts.total:,} lines: {counts.completed:,} completed, {counts.failed:,} failed, {counts.cancelled:,} cancelled.",
        f"{_some(counts.attempts, 'call')}, {counts.retries:,} of them retries, {counts.fallbacks:,} on a further route.",
    ]
    if counts.truncated:
        lines.append(f"{_some(counts.truncated, 'answer')} met the output cap.")
    if counts.completed:
        lines.append(f"Latency: {latency.p50} s median, {latency.p95} s for 95 of 100, {latency.max} s at most.")
    return lines


def _money(cost: ManifestCost) -> list[str]:
    budget = f" of a budget of {cost.max_usd} USD" if cost.max_usd else ""
    lines = [f"Cost: **{cost.usd} USD**{budget}."]
    reasons = incomplete_reasons(cost)
    if reasons:
        lines.append("This is not all: " + " ".join(reasons))
    if cost.failed_attempts:
        lines.append(f"{cost.failed_attempts_usd} USD of it went into {_some(cost.failed_attempts, 'failed call')}.")
    lines.extend(
        f"{row.provider}/{row.model} charged {row.reported_usd} USD for {_some(row.requests, 'call')} "
        f"that our prices put at {row.computed_usd} USD; the charge counts."
        for row in cost.reported_differences
    )
    if cost.saved is not None:
        lines.append(
            f"Saved: {cost.saved.against_first_usd} USD against the first route of each model, "
            f"{cost.saved.against_dearest_usd} USD against the dearest."
        )
    return lines


def _routes(rows: list[RouteRow]) -> list[str]:
    head = [
        "| route | tier | calls | input | cached | output | USD | USD per million in / out | prices |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- | --- |",
    ]
    return head + [_route(row) for row in rows] if rows else ["No call was answered."]


def _route(row: RouteRow) -> str:
    usage, prices = row.usage, row.unit_prices
    over = f", over {row.over_input_tokens:,}" if row.over_input_tokens is not None else ""
    source = f"{row.price_source}, {row.price_date}" if row.price_source else "unknown"
    return (
        f"| {_cell(row.provider)}/{_cell(row.model)} | {_cell(row.tier)}{over} | {row.requests + row.failed_requests:,} "
        f"| {usage['input_tokens']:,} | {usage['cached_input_tokens']:,} | {usage['output_tokens']:,} "
        f"| {row.usd or 'unknown'} | {prices.get('input', '-')} / {prices.get('output', '-')} | {source} |"
    )


def _files(manifest: Manifest) -> list[str]:
    lines = ["| file | lines | bytes | SHA-256 |", "| --- | ---: | ---: | --- |"]
    for name, facts in manifest.files.items():
        lines.append(f"| {name} | {facts.lines:,} | {facts.bytes:,} | {_code(facts.sha256)} |")
    return lines


def _some(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def _code(text: str) -> str:
    """Text as code; whatever it holds, it stays on its line and inside its marks."""
    return "`" + _flat(text).replace("`", "'") + "`"


def _cell(text: str) -> str:
    """Text in a table; model names and metadata come from outside and must not break the page."""
    return _flat(text).replace("|", "\\|").replace("<", "&lt;")


def _flat(text: str) -> str:
    return " ".join(text.split())
