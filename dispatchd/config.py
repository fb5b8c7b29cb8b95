"""Every option of the command line, read once: flag, else environment, else default.

The tables here are also what the README's and ARCHITECTURE's option tables are made from.
"""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
import platformdirs
from msgspec import Struct

from dispatchd.core.address import EVERYWHERE, http_address
from dispatchd.core.card import ProviderType
from dispatchd.core.errors import Unusable
from dispatchd.core.job import JobType
from dispatchd.core.limits import Limits
from dispatchd.core.network import Network, find_network
from dispatchd.core.sentence import plain_sentence
from dispatchd.engine.catalog import DEFAULT_LLM
from dispatchd.engine.precision import PRECISIONS, Asked
from dispatchd.worker.backend.address import KEY_VARIABLE, BackendAddress

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
_MODELS = "models"
_OWN_KEY = "own-worker-key.json"
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
    _key_option(_OWN_KEY),
    _SLOTS,
    _MODEL,
    _PRECISION,
    *_BACKEND,
    _CLASSIFIER,
    _LIMIT,
    _GRACE,
    *_LOGS,
)

_NEAR = "http://127.0.0.1:4010"
WORKER_OPTIONS = (
    Option(
        "--coordinator",
        ("DISPATCHD_COORDINATOR", "COORDINATOR_URL"),
        "Address of the coordinator; of several over one store, if one goes the next is tried.",
        repeatable=True,
        shown_default=_NEAR,
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


class BackendConfig(Struct, frozen=True, kw_only=True):
    """The server that carries LLM_INFER jobs out. Without a model's name it must have one alone."""

    address: BackendAddress
    model: str | None


class WorkerConfig(Struct, frozen=True, kw_only=True):
    """What a worker needs to know, near or far."""

    key_path: Path
    model: str
    models_dir: Path
    precision: Asked
    slots: int | None  # None is as many as suit the model
    classifier: str  # one of CLASSIFIERS
    capabilities: frozenset[JobType] = frozenset(JobType)
    provider_type: ProviderType = ProviderType.DESKTOP
    backend: BackendConfig | None = None


class PaymentConfig(Struct, frozen=True, kw_only=True):
    """How one network's jobs are paid for. Without a facilitator's address it is simulated."""

    network: str
    pay_to: str | None
    asset: str | None
    facilitator: str | None
    legacy_names: bool
    behind_proxy: bool


class NetworkConfig(Struct, frozen=True, kw_only=True):
    """Where one network is served from, and what is paid for its jobs, if anything is."""

    network: Network
    port: int
    database: Path
    public_url: str | None
    """Where workers reach it; None where each connection says it."""
    payments: PaymentConfig | None
    store: str | None = None
    """A shared database instead of the file, beside which the coordinator's key lies anyway."""
    advertise: str | None = None


class RunConfig(Struct, frozen=True, kw_only=True):
    """What `dispatchd run` needs to know. `worker` is None for a coordinator alone."""

    networks: tuple[NetworkConfig, ...]
    host: str
    data_dir: Path
    worker: WorkerConfig | None
    limits: Limits
    grace_seconds: float
    testnet: bool
    require_keys: bool


class RemoteWorkerConfig(Struct, frozen=True, kw_only=True):
    """What `dispatchd worker` needs to know."""

    coordinators: tuple[str, ...]
    worker: WorkerConfig
    limits: Limits
    grace_seconds: float
    trust_code: str | None = None


class DoctorConfig(Struct, frozen=True, kw_only=True):
    """What `dispatchd doctor` looks at: what `run` would do, and perhaps a coordinator."""

    run: RunConfig
    coordinator: str | None


def doctor_config(values: Mapping[str, Any]) -> DoctorConfig:
    """Checks the options of `doctor`; raises `Unusable`."""
    rest = {option.name: () if option.repeatable else option.default for option in RUN_OPTIONS}
    simulated = values["payments"] == "simulated"
    how = {"testnet": True, "payments": "simulated" if simulated else "off"}
    run = run_config({**rest, **values, **how})
    return DoctorConfig(run=run, coordinator=values["coordinator"])


def run_config(values: Mapping[str, Any]) -> RunConfig:
    """Checks the options of `run`; raises `Unusable`."""
    data_dir = Path(values["data_dir"]).expanduser()
    return RunConfig(
        networks=_networks(values, data_dir),
        host=values["host"],
        data_dir=data_dir,
        worker=None if values["no_worker"] else _worker_config(values, data_dir / _OWN_KEY),
        limits=limits_of(values["limit"]),
        grace_seconds=_finite(values["grace"]),
        testnet=values["testnet"],
        require_keys=values["require_keys"],
    )


def _networks(values: Mapping[str, Any], data_dir: Path) -> tuple[NetworkConfig, ...]:
    """Each network with its port and its database; ports are given in the same order."""
    networks = [find_network(name) for name in values["network"] or ("monad",)]
    ports = list(values["port"])
    if len({network.caip2 for network in networks}) < len(networks):
        raise Unusable("--network names the same network twice.")
    if len(ports) > len(networks):
        raise Unusable("--port is given more often than --network.")
    if len(values["public_url"]) > len(networks):
        raise Unusable("--public-url is given more often than --network.")
    if values["db"] and len(networks) > 1:
        raise Unusable("--db is for one network; with several, use --data-dir.")
    ports += [network.port for network in networks[len(ports) :]]
    addresses = [_public_url(url) for url in values["public_url"]]
    if len({port for port in ports if port}) < len([port for port in ports if port]):
        raise Unusable("Two networks cannot share a port; give --port once for each.")
    return tuple(
        NetworkConfig(
            network=network,
            port=port,
            database=Path(values["db"] or data_dir / f"{network.name}.sqlite3").expanduser(),
            public_url=address,
            payments=payments,
            store=store,
            advertise=None if advertise is None else _url(advertise),
        )
        for network, port, address, payments, store, advertise in zip(
            networks,
            ports,
            _one_each(addresses, networks),
            _payments(values, networks),
            _stores(values, networks),
            _one_each(values["advertise"], networks),
            strict=True,
        )
    )


def _public_url(url: str) -> str:
    """An address at which workers come; raises `Unusable`."""
    if (address := http_address(url)) is None:
        raise Unusable(f"--public-url {url!r} is no address; use e.g. https://dispatch.example.org")
    return address


def _stores(values: Mapping[str, Any], networks: list[Network]) -> list[str | None]:
    """The shared database of each network that has one."""
    stores = values["store"]
    if stores and len(stores) < len(networks):
        raise Unusable("--store must be given once for each --network.")
    if len(set(stores)) < len(stores):
        raise Unusable("Two networks cannot share a database; give --store once for each.")
    for store in stores:
        if not store.startswith(("postgresql://", "postgres://")):
            raise Unusable("--store must be an address postgresql://…; a file goes into --db.")
    if stores and values["host"] in EVERYWHERE and len(values["advertise"]) < len(networks):
        raise Unusable("--store with --host for everywhere: say with --advertise which is yours.")
    if stores and values["db"]:
        raise Unusable("--store and --db exclude each other.")
    for flag, name in (("--store", "store"), ("--advertise", "advertise")):
        if len(values[name]) > len(networks):
            raise Unusable(f"{flag} is given more often than --network.")
    return _one_each(stores, networks)


def _url(text: str) -> str:
    if (url := http_address(text)) is None:
        raise Unusable("--advertise must be an address http://… or https://…")
    return url


def _one_each(given: Sequence[str], networks: list[Network]) -> list[str | None]:
    """What is given, in the order of the networks, and None for the others."""
    return [*given, *(None for _ in networks[len(given) :])]


def _payments(values: Mapping[str, Any], networks: list[Network]) -> list[PaymentConfig | None]:
    """How each network's jobs are paid for; addresses are given in the order of the networks."""
    how = values["payments"] or ("off" if values["testnet"] else "facilitator")
    if how == "off":
        if not values["testnet"]:
            raise Unusable("--payments off is for --testnet; without it jobs are sold.")
        return [None] * len(networks)
    _check_selling(values, how, networks)
    pay_to, assets = (_one_each(values[name], networks) for name in ("pay_to", "asset"))
    return [
        PaymentConfig(
            network=network.caip2,
            pay_to=payee,
            asset=asset,
            facilitator=None if how == "simulated" else values["facilitator"],
            legacy_names=values["legacy_network_names"],
            behind_proxy=values["behind_proxy"],
        )
        for network, payee, asset in zip(networks, pay_to, assets, strict=True)
    ]


def _check_selling(values: Mapping[str, Any], how: str, networks: list[Network]) -> None:
    for flag, name in (("--pay-to", "pay_to"), ("--asset", "asset")):
        if len(values[name]) > len(networks):
            raise Unusable(f"{flag} is given more often than --network.")
    if how == "simulated":
        if not values["testnet"]:
            raise Unusable("Simulated payments are worth nothing: add --testnet.")
        if values["facilitator"]:
            raise Unusable("--facilitator and --payments simulated exclude each other.")
    elif not values["facilitator"] or len(values["pay_to"]) < len(networks):
        raise Unusable(
            "This node would sell its jobs: give --pay-to ADDRESS (once for each --network) and"
            " --facilitator URL, or --testnet to take jobs without payment."
        )


def remote_worker_config(values: Mapping[str, Any]) -> RemoteWorkerConfig:
    """Checks the options of `worker`; raises `Unusable`."""
    worker = msgspec.structs.replace(
        _worker_config(values, Path(values["data_dir"]).expanduser() / FAR_KEY),
        capabilities=frozenset(CAPABILITIES[name] for name in values["capability"] or CAPABILITIES),
        provider_type=PROVIDER_TYPES[values["provider_type"]],
    )
    return RemoteWorkerConfig(
        coordinators=tuple(values["coordinator"]) or (_NEAR,),
        worker=worker,
        limits=limits_of(values["limit"]),
        grace_seconds=_finite(values["grace"]),
        trust_code=values["trust_code"] or None,
    )


def _finite(seconds: float) -> float:
    if not math.isfinite(seconds):
        raise Unusable("--grace must be a number of seconds.")
    return seconds


def limits_of(settings: Sequence[str]) -> Limits:
    """The limits with these changes, each `name=number`; raises `Unusable`."""
    values = dict(setting.partition("=")[::2] for setting in settings)
    for name in values.keys() - set(Limits.__struct_fields__):
        raise Unusable(f"--limit {name}: there is no such limit; ARCHITECTURE.md lists them.")
    try:
        limits = msgspec.convert(values, Limits, strict=False)
    except msgspec.ValidationError as error:
        raise Unusable(f"--limit: {plain_sentence(error)}.") from None
    for name in values:
        if not 0 <= getattr(limits, name) < math.inf:
            raise Unusable(f"--limit {name} must not be negative.")
    return limits


def models_dir(data_dir: str) -> Path:
    """Where pulled models live."""
    return Path(data_dir).expanduser() / _MODELS


def _worker_config(values: Mapping[str, Any], key_path: Path) -> WorkerConfig:
    return WorkerConfig(
        key_path=Path(values["key"] or key_path).expanduser(),
        model=values["model"] or DEFAULT_LLM,
        models_dir=models_dir(values["data_dir"]),
        precision=values["precision"],
        slots=values["slots"],
        backend=_backend(values),
        classifier=values["classifier"],
    )


def _backend(values: Mapping[str, Any]) -> BackendConfig | None:
    if not values["backend"] and not values["base_url"]:
        return None
    if not values["backend"]:
        raise Unusable("--base-url is the address of a backend: add --backend openai.")
    if not values["base_url"]:
        raise Unusable("--backend needs --base-url, the address of the server.")
    address = BackendAddress.of(values["base_url"], os.environ.get(KEY_VARIABLE, ""))
    return BackendConfig(address=address, model=values["model"] or None)
