"""A node that serves a prepared model: many jobs at once, each with the answer it gets alone."""

from pathlib import Path
from typing import Any

from tests.e2e.client import Client
from tests.support.exported import export_genai
from tests.support.machines import Machines
from tests.support.small_model import prepare_small

JOBS: list[dict[str, Any]] = [
    {
        "job_type": "LLM_INFER",
        "prompt": f"What is {number}?",
        "max_tokens": 20 + number,
        "temperature": number % 2,
        "seed": number,
        "min_p": 0.01,
        "ignore_eos": True,
    }
    for number in range(8)
]


def test_jobs_at_once_have_the_results_of_jobs_alone(tmp_path: Path) -> None:
    folder = prepare_small(tmp_path / "models")
    with Machines(tmp_path).run("--model", str(folder)) as node:
        client = Client(node.url())
        alone = [client.until(client.commit(job), "completed")["result"] for job in JOBS]
        jobs = [client.commit(job) for job in JOBS]
        together = [client.until(job_id, "completed")["result"] for job_id in jobs]
        assert together == alone
        assert alone[0]["determinism"]["precision"] == "int8"
        _, models = client.json("GET", "/v1/models")
        assert [model["id"] for model in models["data"]] == ["small"]
        _, answer = client.json(
            "POST",
            "/v1/chat/completions",
            {"model": "small", "max_tokens": 8, "messages": [{"role": "user", "content": "Hi"}]},
        )
        assert answer["object"] == "chat.completion"


def test_a_folder_made_for_onnxruntime_genai_is_served_as_it_is(tmp_path: Path) -> None:
    folder = export_genai(prepare_small(tmp_path / "int4", "int4"), tmp_path / "genai-int4")
    with Machines(tmp_path).run("--model", str(folder)) as node:
        client = Client(node.url())
        result = client.until(client.commit(JOBS[0]), "completed")["result"]
    assert (result["model"], result["completion_tokens"]) == ("genai-int4", 20)
