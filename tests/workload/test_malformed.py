"""Damaged traces: one line that names the file, the place, the value and the next step; drop_bad leaves them out."""

import gzip
import json
import re

import pytest

from hasten.errors import InputError
from hasten.workload import Workload

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n"
MOONCAKE = '{"timestamp": 0, "input_length": 600, "output_length": 20, "hash_ids": [7, 8]}\n'
MINIMAL = "timestamp,input_length,output_length\n1,100,20\n"
BURSTGPT = (
    "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,ChatGPT,472,18,490,API log\n"
)
BAILIAN = (
    '{"chat_id": 1, "parent_chat_id": -1, "timestamp": 1.0, "input_length": 33, "output_length": 9, '
    '"hash_ids": [1, 2, 3]}\n'
)


def mooncake(**change):
    """A good Mooncake row, then one with some keys changed (None: left out)."""
    row = {**json.loads(MOONCAKE), **change}
    return MOONCAKE + json.dumps({name: value for name, value in row.items() if value is not None}) + "\n"


def bench(**change):
    """A result of vllm bench with some keys changed (None: left out)."""
    result = {"completed": 2, "total_input_tokens": 9, "input_lens": [4, 5], "output_lens": [2, 2]}
    result |= {"start_times": [0.0, 1.0], "errors": ["", ""], **change}
    return json.dumps({name: value for name, value in result.items() if value is not None})


def chat(prompt, *more):
    """A ShareGPT array of a good conversation and one with this prompt."""
    good = [{"value": "x" * 40}, {"value": "y" * 40}]
    return json.dumps([{"conversations": good}, {"conversations": [prompt, {"value": "y" * 40}]}, *more])


# name -> (content, place in the message, problem). The first row of each is good, so drop_bad keeps something.
BAD_ROWS = {
    "azure: too few columns": (AZURE + "2023-11-16 18:15:47,374\n", ":3", "row has 2 columns, the header has 3"),
    "azure: too many columns": (AZURE + "2023-11-16 18:15:47,374,4,9\n", ":3", "row has 4 columns"),
    "azure: no time": (AZURE + "yesterday,374,4\n", ":3", "TIMESTAMP = 'yesterday' is not a time"),
    "azure: month 13": (AZURE + "2023-13-16 18:15:47,374,4\n", ":3", "is not a time"),
    "azure: text behind the time": (AZURE + "2023-11-16 18:15:47 UTC+,374,4\n", ":3", "is not a time"),
    "azure: no number": (AZURE + "2023-11-16 18:15:47,many,4\n", ":3", "ContextTokens = 'many' is not a number"),
    "azure: empty cell": (AZURE + "2023-11-16 18:15:47,,4\n", ":3", "ContextTokens = '' is missing"),
    "azure: fraction": (AZURE + "2023-11-16 18:15:47,3.5,4\n", ":3", "'3.5' is not a whole number"),
    "azure: negative": (AZURE + "2023-11-16 18:15:47,-3,4\n", ":3", "'-3' is negative"),
    "azure: no prompt": (AZURE + "2023-11-16 18:15:47,0,4\n", ":3", "ContextTokens = '0' is 0"),
    "azure: no answer": (AZURE + "2023-11-16 18:15:47,5,0\n", ":3", "GeneratedTokens = '0' is 0"),
    "azure: too long": (AZURE + "2023-11-16 18:15:47,10000001,4\n", ":3", "is above 10,000,000 tokens"),
    "azure: header again": (AZURE + AZURE, ":3", "is not a number"),
    "azure: thousands mark": (AZURE + "2023-11-16 18:15:47,1_000,4\n", ":3", "'1_000' is not a number"),
    "minimal: nan": (MINIMAL + "nan,5,5\n", ":3", "timestamp = 'nan' is not finite"),
    "minimal: inf": (MINIMAL + "inf,5,5\n", ":3", "timestamp = 'inf' is not finite"),
    "minimal: negative time": (MINIMAL + "-1,5,5\n", ":3", "timestamp = '-1' is negative"),
    "minimal: tokens nan": (MINIMAL + "2,nan,5\n", ":3", "input_length = 'nan' is not finite"),
    "minimal: bad priority": (
        "timestamp,input_length,output_length,priority\n1,100,20,\n2,5,5,high\n", ":3", "priority = 'high'",
    ),
    "minimal: priority out of range": (
        "timestamp,input_length,output_length,priority\n1,100,20,\n2,5,5,3000000000\n", ":3", "outside 32 bits",
    ),
    "minimal: two rows of one id": (
        "timestamp,input_length,output_length,id\n1,100,20,a\n2,5,5,a\n", ":3", "turn id = 'a' names two rows",
    ),
    "mooncake: cut line": (MOONCAKE + '{"timestamp": 0, "inp\n', ":2", "is not valid JSON (Unterminated string"),
    "mooncake: not an object": (MOONCAKE + "[1, 2]\n", ":2", "[1, 2] is not a JSON object"),
    "mooncake: key missing": (mooncake(output_length=None), ":2", "'output_length' is missing"),
    "mooncake: text for a number": (mooncake(input_length="long"), ":2", "input_length = 'long' is not a number"),
    "mooncake: true for a number": (mooncake(input_length=True), ":2", "input_length = True is not a number"),
    "mooncake: null": (MOONCAKE + MOONCAKE.replace("600", "null"), ":2", "input_length = None is missing"),
    "mooncake: NaN": (MOONCAKE + MOONCAKE.replace("600", "NaN"), ":2", "input_length = nan is not finite"),
    "mooncake: overflow": (MOONCAKE + MOONCAKE.replace("600", "1e999"), ":2", "is not finite"),
    "mooncake: endless digits": (MOONCAKE + MOONCAKE.replace("600", "9" * 5000), ":2", "is not usable JSON"),
    "mooncake: too few blocks": (mooncake(hash_ids=[7]), ":2", "number of hash_ids = 1 blocks of 512"),
    "mooncake: too many blocks": (mooncake(hash_ids=[7, 8, 9]), ":2", "600 tokens need 2"),
    "mooncake: blocks no list": (mooncake(hash_ids=7), ":2", "hash_ids = 7 is not a list"),
    "mooncake: block no number": (mooncake(hash_ids=[7, "b"]), ":2", "hash_ids = 'b' holds"),
    "mooncake: block of 70 bits": (mooncake(hash_ids=[7, 2**70]), ":2", "64-bit"),
    "mooncake: block size changes": (mooncake(block_tokens=16), ":2", "differs from 512"),
    "mooncake: not UTF-8": (MOONCAKE.encode() + b'{"timestamp": \xff}\n', ":2", "byte 15 = b'\\xff' is not UTF-8"),
    "burstgpt: fraction": (BURSTGPT + "6,ChatGPT,1.5,18,490,API log\n", ":3", "Request tokens = '1.5' is not"),
    "burstgpt: no number": (BURSTGPT + "6,ChatGPT,5,?,490,API log\n", ":3", "Response tokens = '?' is not a number"),
    "bailian: wrong block size": (BAILIAN + BAILIAN.replace('t_id": 1', 't_id": 2').replace("33", "99"), ":2", "16"),
    "bailian: two equal ids": (BAILIAN + BAILIAN, ":2", "turn id = '1' names two rows"),
    "sharegpt: no text": (chat({"value": 5}), ": conversation 2", "value = 5 is not a text"),
    "sharegpt: no value": (chat({"text": "a"}), ": conversation 2", "'value' is missing"),
    "sharegpt: item is a number": (chat({"value": "x" * 40}, 7), ": conversation 3", "can't be read"),
    "sharegpt: turns are a text": (chat({"value": "x" * 40}, {"conversations": "ab"}), ": conversation 3", "'ab'"),
    "vllm_bench: zero prompt": (bench(input_lens=[4, 0]), ": request 2", "input_lens = 0 is 0"),
    "vllm_bench: bad start": (bench(start_times=[0.0, None]), ": request 2", "start_times = None is missing"),
}  # fmt: skip

# name -> (content, place, problem): the whole file is unusable, whatever drop_bad says.
BAD_FILES = {
    "empty": ("", "", "is empty: give a trace"),
    "blank lines": ("\n  \n\n", "", "is empty"),
    "empty gzip": (gzip.compress(b""), "", "is empty"),
    "header only": (MINIMAL.splitlines()[0] + "\n", "", "no usable request"),
    "only failures": (
        BURSTGPT.replace("18", "0"),
        "",
        "no usable request (left out: 1 x Response tokens is 0",
    ),
    "unknown columns": (
        "time,in,out\n1,2,3\n",
        ":1",
        "first line 'time,in,out' fits no known format (agent_calls, azure",
    ),
    "no header": ("1,2,3\n4,5,6\n", ":1", "fits no known format"),
    "some JSON": ('{"a": 1}\n', ":1", "fits no known format"),
    "a picture": (b"\x89PNG\r\n\x1a\n\x00\x00\x00", ":1", "fits no known format"),
    "cut gzip header": (gzip.compress(MINIMAL.encode())[:5], "", "can't be read"),
    "sharegpt cut": ('[{"conversations": [\n{"value": "a"}, {"val', ":2", "is not valid JSON"),
    "sharegpt not UTF-8": (b'[{"conversations":\n "\xff"}]', ":2", "byte 3 = b'\\xff' is not UTF-8 text"),
    "bench without arrays": (
        bench(input_lens=None),
        "",
        "no input_lens and output_lens: record the run again",
    ),
    "bench of unequal arrays": (bench(output_lens=[2]), "", "output_lens has 1 values, input_lens has 2"),
    "bench array no list": (bench(errors="none"), "", "errors is not a list"),
}


def put(folder, content):
    """The file `trace.log` with this content."""
    path = folder / "trace.log"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def message_of(path, **options):
    """The one-line message that reading the file gives."""
    with pytest.raises(InputError) as caught:
        Workload.from_trace(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400 + len(str(path))
    return message


@pytest.mark.parametrize("name", BAD_ROWS)
def test_bad_rows_are_named_and_dropped_when_told(tmp_path, name):
    content, place, problem = BAD_ROWS[name]
    path = put(tmp_path, content)
    message = message_of(path)
    assert message.startswith(f"{path}{place}: ")
    assert problem in message
    assert re.search(r": mend the (line|conversation|request), or leave bad ones out with drop_bad$", message)
    kept = Workload.from_trace(path, drop_bad=True)
    assert len(kept) >= 1
    number = int(re.search(r"\d+$", place).group())
    assert any(number in part.lines for part in kept.dropped)


@pytest.mark.parametrize("drop_bad", [False, True])
@pytest.mark.parametrize("name", BAD_FILES)
def test_unusable_files_are_named(tmp_path, name, drop_bad):
    content, place, problem = BAD_FILES[name]
    path = put(tmp_path, content)
    message = message_of(path, drop_bad=drop_bad)
    assert message.startswith(f"{path}{place}: ")
    assert problem in message


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_cut_gzip_names_the_line_and_keeps_what_came_before(tmp_path, share):
    lines = [
        "timestamp,input_length,output_length",
        *(f"{n * 0.377},{n * 7919 % 997 + 1},5" for n in range(20_000)),
    ]
    packed = gzip.compress("\n".join(lines).encode())
    path = put(tmp_path, packed[: int(share * len(packed))])
    message = message_of(path)
    line = int(re.search(r"trace\.log:(\d+): ", message).group(1))
    assert "compressed data is damaged or ends here" in message
    kept = Workload.from_trace(path, drop_bad=True)
    assert 0.5 * share * 20_000 < len(kept) < 20_000
    assert line <= len(kept) + 3


def test_damaged_gzip_document(tmp_path):
    packed = gzip.compress(chat({"value": "x" * 40}).encode())
    path = put(tmp_path, packed[:-6])
    assert "compressed data is damaged or ends early" in message_of(path)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"format": "csv"}, "format = 'csv' is unknown: use one of agent_calls, azure"),
        ({"format": "./none.py"}, "no such reader file"),
        ({"limit": 0}, "limit = 0 is below 1"),
        ({"rate": -1}, "rate = -1 must be above 0"),
        ({"rate": 0}, "rate = 0 must be above 0"),
        ({"speed": 3}, "format minimal has no option 'speed': its options are timestamp_unit"),
        ({"timestamp_unit": "h"}, "timestamp_unit = 'h' is unknown"),
        ({"format": "azure"}, "no column 'TIMESTAMP' in the header 'timestamp,input_length,output_length'"),
    ],
)
def test_bad_options_are_named(tmp_path, options, problem):
    path = put(tmp_path, MINIMAL + "2,5,5\n")
    assert problem in message_of(path, **options)


def test_bad_paths_are_named(tmp_path):
    assert "no such file, and no sample of that name (azure-code, azure-conv, moon" in message_of(
        "azure-conf"
    )
    assert "is a directory" in message_of(tmp_path)
    assert "no such file" in message_of("x" * 5000)[5000:]
    assert "no such file" in message_of("")
    path = put(tmp_path, MOONCAKE)
    assert "block_tokens = -1 is below 1" in message_of(path, block_tokens=-1)
    assert "sample azure-conv has no option 'spread'" in message_of("azure-conv", spread=True)
    assert "has no option 'block_tokens'" in message_of("mooncake-conversation", block_tokens=16)
