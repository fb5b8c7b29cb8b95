"""Every option has environment variables; a flag wins over them."""

from collections.abc import Callable

import pytest

from dispatchd.config.options import RUN_OPTIONS, WORKER_OPTIONS, Option
from tests.cli.conftest import Invoke, Started

# For each flag two values that are not its default.
VALUES: dict[str, tuple[str, str]] = {
    "--payments": ("simulated", "facilitator"),
    "--pay-to": ("0x" + "1" * 40, "0x" + "2" * 40),
    "--facilitator": ("http://127.0.0.1:4402", "https://example.org"),
    "--asset": ("0x" + "3" * 40 + ":USDC:2", "0x" + "4" * 40 + ":USDC:2"),
    "--host": ("127.0.0.2", "0.0.0.0"),
    "--port": ("5001", "0"),
    "--public-url": ("https://dispatch.example.org", "http://10.0.0.2:4010"),
    "--network": ("solana", "eip155:1"),
    "--data-dir": ("/srv/a", "/srv/b"),
    "--db": ("/srv/a.db", "/srv/b.db"),
    "--store": ("postgresql://h/a", "postgres://h/b"),
    "--advertise": ("http://10.0.0.2:4010", "https://example.org"),
    "--key": ("/srv/a.json", "/srv/b.json"),
    "--slots": ("3", "5"),
    "--model": ("some/folder", "another"),
    "--precision": ("int4", "FP32"),
    "--backend": ("openai", "OPENAI"),
    "--base-url": ("http://127.0.0.1:8000/v1", "https://example.org/v1"),
    "--classifier": ("keyword", "KEYWORD"),
    "--limit": ("faults_max=7", "faults_max=9"),
    "--grace": ("1.5", "0"),
    "--log-level": ("debug", "error"),
    "--log-format": ("json", "JSON"),
    "--coordinator": ("http://10.0.0.1:4010", "https://example.org"),
    "--capability": ("llm", "task"),
    "--provider-type": ("seeker", "SEEKER"),
    "--trust-code": ("A3F2B1", "000000"),
}
# What says nothing alone, and what it is said with: payments are off with --testnet.
WITH = {
    "--backend": ("--base-url", "http://127.0.0.1:8000/v1"),
    "--base-url": ("--backend", "openai"),
    "--pay-to": ("--payments", "facilitator", "--facilitator", "https://example.com"),
    "--facilitator": ("--payments", "facilitator", "--pay-to", "0x" + "5" * 40),
    "--asset": ("--payments", "simulated"),
}
COMMANDS = {"run": RUN_OPTIONS, "worker": WORKER_OPTIONS}
NAMES_OF_THE_NETWORK = {
    "run": {
        *("TESTNET_MODE", "PORT", "DB_PATH", "NETWORK", "WORKER_KEY_PATH"),
        *("PAY_TO", "FACILITATOR_URL", "ASSET"),
    },
    "worker": {"COORDINATOR_URL", "WORKER_KEY_PATH", "TRUST_PAIRING_CODE"},
}
Outcome = tuple[object, tuple[str, str] | None]
Outcomes = Callable[..., Outcome]


def with_values(command: str) -> list[Option]:
    return [option for option in COMMANDS[command] if option.default is not False]


VARIABLES = [
    (command, option.flag, variable)
    for command in COMMANDS
    for option in with_values(command)
    for variable in option.variables
]


@pytest.fixture
def outcome(invoke: Invoke, started: Started) -> Outcomes:
    """What a command would start with these arguments and variables."""

    def of(command: str, *arguments: str, **environment: str) -> Outcome:
        testnet = ("--testnet",) if command == "run" else ()
        result = invoke(command, *testnet, *arguments, **environment)
        assert result.exit_code == 0, result.output
        return started.config, started.logs

    return of


def test_every_flag_has_values_here() -> None:
    flags = {option.flag for command in COMMANDS for option in with_values(command)}
    assert flags == VALUES.keys()


@pytest.mark.parametrize("command", COMMANDS)
def test_the_names_that_people_already_set_are_known(command: str) -> None:
    known = {variable for option in COMMANDS[command] for variable in option.variables}
    assert NAMES_OF_THE_NETWORK[command] <= known
    for option in COMMANDS[command]:
        assert option.variables[0].startswith("DISPATCHD_")


@pytest.mark.parametrize(("command", "flag", "variable"), VARIABLES)
def test_a_variable_does_what_its_flag_does(
    outcome: Outcomes, command: str, flag: str, variable: str
) -> None:
    value = VALUES[flag][0]
    rest = WITH.get(flag, ())
    by_variable = outcome(command, *rest, **{variable: value})
    assert by_variable == outcome(command, *rest, flag, value)
    assert by_variable != outcome(command)


@pytest.mark.parametrize(("command", "flag", "variable"), VARIABLES)
def test_a_flag_wins_over_a_variable(
    outcome: Outcomes, command: str, flag: str, variable: str
) -> None:
    ours, theirs = VALUES[flag]
    rest = WITH.get(flag, ())
    by_flag = outcome(command, *rest, flag, ours)
    assert outcome(command, *rest, flag, ours, **{variable: theirs}) == by_flag


@pytest.mark.parametrize(("command", "flag", "variable"), VARIABLES)
def test_an_empty_variable_is_none(
    outcome: Outcomes, command: str, flag: str, variable: str
) -> None:
    assert outcome(command, **{variable: ""}) == outcome(command)


@pytest.mark.parametrize(
    ("ours", "theirs", "flag"),
    [
        ("DISPATCHD_PORT", "PORT", "--port"),
        ("DISPATCHD_DB", "DB_PATH", "--db"),
        ("DISPATCHD_NETWORK", "NETWORK", "--network"),
        ("DISPATCHD_KEY", "WORKER_KEY_PATH", "--key"),
    ],
)
def test_our_variable_wins_over_the_common_one(
    outcome: Outcomes, ours: str, theirs: str, flag: str
) -> None:
    first, second = VALUES[flag]
    assert outcome("run", **{ours: first, theirs: second}) == outcome("run", flag, first)


@pytest.mark.parametrize("variable", ["TESTNET_MODE", "DISPATCHD_TESTNET"])
@pytest.mark.parametrize("value", ["true", "True", "TRUE", "1", "yes", "on"])
def test_testnet_mode_stands_for_the_flag(
    invoke: Invoke, started: Started, variable: str, value: str
) -> None:
    assert invoke("run", **{variable: value}).exit_code == 0
    assert started.config is not None


@pytest.mark.parametrize("value", ["false", "0", "no", "off", ""])
def test_testnet_mode_can_be_off(invoke: Invoke, started: Started, value: str) -> None:
    assert invoke("run", TESTNET_MODE=value).exit_code == 2
    assert started.config is None


def test_no_worker_by_variable(outcome: Outcomes) -> None:
    alone = outcome("run", "--no-worker")
    assert outcome("run", DISPATCHD_NO_WORKER="1") == alone
    assert outcome("run", DISPATCHD_NO_WORKER="0") == outcome("run") != alone


def test_several_capabilities_in_one_variable(outcome: Outcomes) -> None:
    both = outcome("worker", "--capability", "llm", "--capability", "task")
    assert outcome("worker", DISPATCHD_CAPABILITY="llm task") == both == outcome("worker")


@pytest.mark.parametrize(
    ("arguments", "port", "caip2"),
    [
        ((), 4010, "eip155:10143"),
        (("--network", "monad"), 4010, "eip155:10143"),
        (("--network", "solana"), 4020, "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1"),
        (("--network", "eip155:10143"), 4010, "eip155:10143"),
        (("--network", "eip155:1"), 4010, "eip155:1"),
        (("--network", "solana", "--port", "7"), 7, "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1"),
    ],
)
def test_a_network_brings_its_port(
    invoke: Invoke, started: Started, arguments: tuple[str, ...], port: int, caip2: str
) -> None:
    assert invoke("run", "--testnet", *arguments).exit_code == 0
    assert started.config.host == "127.0.0.1"
    (served,) = started.config.networks
    assert (served.port, served.network.caip2) == (port, caip2)


def test_two_networks_side_by_side(invoke: Invoke, started: Started) -> None:
    both = ("--network", "monad", "--network", "solana")
    assert invoke("run", "--testnet", *both, "--port", "7").exit_code == 0
    served = [(each.network.name, each.port) for each in started.config.networks]
    assert served == [("monad", 7), ("solana", 4020)]
    databases = {each.database.name for each in started.config.networks}
    assert databases == {"monad.sqlite3", "solana.sqlite3"}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--network", "monad", "--network", "eip155:10143"), "--network"),
        (("--port", "1", "--port", "2"), "--port"),
        (("--network", "monad", "--network", "solana", "--db", "x"), "--db"),
        (("--network", "monad", "--network", "solana", "--port", "4020"), "port"),
    ],
)
def test_networks_that_do_not_go_together(
    invoke: Invoke, started: Started, arguments: tuple[str, ...], named: str
) -> None:
    refused = invoke("run", "--testnet", *arguments)
    assert refused.exit_code == 2
    assert named in refused.stderr
    assert started.config is None


def test_a_backends_key_comes_from_the_environment_and_is_not_shown(
    invoke: Invoke, started: Started
) -> None:
    given = ("--backend", "openai", "--base-url", "http://127.0.0.1:8000/v1/", "--model", "m")
    assert invoke("run", "--testnet", *given, DISPATCHD_BACKEND_KEY=" sk-1 ").exit_code == 0
    backend = started.config.worker.backend
    assert (backend.address.url, backend.address.key) == ("http://127.0.0.1:8000/v1", "sk-1")
    assert backend.model == "m"
    assert "sk-1" not in repr(started.config)
    assert invoke("run", "--testnet", *given[:-2]).exit_code == 0
    assert started.config.worker.backend.model is None
