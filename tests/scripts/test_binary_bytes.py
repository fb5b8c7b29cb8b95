"""Code in the binary is written the same way whatever else holds its parts."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Whether a string is held by somebody else shows in marshal's own bytes.
PROGRAM = """
import marshal, sys
from io import BytesIO
from scripts.binary.same_bytes import marshal_alike
if sys.argv[1] == "alike":
    marshal_alike()
text = "def f(a, unusual_name):\\n    return a.unusual_name + 'text of ours' + '}'"
code = compile(text, "x.py", "exec")
if sys.argv[2] == "held":
    sys.intern("}")
held = [code.co_consts[0].co_consts, code.co_consts[0].co_names] if sys.argv[2] == "held" else None
file = BytesIO()
marshal.dump(code, file)
assert eval(marshal.loads(file.getvalue())) is None
print(marshal.dumps(code).hex(), file.getvalue().hex())
"""


def written(how: str, where: str) -> str:
    command = [sys.executable, "-c", PROGRAM, how, where]
    return subprocess.check_output(command, cwd=ROOT, text=True)


def test_the_bytes_do_not_tell_who_holds_the_code() -> None:
    assert written("alike", "held") == written("alike", "free")


def test_without_it_they_do() -> None:
    if written("as it is", "held") == written("as it is", "free"):
        pytest.fail("this test shows nothing any more")
