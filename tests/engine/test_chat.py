from datetime import UTC, datetime
from pathlib import Path

import jinja2
import msgspec
import pytest
from jinja2.exceptions import SecurityError

from dispatchd.core.errors import Unusable
from dispatchd.engine.chat import ChatTemplate, compile_template
from dispatchd.engine.folder import ModelFolder, read_folder
from dispatchd.engine.request import Message


@pytest.fixture(scope="module")
def folder(chat_folder: Path) -> ModelFolder:
    return read_folder(chat_folder)


def render(folder: ModelFolder, source: str, content: str = "hi") -> str:
    moment = datetime(2026, 11, 24, tzinfo=UTC)
    return ChatTemplate(source, folder, now=lambda: moment).render([Message("user", content)])


def test_the_models_own_template_makes_one_user_turn(folder: ModelFolder) -> None:
    template = compile_template(folder)
    assert template is not None
    rendered = template.render([Message("user", "hi")])
    assert rendered == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"


def test_a_conversation_is_rendered_turn_by_turn(folder: ModelFolder) -> None:
    template = compile_template(folder)
    assert template is not None
    turns = [Message("system", "Be brief."), Message("user", "hi"), Message("assistant", "Hello.")]
    assert template.render([*turns, Message("user", "bye")]) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n"
        "<|im_start|>assistant\nHello.<|im_end|>\n<|im_start|>user\nbye<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ bos_token }}|{{ eos_token }}", "<|endoftext|>|<|im_end|>"),
        ("{{ messages | tojson }}", '[{"role": "user", "content": "<é>"}]'),
        ("{{ strftime_now('%d %b %Y') }}", "24 Nov 2026"),
        ("  {% if true %}\nx\n  {% endif %}\ny", "x\ny"),
        ("{% for m in messages %}{% break %}{% endfor %}-", "-"),
        ("{{ tools is defined }}{{ documents }}", "False"),
    ],
)
def test_templates_find_what_the_hub_gives_them(
    folder: ModelFolder, source: str, expected: str
) -> None:
    assert render(folder, source, "<é>") == expected


def test_a_template_can_refuse(folder: ModelFolder) -> None:
    with pytest.raises(jinja2.TemplateError, match="only pairs"):
        render(folder, "{{ raise_exception('only pairs') }}")


def test_a_template_is_kept_in_its_sandbox(folder: ModelFolder) -> None:
    with pytest.raises(SecurityError):
        render(folder, "{{ messages.__class__.__mro__ }}")
    with pytest.raises(SecurityError):
        render(folder, "{{ messages.append(1) }}")


@pytest.mark.parametrize(
    "source",
    ["{% if", "{{ raise_exception('no') }}", "{{ messages[7].content.x }}", "no message at all"],
)
def test_a_template_that_does_not_work_makes_the_folder_unusable(
    folder: ModelFolder, source: str
) -> None:
    with pytest.raises(Unusable, match=f"of {folder.name} "):
        compile_template(msgspec.structs.replace(folder, chat_template=source))


def test_no_template_is_fine(folder: ModelFolder) -> None:
    assert compile_template(msgspec.structs.replace(folder, chat_template=None)) is None
