"""Addresses of servers, as people give them."""

from yarl import URL


def http_address(text: str) -> str | None:
    """An http or https address in the form that paths are added to; None where it is none.

    It has a host, and nothing behind its path.
    """
    try:
        url = URL(text)
    except ValueError:
        return None
    if url.scheme not in {"http", "https"} or not url.host or any(map(str.isspace, text)):
        return None
    if url.query_string or url.fragment:
        return None
    return str(url).rstrip("/")


def host_of(address: str) -> str:
    """The host of an http address, with its port unless that is the usual one, as in `Host`."""
    return URL(address).host_port_subcomponent or ""
