"""What the tests over real processes share."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    # pytest-xdist knows this marker by itself, but need not be there.
    config.addinivalue_line("markers", "xdist_group(name): tests that must not run side by side")
