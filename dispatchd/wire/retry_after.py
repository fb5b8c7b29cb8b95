"""The header Retry-After, as far as servers of this kind send it: in seconds."""


def retry_seconds(header: str) -> float:
    """The seconds of a Retry-After; 0 where it says none."""
    return float(header) if header.isascii() and header.isdigit() else 0.0
