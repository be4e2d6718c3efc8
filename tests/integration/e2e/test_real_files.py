"""Every real batch file runs to its end: each line once, in order, under its own id, and the bill adds up."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.e2e.conftest import Command, Simulation, configure, results_in

REAL = Path(__file__).parents[2] / "realdata"
BATCHES = [
    "aibrix_sample_job_input.jsonl",
    "anthropic_cookbook_parallel_requests.jsonl",
    "batchlocallm_demo_batch_10.jsonl",
    "batchlocallm_synthetic_100.jsonl",
    "batchlocallm_synthetic_candidates_10.jsonl",
    "litellm_batch_small.jsonl",
    "openai_cookbook_responses_batch.jsonl",
    "vllm_openai_example_batch.jsonl",
    "vllm_production_stack_batch.jsonl",
    "imitations/anthropic_lines.jsonl",
    "imitations/embedding_of_binary_text.jsonl",
    "imitations/gemini_awkward_keys_and_files.jsonl",
    "imitations/gemini_embeddings.jsonl",
    "imitations/gemini_without_key.jsonl",
    "imitations/long_path_like_custom_id.jsonl",
    "imitations/message_of_wrong_shape.jsonl",
    "imitations/mixed_features.jsonl",
    "imitations/other_version_url_image_parts.jsonl",
]
#: batches whose every line asks for what OpenAI's wire has no word for: refused at submit, by the word
REFUSED = {
    "imitations/gemini_awkward_keys_and_files.jsonl": "generationConfig.responseModalities",
    "imitations/gemini_embeddings.jsonl": "taskType",
}
NOT_BATCHES = [
    "HumanEval.jsonl.gz",
    "fastchat_judge_prompts.jsonl",
    "gsm8k_test_first200.jsonl",
    "humaneval_example_problem.jsonl",
    "ifeval_excerpt8.jsonl",
    "mt_bench_question.jsonl",
    "self_instruct_seed_tasks.jsonl",
    "vicuna_bench_question.jsonl",
    "imitations/anthropic_concatenated_no_newlines.jsonl",
    "imitations/json_array_not_lines.jsonl",
    "imitations/pretty_printed_objects.jsonl",
]


def test_every_real_file_is_in_one_of_the_lists() -> None:
    there = {str(path.relative_to(REAL)) for path in REAL.rglob("*") if path.suffix in (".jsonl", ".gz")}
    assert there == {*BATCHES, *NOT_BATCHES}


@pytest.fixture
def ready(command: Command, simulate: Callable[..., Simulation]) -> Command:
    simulation = simulate("--providers", "1", "--seed", "3")
    configure(command.folder, simulation)
    command.env["SIM_KEY"] = next(iter(simulation.addresses.values()))["keys"]["main"]
    return command


@pytest.mark.parametrize("name", [name for name in BATCHES if name not in REFUSED])
def test_a_real_batch_runs_to_its_end(ready: Command, name: str) -> None:
    done = ready.run("run", str(REAL / name), "-o", "out", "--model", "some-model", code=None)
    assert (ready.folder / "out" / "manifest.json").exists(), done.stderr
    results = results_in(ready.folder / "out")
    results.check_against((REAL / name).read_bytes())
    assert done.returncode == (1 if results.errors else 0)
    assert results.output or name == "imitations/message_of_wrong_shape.jsonl"


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_the_route_has_no_word_for_is_refused_by_name(ready: Command, name: str) -> None:
    done = ready.run("run", str(REAL / name), "-o", "out", "--model", "some-model", code=2)
    assert REFUSED[name] in done.stderr


@pytest.mark.parametrize("name", NOT_BATCHES)
def test_what_is_no_batch_is_refused_in_words(ready: Command, name: str) -> None:
    done = ready.run("run", str(REAL / name), "-o", "out", code=2)
    assert "line 1" in done.stderr.lower()
    assert not (ready.folder / "out" / "output.jsonl").exists()


def test_a_packed_file_is_unpacked_on_the_way(ready: Command) -> None:
    raw = (REAL / "batchlocallm_synthetic_100.jsonl").read_bytes()
    (ready.folder / "packed.jsonl.gz").write_bytes(gzip.compress(raw))
    ready.run("run", "packed.jsonl.gz", "-o", "out")
    results_in(ready.folder / "out").check_against(raw)
