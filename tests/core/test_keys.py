"""Key files, as existing workers have them."""

import json

import pytest

from dispatchd.core.errors import Invalid
from dispatchd.core.keys import KeyPair, signature_holds


def test_a_key_file_reads_back_as_the_same_key() -> None:
    key = KeyPair.generate()
    again = KeyPair.parse(key.print())
    assert again.public_hex == key.public_hex
    assert signature_holds(key.public_hex, b"text", again.sign(b"text"))


def test_the_file_has_the_networks_layout() -> None:
    file = json.loads(KeyPair.generate().print())
    assert list(file) == ["publicKey", "secretKey"]
    assert (len(file["publicKey"]), len(file["secretKey"])) == (32, 64)
    assert file["secretKey"][32:] == file["publicKey"]


@pytest.mark.parametrize("part", ["publicKey", "secretKey"])
@pytest.mark.parametrize("change", ["flip", "shorten", "overflow", "drop", "text"])
def test_a_damaged_key_file_is_refused(part: str, change: str) -> None:
    file = json.loads(KeyPair.generate().print())
    match change:
        case "flip":
            file[part][0] ^= 1
        case "shorten":
            file[part].pop()
        case "overflow":
            file[part][0] = 256
        case "drop":
            del file[part]
        case "text":
            file[part] = "x"
    with pytest.raises(Invalid, match="not a key file"):
        KeyPair.parse(json.dumps(file).encode())
