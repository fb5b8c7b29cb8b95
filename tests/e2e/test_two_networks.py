"""Both networks from one process: a port and a job store each, one engine and one worker."""

import re
from pathlib import Path

from tests.e2e.client import LLM, TASK, Client
from tests.support import auditor
from tests.support.process import dispatchd

SOLANA = "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1"
BOTH = ("run", "--testnet", "--network", "monad", "--network", "solana")


def test_two_networks_have_a_port_and_a_store_each_and_share_the_worker(tmp_path: Path) -> None:
    with dispatchd(*BOTH, "--port", "0", "--port", "0", home=tmp_path) as process:
        process.url()
        process.out.wait_for("Join from elsewhere")
        urls = re.findall(r"address\s+(http://\S+)", process.out.text)
        monad, solana = (Client(url) for url in urls)
        assert [each.json("GET", "/v1/health")[1]["network"] for each in (monad, solana)] == [
            "eip155:10143",
            SOLANA,
        ]
        assert solana.json("GET", "/v1/quote?job_type=TASK")[1]["network"] == SOLANA
        workers = [each.json("GET", "/v1/workers")[1]["workers"] for each in (monad, solana)]
        assert workers[0][0]["provider_pubkey"] == workers[1][0]["provider_pubkey"]
        jobs = [(each, each.commit(payload)) for each in (monad, solana) for payload in (LLM, TASK)]
        for client, job_id in jobs:
            client.until(job_id, "completed")
        first, job_id = jobs[0]
        assert solana.text("GET", f"/v1/jobs/{job_id}")[0] == 404
        assert first.text("GET", f"/v1/jobs/{job_id}")[0] == 200
        roots = [each.json("GET", "/v1/receipts/root")[1] for each in (monad, solana)]
        assert [root["size"] for root in roots] == [2, 2]
        keys = [root["coordinator_key"] for root in roots]
        assert keys[0] != keys[1]
        assert re.findall(r"chained under (\w+)", process.out.text) == keys
        for client, job_id in jobs:
            bundle = auditor.check_bundle(client.text("GET", f"/v1/receipts/{job_id}")[1])
            assert bundle["root"]["coordinator_key"] == keys[client is solana]
        assert process.stop() == 0
    stores = {path.name for path in tmp_path.rglob("*.sqlite3")}
    assert stores == {"monad.sqlite3", "solana.sqlite3"}
