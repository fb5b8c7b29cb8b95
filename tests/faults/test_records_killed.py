"""A worker's record and its suspension outlive the process that wrote them."""

import asyncio
import json
from pathlib import Path

from nacl.signing import SigningKey

from tests.faults.test_kill import Machine, session
from tests.support.alive import beat
from tests.support.crowd import all_completed, autopilot, offer, order
from tests.support.foreign import foreign_worker
from tests.support.process import ended

LIAR = SigningKey(bytes([7]) * 32)
# The commands between a worker's frames take their time.
PATIENT = ("--limit", "lease_seconds=60")


async def told(machine: Machine, home: Path, *arguments: str) -> str:
    """What a command of ours says of the node."""
    where = ("--coordinator", machine.url)
    done = await asyncio.to_thread(ended, *arguments, *where, home=home)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_a_suspension_outlives_the_node(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    lied: list[str] = []
    with machine.running("--no-worker", *PATIENT) as process:
        await asyncio.to_thread(process.url)
        async with session() as http, foreign_worker(http, machine.url, LIAR) as liar:
            await liar.register()
            await offer(http, machine.url, order())
            await liar.complete((await liar.expect("job_assign"))["job_id"])  # proves its key
            for _ in range(2):
                _, answer, _ = await offer(http, machine.url, order())
                lied.append(answer["job_id"])
                assert (await liar.expect("job_assign"))["job_id"] == lied[-1]
                await liar.socket.send_str(
                    liar.completion(lied[-1], "{}", provider_pubkey="ab" * 32)
                )
                await liar.expect("error")
            (before,) = json.loads(await told(machine, tmp_path, "workers", "--json"))["workers"]
            assert (before["standing"], before["record"]["bad_receipts"]) == ("suspended", 2)
            process.popen.kill()
            await liar.closed()
    with machine.running("--no-worker", *PATIENT) as process:
        await asyncio.to_thread(process.url)
        key, until = before["provider_pubkey"], f"suspended until {before['suspended_until']}"
        assert key not in await told(machine, tmp_path, "workers")
        line = (await told(machine, tmp_path, "workers", "--all")).splitlines()[1]
        assert [part in line for part in (key, "offline", until)] == [True] * 3
        async with session() as http, foreign_worker(http, machine.url, LIAR) as liar:
            await liar.register()
            why = await told(machine, tmp_path, "job", "explain", lied[0])
            assert f"{until}, after 2 failures" in why
            async with autopilot(http, machine.url) as honest:
                await all_completed(http, machine.url, lied)
                assert sorted(honest.assigned) == sorted(lied)
            assert await beat(liar) == []
