"""Every option of the command line, read once: flag, else environment, else default.

The tables here are also what the README's and ARCHITECTURE's option tables are made from.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import platformdirs
from msgspec import Struct

from dispatchd.core.card import ProviderType
from dispatchd.core.job import JobType
from dispatchd.engine.catalog import DEFAULT_LLM
from dispatchd.engine.precision import PRECISIONS
from dispatchd.worker.backend.address import KEY_VARIABLE

CAPABILITIES: Mapping[str, JobType] = MappingProxyType(
    {"llm": JobType.LLM_INFER, "task": JobType.TASK}
)
PROVIDER_TYPES: Mapping[str, ProviderType] = MappingProxyType(
    {kind.lower(): kind for kind in ProviderType}
)
LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("text", "json")


class Option(Struct, frozen=True):
    """A flag, the environment variables that stand for it (first wins), and what it does."""

    flag: str
    variables: tuple[str, ...]
    help: str
    default: Any = None
    choices: tuple[str, ...] = ()
    repeatable: bool = False
    shown_default: str = ""

    @property
    def name(self) -> str:
        """What click calls its value."""
        return self.flag.removeprefix("--").replace("-", "_")


_DATA_DIR = Option(
    "--data-dir",
    ("DISPATCHD_DATA_DIR",),
    "Folder for the database, the keys and the models that are pulled.",
    default=platformdirs.user_data_dir("dispatchd", appauthor=False),
    shown_default="the platform's user data folder",
)
OWN_KEY = "own-worker-key.json"
FAR_KEY = "worker-key.json"


def _key_option(name: str) -> Option:
    """Both kinds of worker may run on one machine, so each has a key file of its own."""
    return Option(
        "--key",
        ("DISPATCHD_KEY", "WORKER_KEY_PATH"),
        "The worker's key file; made on the first run.",
        shown_default=f"{name} in the data folder",
    )


_MODEL = Option(
    "--model",
    ("DISPATCHD_MODEL",),
    "Language model: an embedded or pulled name, or a folder; with a backend, one of its models.",
    shown_default=f"{DEFAULT_LLM}; the backend's only one",
)
_PRECISION = Option(
    "--precision",
    ("DISPATCHD_PRECISION",),
    "How the model's weights are rounded, for every job alike.",
    default="auto",
    choices=PRECISIONS,
    shown_default="auto: as it was prepared, else int8 on a CPU",
)
_SLOTS = Option(
    "--slots",
    ("DISPATCHD_SLOTS",),
    "LLM_INFER jobs that run at once. TASK jobs have places of their own.",
    shown_default="16 with a prepared model or a backend, else 1",
)
_BACKEND = (
    Option(
        "--backend",
        ("DISPATCHD_BACKEND",),
        "Have LLM_INFER jobs run by a server that speaks OpenAI's API: vLLM, Ollama, llama.cpp.",
        choices=("openai",),
    ),
    Option(
        "--base-url",
        ("DISPATCHD_BASE_URL",),
        f"Address of that server, e.g. http://127.0.0.1:8000/v1; its key goes into {KEY_VARIABLE}.",
    ),
)
_LIMIT = Option(
    "--limit",
    ("DISPATCHD_LIMITS",),
    "NAME=NUMBER, one of the limits in ARCHITECTURE.md.",
    repeatable=True,
)
CLASSIFIERS = ("model", "keyword")
_CLASSIFIER = Option(
    "--classifier",
    ("DISPATCHD_CLASSIFIER",),
    "What answers classify: the embedded model, or the network's first rule, a list of words.",
    default="model",
    choices=CLASSIFIERS,
)
_LOGS = (
    Option(
        "--log-level",
        ("DISPATCHD_LOG_LEVEL",),
        "What is logged.",
        default="info",
        choices=LOG_LEVELS,
    ),
    Option(
        "--log-format",
        ("DISPATCHD_LOG_FORMAT",),
        "How it is logged, one event a line: for people, or as JSON.",
        default="text",
        choices=LOG_FORMATS,
    ),
)

_GRACE = Option(
    "--grace",
    ("DISPATCHD_GRACE",),
    "Seconds that running jobs get to finish when the node is stopped.",
    default=20.0,
)

PAYMENTS = ("off", "simulated", "facilitator")
_SELLING = (
    Option(
        "--payments",
        ("DISPATCHD_PAYMENTS",),
        "How jobs are paid for; simulated is for testnets and needs nobody else.",
        choices=PAYMENTS,
        shown_default="facilitator; off with --testnet",
    ),
    Option(
        "--pay-to",
        ("DISPATCHD_PAY_TO", "PAY_TO"),
        "Address that is paid, once for each network.",
        repeatable=True,
        shown_default="a wallet of the node's own if simulated",
    ),
    Option(
        "--facilitator",
        ("DISPATCHD_FACILITATOR", "FACILITATOR_URL"),
        "Address of the x402 facilitator that checks and moves the money.",
    ),
    Option(
        "--asset",
        ("DISPATCHD_ASSET", "ASSET"),
        "Token that is paid in, once for each network: an address, or ADDRESS:NAME:VERSION.",
        repeatable=True,
        shown_default="the network's USDC",
    ),
    Option(
        "--legacy-network-names",
        ("DISPATCHD_LEGACY_NETWORK_NAMES",),
        "Offers of x402 version 1 say base-sepolia and the like, not eip155:84532.",
        default=False,
    ),
    Option(
        "--behind-proxy",
        ("DISPATCHD_BEHIND_PROXY",),
        "Believe X-Forwarded-Proto and X-Forwarded-Host; only behind a proxy that sets them.",
        default=False,
    ),
)

RUN_OPTIONS = (
    Option(
        "--testnet",
        ("DISPATCHD_TESTNET", "TESTNET_MODE"),
        "Take jobs without payment.",
        default=False,
    ),
    *_SELLING,
    Option(
        "--require-keys",
        ("DISPATCHD_REQUIRE_KEYS",),
        "Take jobs, and show them, only with an API key; only the operator makes first ones.",
        default=False,
    ),
    Option("--host", ("DISPATCHD_HOST",), "Address to listen on.", default="127.0.0.1"),
    Option(
        "--port",
        ("DISPATCHD_PORT", "PORT"),
        "Port to listen on, once for each network; 0 picks a free one.",
        repeatable=True,
        shown_default="4010 on monad, 4020 on solana",
    ),
    Option(
        "--public-url",
        ("DISPATCHD_PUBLIC_URL",),
        "Address at which workers reach this node, once for each network; their proofs name it.",
        repeatable=True,
        shown_default="what each connection says",
    ),
    Option(
        "--network",
        ("DISPATCHD_NETWORK", "NETWORK"),
        "monad, solana or a CAIP-2 id; several run side by side.",
        repeatable=True,
        shown_default="monad",
    ),
    _DATA_DIR,
    Option(
        "--db",
        ("DISPATCHD_DB", "DB_PATH"),
        "The database file.",
        shown_default="NETWORK.sqlite3 in the data folder",
    ),
    Option(
        "--store",
        ("DISPATCHD_STORE",),
        "PostgreSQL database to share with other coordinators, postgresql://…, once a network.",
        repeatable=True,
        shown_default="the database file, for this node alone",
    ),
    Option(
        "--advertise",
        ("DISPATCHD_ADVERTISE",),
        "Address at which other coordinators over the same store reach this one, once a network.",
        repeatable=True,
        shown_default="--host and --port",
    ),
    Option("--no-worker", ("DISPATCHD_NO_WORKER",), "Coordinate only.", default=False),
    _key_option(OWN_KEY),
    _SLOTS,
    _MODEL,
    _PRECISION,
    *_BACKEND,
    _CLASSIFIER,
    _LIMIT,
    _GRACE,
    *_LOGS,
)

NEAR = "http://127.0.0.1:4010"
WORKER_OPTIONS = (
    Option(
        "--coordinator",
        ("DISPATCHD_COORDINATOR", "COORDINATOR_URL"),
        "Address of the coordinator; of several over one store, if one goes the next is tried.",
        repeatable=True,
        shown_default=NEAR,
    ),
    _key_option(FAR_KEY),
    Option(
        "--capability",
        ("DISPATCHD_CAPABILITY",),
        "Job types to take.",
        choices=tuple(CAPABILITIES),
        repeatable=True,
        shown_default="both",
    ),
    Option(
        "--provider-type",
        ("DISPATCHD_PROVIDER_TYPE",),
        "What kind of machine this is.",
        default="desktop",
        choices=tuple(PROVIDER_TYPES),
    ),
    Option(
        "--trust-code",
        ("DISPATCHD_TRUST_CODE", "TRUST_PAIRING_CODE"),
        "Pairing code of a user who trusts this worker with PRIVATE jobs.",
    ),
    _SLOTS,
    _MODEL,
    _PRECISION,
    *_BACKEND,
    _CLASSIFIER,
    _DATA_DIR,
    _LIMIT,
    _GRACE,
    *_LOGS,
)

MODELS_OPTIONS = (_DATA_DIR,)

_EXAMINED = frozenset(
    {"--data-dir", "--db", "--network", "--host", "--port", "--key", "--model", "--precision"}
    | {"--store", "--advertise"}
)
DOCTOR_OPTIONS = (
    Option(
        "--coordinator",
        ("DISPATCHD_COORDINATOR", "COORDINATOR_URL"),
        "Address of a coordinator to try as well.",
        shown_default="a node that is started for it",
    ),
    *(option for option in RUN_OPTIONS if option.flag in _EXAMINED),
    Option(
        "--payments",
        ("DISPATCHD_PAYMENTS",),
        "Whether the node that is started sells its job; only play money is spent.",
        default="off",
        choices=PAYMENTS,
    ),
)
