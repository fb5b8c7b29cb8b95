"""Three coordinators, workers, a PostgreSQL server, and trouble for a minute: nothing may be lost.

Every few seconds a random coordinator is killed with SIGKILL and started again; halfway the server
is stopped as by a crash. Jobs are committed all the while, with idempotency keys, at whichever
coordinator answers. At the end every accepted job has completed, once, with one receipt in one
chain. Nothing but loopback is used; the server is a new one in a temporary folder.
"""

import argparse
import asyncio
import random
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.chaos import Chaos, Plan
from tests.support.postgres import programs, running_server


def main() -> int:
    """Runs the check and prints what came of it; 1 where something was lost or done twice."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60, help="how long there is trouble")
    parser.add_argument("--seed", type=int, default=0, help="who is killed when")
    asked = parser.parse_args()
    if (folder := programs()) is None:
        parser.error("no PostgreSQL server here: install Debian's package postgresql")
    with running_server(folder) as server, tempfile.TemporaryDirectory() as home:
        plan = Plan(seconds=asked.seconds, kill_every=4, restart_store=True)
        chaos = Chaos(server, server.url, Path(home), plan, random.Random(asked.seed))
        found = asyncio.run(chaos.run())
    print(found)
    return 0 if found.good else 1


if __name__ == "__main__":
    sys.exit(main())
