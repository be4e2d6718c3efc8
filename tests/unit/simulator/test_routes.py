"""Every base address in use ends at the right wire, with the model where the path names one."""

from __future__ import annotations

import pytest

from worker.simulator.wires.routes import route


@pytest.mark.parametrize(
    ("path", "query", "endpoint", "model"),
    [
        ("/v1/chat/completions", "", "chat", None),
        ("/openai/v1/chat/completions", "", "chat", None),
        ("/openai/deployments/dep%20one/chat/completions", "api-version=1", "chat", "dep one"),
        ("/v1beta/openai/chat/completions", "", "chat", None),
        ("/v1/completions", "", "completions", None),
        ("/v1/responses", "", "responses", None),
        ("/v1/embeddings", "", "embeddings", None),
        ("/v1/messages", "", "messages", None),
        ("/v1beta/models/gem-3:generateContent", "", "generate", "gem-3"),
        ("/v1beta/models/gem-3:streamGenerateContent", "alt=sse", "generate_stream", "gem-3"),
        ("/v1/projects/p/locations/global/publishers/google/models/gem:generateContent", "", "generate", "gem"),
        ("/v1beta/models/e:embedContent", "", "embed", "e"),
        ("/v1beta/models/e:batchEmbedContents", "", "batch_embed", "e"),
        ("/model/vendor.name-v1%3A0/converse", "", "converse", "vendor.name-v1:0"),
    ],
)
def test_a_path_finds_its_wire(path: str, query: str, endpoint: str, model: str | None) -> None:
    found = route(path, query)
    assert found is not None
    assert (found.wire.endpoint, found.model) == (endpoint, model)


@pytest.mark.parametrize("path", ["/", "/v1/files", "/v1beta/models/m:frobnicate", "/v1/chat"])
def test_other_paths_have_none(path: str) -> None:
    assert route(path, "") is None
