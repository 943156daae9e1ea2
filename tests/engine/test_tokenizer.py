"""Tokenizers and chat templates: both come from a checkpoint, and neither may do more than its work."""

import json
from pathlib import Path

import pytest
from tests.engine.checkpoints import write_servable

from hasten.engine.protocol import BadRequest, Body, read_chat
from hasten.engine.tokenizer import Tokenizer
from hasten.errors import InputError

HELLO = [{"role": "user", "content": "hello"}]


def made(directory: Path, template: str | None) -> Tokenizer:
    write_servable(directory, template=template)
    return Tokenizer(directory)


def rendered(directory: Path, template: str) -> str:
    tokenizer = made(directory, template)
    return tokenizer.decode(tokenizer.chat(HELLO))


@pytest.mark.parametrize("text", ["", "plain", "héllo wörld 你好 🎉", "a\x00b\n\t"])
def test_text_comes_back(text: str, tmp_path: Path) -> None:
    tokenizer = made(tmp_path, None)
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_templates_know_what_transformers_gives_them(tmp_path: Path) -> None:
    template = (
        "{{ eos_token }}|{{ messages | tojson }}|{{ strftime_now('%Y') | length }}|"
        "{% if add_generation_prompt %}go{% endif %}"
    )
    tokenizer = made(tmp_path, template)
    tokens = tokenizer.chat(HELLO)
    assert tokens[0] == 256  # the end token, as one token
    assert tokenizer.decode(tokens[1:]) == f"|{json.dumps(HELLO)}|4|go"


def test_a_template_file_goes_first(tmp_path: Path) -> None:
    write_servable(tmp_path, template="from the settings")
    (tmp_path / "chat_template.jinja").write_text(
        "{% for m in messages %}{{ m.content }}!{% break %}{% endfor %}"
    )
    tokenizer = Tokenizer(tmp_path)
    assert tokenizer.decode(tokenizer.chat(HELLO * 2)) == "hello!"


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append({}) }}",
        "{{ messages[0].update(role='x') }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{% set x = self.__init__.__globals__ %}{{ x.__builtins__ }}",
        "{{ raise_exception('roles must alternate') }}",
        "{{ nothing.here }}",
        "{{ 1 / 0 }}",
        "{{ range(10**9) | list }}",
        "{{ lipsum.__globals__['os'].popen('id').read() }}",
        "{{ (messages | attr('__class__')).__mro__ }}",
        "{{ ({} | attr('\\x5f\\x5fclass\\x5f\\x5f')).__mro__ }}",
        "{{ (messages | map(attribute='__class__') | list)[0].__mro__ }}",
        "{{ strftime_now.__globals__['sys'].modules }}",
        "{{ raise_exception.__code__.co_consts }}",
        "{{ namespace.__init__.__globals__ }}",
        "{{ messages.clear() }}",
        "{{ messages.__setitem__(0, 1) }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}{{ os }}",
        "{% extends '/etc/passwd' %}",
    ],
)
def test_the_sandbox_holds(template: str, tmp_path: Path) -> None:
    """What a template must not do is an error of one line, or leads nowhere."""
    tokenizer = made(tmp_path, template)
    with pytest.raises(InputError, match="the chat template refuses these messages") as caught:
        tokenizer.chat(HELLO)
    assert "\n" not in str(caught.value)
    assert HELLO == [{"role": "user", "content": "hello"}]


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception.__globals__ }}",
        "{{ '{0.__class__.__init__}'.format(messages) }}",
        "{{ ('{0.__class__}' | attr('format'))(messages) }}",
        "{{ ('{x.__class__}' | attr('format_map'))({'x': 1}) }}",
        "{{ lipsum | attr('__glo' ~ 'bals__') }}",
        "{{ self._TemplateReference__context }}",
    ],
)
def test_what_is_hidden_renders_as_nothing(template: str, tmp_path: Path) -> None:
    assert rendered(tmp_path, f"[{template}]") == "[]"


def test_what_clients_write_is_never_a_template(tmp_path: Path) -> None:
    """Neither their messages nor their template arguments are rendered, and these replace nothing of ours."""
    tokenizer = made(tmp_path, "{{ messages[0].content }}|{{ style }}|{{ bos_token }}")
    attack = "{{ 7 * 7 }}{% raw %}"
    tokens = tokenizer.chat([{"role": "user", "content": attack}], style=attack)
    assert tokenizer.decode(tokens) == f"{attack}|{attack}|"
    chat = {"messages": [{"role": "user", "content": "a"}]}
    options = {"messages": [], "bos_token": "x", "style": "fine"}
    body = Body(json.dumps(chat | {"chat_template_kwargs": options}).encode())
    assert tokenizer.decode(read_chat(body, tokenizer)[0]) == "a|fine|"
    with pytest.raises(BadRequest, match="taken from the checkpoint only"):
        read_chat(Body(json.dumps(chat | {"chat_template": "{{ 1 }}"}).encode()), tokenizer)


def test_without_a_template_there_is_no_chat(tmp_path: Path) -> None:
    tokenizer = made(tmp_path, None)
    assert not tokenizer.has_template
    with pytest.raises(InputError, match="no chat template"):
        tokenizer.chat(HELLO)


def test_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="chat template is broken"):
        made(tmp_path, "{% for %}")
    path = tmp_path / "tokenizer.json"
    for text in ("", "{}", '{"model": 3}'):
        path.write_text(text)
        with pytest.raises(InputError, match=r"tokenizer\.json: can't be used"):
            Tokenizer(tmp_path)
    path.unlink()
    with pytest.raises(InputError, match=r"tokenizer\.json: no such file"):
        Tokenizer(tmp_path)
