"""The scanner: every line of an input checked once, while it streams past.

Comes in: the input's bytes in blocks of any cut. Goes out: the lines that cannot be sent, the shards of the rest, and
at the end the pairs of lines that share a ``custom_id``. Called by ``submit`` and ``estimate``. Pure: it reads no
file, writes nothing, and knows models only through the catalog. A line is understood by the same function that the
worker uses, so what passes here is what will be sent.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b

from bucketline.catalog import Catalog, Plan
from bucketline.errors import ConfigError
from bucketline.jsonl import Record, Splitter
from bucketline.request import Fault, JsonScalar, Request, read_request
from bucketline.shard import Shard, ShardCutter
from bucketline.splice import dumps

__all__ = ["LINE_CAP_BYTES", "BadLine", "Ids", "Scanner", "id_digest"]

LINE_CAP_BYTES = 32 * 1024 * 1024  #: a longer line is an error line
_BUCKETS = 64
_WIDTH = 2**64 - 1
_MOST_MODELS = 4096  #: verdicts kept; names come from outside and must not fill the memory


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that cannot be sent: where it stands in the unpacked input, whose it is, and what is wrong with it."""

    line: int
    offset_bytes: int
    custom_id: JsonScalar
    message: str

    def sentence(self) -> str:
        return f"line {self.line} (byte {self.offset_bytes}): {self.message}"


class Ids:
    """Finds repeated ids at 16 bytes an id: 64-bit digests in buckets, compared once at the end.

    Among a million different ids two digests meet by chance in one input of 37 million.
    """

    def __init__(self) -> None:
        self._digests = [array("Q") for _ in range(_BUCKETS)]
        self._lines = [array("Q") for _ in range(_BUCKETS)]

    def add(self, custom_id: JsonScalar, line: int) -> None:
        # A text's own hash is keyed anew in each process and as wide as ours; other types go by ``id_digest``, in which
        # 1, 1.0 and true differ.
        digest = hash(custom_id) & _WIDTH if type(custom_id) is str else id_digest(custom_id)
        bucket = digest & (_BUCKETS - 1)
        self._digests[bucket].append(digest)
        self._lines[bucket].append(line)

    def repeated(self, limit: int = 100) -> list[tuple[int, int]]:
        """(line of the first, line of the later one) for repeated ids, by the later line; no more than ``limit``."""
        pairs: list[tuple[int, int]] = []
        for digests, lines in zip(self._digests, self._lines, strict=True):
            if len(set(digests)) < len(digests):
                first: dict[int, int] = {}
                for digest, line in zip(digests, lines, strict=True):
                    if first.setdefault(digest, line) != line:
                        pairs.append((first[digest], line))
        return sorted(pairs, key=lambda pair: pair[1])[:limit]


def id_digest(custom_id: JsonScalar) -> int:
    """64 bits of type and value: 1, 1.0, true and "1" are four ids."""
    if type(custom_id) is str:
        key = b"s" + custom_id.encode("utf-8", "surrogatepass")
    else:
        key = type(custom_id).__name__.encode() + dumps(custom_id)
    return int.from_bytes(blake2b(key, digest_size=8).digest(), "little")


class Scanner:
    """One pass over one input. ``on_plan`` hears of each model's plan once and may raise to refuse the whole.

    ``on_line`` is asked about each line that has a plan; what it says is the line's fault.
    """

    def __init__(
        self,
        catalog: Catalog,
        *,
        model: str | None = None,
        force_model: bool = False,
        cap_bytes: int = LINE_CAP_BYTES,
        on_plan: Callable[[Plan], None] = lambda _: None,
        on_line: Callable[[Request, Plan], str | None] = lambda *_: None,
    ) -> None:
        self._catalog = catalog
        self._model = model
        self._forced = model if force_model else None
        self._on_plan = on_plan
        self._on_line = on_line
        self._splitter = Splitter(cap_bytes=cap_bytes)
        self._cap_bytes = cap_bytes
        self._cutter = ShardCutter()
        self._verdicts: dict[str, Plan | str] = {}
        self.ids = Ids()
        self.lines = 0
        self.last_line = 0
        self.rejected: array[int] = array("Q")  #: line numbers of the bad lines, in order
        self.shards: list[Shard] = []

    def feed(self, block: bytes) -> list[BadLine]:
        """Take the next block; the bad lines among those that end in it."""
        return self._take(self._splitter.feed(block))

    def finish(self) -> list[BadLine]:
        """End the input; the last line's fault, if it has one."""
        bad = self._take(self._splitter.finish())
        self.shards.extend(self._cutter.finish())
        return bad

    def _take(self, records: Iterator[Record]) -> list[BadLine]:
        cut, note_id, bad = self._cutter.add, self.ids.add, []
        for record in records:
            line = self.last_line = record.line
            self.lines += 1
            full = cut(record)
            if full is not None:
                self.shards.append(full)
            found = self._check(record)
            if isinstance(found, Request):
                note_id(found.custom_id, line)
                continue
            if found.custom_id is not None:
                note_id(found.custom_id, line)
            self.rejected.append(line)
            bad.append(BadLine(line, record.offset_bytes, found.custom_id, found.message))
        return bad

    def _check(self, record: Record) -> Request | Fault:
        if record.oversized:
            return Fault(record.line, None, f"The line is longer than {self._cap_bytes} bytes.")
        found = read_request(record.raw, record.line, self._model)
        if isinstance(found, Request):
            model = self._forced or found.model
            verdict = self._verdicts.get(model) or self._judge(model)
            message = verdict if isinstance(verdict, str) else self._on_line(found, verdict)
            if message is not None:
                return Fault(record.line, found.custom_id, message)
        return found

    def _judge(self, model: str) -> Plan | str:
        """The plan of a model's name, or what is wrong with it."""
        verdict: Plan | str
        try:
            verdict = self._catalog.plan(model)
        except ConfigError as error:
            verdict = str(error)
        else:
            self._on_plan(verdict)
        if len(self._verdicts) < _MOST_MODELS:
            self._verdicts[model] = verdict
        return verdict
