"""Each format: a good file, its recognition, its options, what it drops."""

import gzip
import json
import math

import pytest

from hasten.errors import InputError
from hasten.workload import Workload
from hasten.workload.catalogue import reader_names

AZURE_2023 = """TIMESTAMP,ContextTokens,GeneratedTokens\r
2023-11-16 18:15:46.6805900,374,44\r
2023-11-16 18:15:50.9951691,396,109\r
"""
AZURE_2024 = """TIMESTAMP,ContextTokens,GeneratedTokens
2024-05-10 00:00:00+00:00,2162,5
2024-05-10 00:00:00.009930+00:00,2399,6
2024-05-10 02:00:01.5+02:00,76,15
2024-05-10T00:00:02Z,76,15
"""
MOONCAKE = """{"timestamp": 0, "input_length": 600, "output_length": 20, "hash_ids": [7, 8]}
{"timestamp": 1500, "input_length": 1024, "output_length": 30, "hash_ids": [7, 9]}
"""
BURSTGPT = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45,ChatGPT,1087,0,1087,API log
118,GPT-4,417,276,693,Conversation log
"""
MINIMAL_CSV = "timestamp,input_length,output_length\n10.5,100,20\n\n12,200,30\n"
MINIMAL_JSONL = """{"timestamp": 10.5, "input_length": 100, "output_length": 20}
{"timestamp": 12, "input_length": 200.0, "output_length": "30"}
"""
BAILIAN = "".join(
    json.dumps(
        {
            "chat_id": chat,
            "parent_chat_id": parent,
            "timestamp": time,
            "input_length": prompt,
            "output_length": 9,
        }
        | {"type": "text", "turn": 1, "hash_ids": ids}
    )
    + "\n"
    for chat, parent, time, prompt, ids in [
        (1, -1, 61.0, 33, [1, 2, 3]),
        (2, -1, 62.0, 16, [4]),
        (3, 1, 71.5, 50, [1, 2, 5]),
        (4, 99, 80.0, 16, [6]),
    ]
)
SHAREGPT = json.dumps(
    [
        {
            "id": "a",
            "conversations": [{"from": "human", "value": "x" * 41}, {"from": "gpt", "value": "y" * 400}],
        },
        {"id": "b", "conversations": [{"from": "human", "value": "hi"}]},
        {"id": "c", "conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "y" * 400}]},
        {
            "id": "d",
            "conversations": [{"from": "human", "value": "x" * 8000}, {"from": "gpt", "value": "y" * 400}],
        },
        {
            "id": "e",
            "conversations": [{"from": "human", "value": "x" * 400}, {"from": "gpt", "value": "y" * 9000}],
        },
        {
            "id": "f",
            "conversations": [{"from": "human", "value": "x" * 40}, {"from": "gpt", "value": "y" * 40}],
        },
    ]
)
VLLM = json.dumps(
    {
        "date": "20260101-000000",
        "duration": 3.0,
        "completed": 3,
        "failed": 1,
        "max_concurrency": 8,
        "total_input_tokens": 60,
        "total_output_tokens": 9,
        "input_lens": [10, 20, 30, 40],
        "output_lens": [3, 3, 0, 3],
        "ttfts": [0.1, 0.1, 0.0, 0.1],
        "itls": [[0.01, 0.01]] * 4,
        "start_times": [1000.5, 1001.0, 1001.5, 1003.0],
        "errors": ["", "", "timeout", ""],
        "generated_texts": ["", "", "", ""],
    }
)

AGENT_CALLS = """session,step,start_s,end_s,prompt_tokens,output_tokens
a,0,0.0,2.0,100,28
a,1,5.0,6.0,200,10
"""
BFCL = '{"id": "d", "question": [[{"role": "user", "content": "Sort it."}]], "initial_config": {}}\n'

FORMATS = {
    "azure": AZURE_2023,
    "mooncake": MOONCAKE,
    "burstgpt": BURSTGPT,
    "minimal": MINIMAL_CSV,
    "bailian": BAILIAN,
    "sharegpt": SHAREGPT,
    "vllm_bench": VLLM,
    "agent_calls": AGENT_CALLS,
    "bfcl": BFCL,
}


@pytest.fixture
def trace(tmp_path):
    """Writes a text to a file and reads it as a trace."""

    def read(text, name="trace", rate=None, **options):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8", newline="")
        return Workload.from_trace(path, rate, **options)

    return read


def rows(work):
    """(arrival, prompt, output) of every request."""
    lists = work.columns_as_lists()
    return list(zip(lists.arrival, lists.prompt_tokens, lists.output_tokens, strict=True))


def test_every_format_has_an_example_here():
    assert set(FORMATS) == set(reader_names())


@pytest.mark.parametrize("name", FORMATS)
def test_formats_are_recognised_gzipped_too(tmp_path, name):
    plain, packed = tmp_path / "a.txt", tmp_path / "b"  # neither name nor suffix counts
    plain.write_text(FORMATS[name], encoding="utf-8")
    packed.write_bytes(gzip.compress(FORMATS[name].encode()))
    first, second = Workload.from_trace(plain), Workload.from_trace(packed)
    assert f"({name})" in first.origin
    assert rows(first) == rows(second) == rows(Workload.from_trace(plain, format=name))
    marked = tmp_path / "c"
    marked.write_text("\ufeff" + FORMATS[name], encoding="utf-8")
    assert rows(Workload.from_trace(marked)) == rows(first)


def test_azure_keeps_the_seventh_digit(trace):
    assert rows(trace(AZURE_2023)) == [(0.0, 374, 44), (4.3145791, 396, 109)]


def test_azure_2024_offsets_and_short_fractions(trace):
    assert trace(AZURE_2024).arrival.tolist() == [0.0, 0.00993, 1.5, 2.0]


def test_mooncake(trace):
    work = trace(MOONCAKE)
    assert rows(work) == [(0.0, 600, 20), (1.5, 1024, 30)]
    assert (work.block_tokens, work.blocks_of(0), work.blocks_of(1)) == (512, (7, 8), (7, 9))


def test_mooncake_layout_with_other_blocks(trace):
    text = '{"timestamp": 47, "input_length": 40, "output_length": 9, "hash_ids": [0, 1]}\n'
    assert trace(text, block_tokens=16).block_tokens == 16  # full blocks only: 40 tokens, 2 blocks
    with pytest.raises(InputError, match=r"trace:1: number of hash_ids = 2 .* block_tokens"):
        trace(text)


def test_spreading_only_touches_batched_files(trace):
    def text(times):
        row = '{{"timestamp": {}, "input_length": 5, "output_length": 9, "hash_ids": [0]}}'
        return "\n".join(row.format(time) for time in times)

    batched = trace(text([3000 * (number // 10) for number in range(50)]))
    assert "5 batches" in batched.origin
    assert len(set(batched.arrival.tolist())) == 50
    assert (batched.arrival // 3 == [number // 10 for number in range(50)]).mean() > 0.8
    single = trace(text(range(0, 50_000, 1000)))
    assert single.arrival.tolist() == [float(second) for second in range(50)]
    assert "batches" not in single.origin


def test_burstgpt_drops_and_reports_failures(trace):
    work = trace(BURSTGPT)
    assert rows(work) == [(0.0, 472, 18), (113.0, 417, 276)]
    assert [(part.count, part.lines) for part in work.dropped] == [(1, (3,))]
    assert "failed" in work.dropped[0].reason
    assert rows(trace(BURSTGPT, model="GPT-4")) == [(0.0, 417, 276)]


def test_burstgpt_sessions(trace):
    text = "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    text += "1,s1,2,GPT-4,10,5,15,x\n2,s2,2,GPT-4,10,5,15,x\n9,s1,2,GPT-4,30,5,35,x\n"
    assert trace(text).as_sessions().parent.tolist() == [-1, -1, 0]


def test_minimal(trace):
    assert rows(trace(MINIMAL_CSV)) == rows(trace(MINIMAL_JSONL)) == [(0.0, 100, 20), (1.5, 200, 30)]
    assert trace(MINIMAL_CSV, timestamp_unit="ms").duration == pytest.approx(0.0015)
    swapped = 'output_length,"note",timestamp,input_length\n5,"a, b",1,7\n'
    assert rows(trace(swapped)) == [(0.0, 7, 5)]


def test_bailian_turns(trace):
    work = trace(BAILIAN)
    assert work.block_tokens == 16
    assert work.parent.tolist() == [-1, -1, 0, -1]
    assert not work.has_sessions
    assert "1 turns whose parent is not in the file" in work.origin
    assert work.as_sessions().think_s.tolist() == [0, 0, 10.5, 0]


def test_sharegpt_filters_and_estimates(trace):
    work = trace(SHAREGPT)
    assert rows(work) == [(0.0, 11, 100), (0.0, 10, 10)]
    assert "estimated as characters / 4" in work.origin
    assert sum(part.count for part in work.dropped) == 4
    counted = trace(SHAREGPT, tokenizer=lambda text: list(text), keep_all=True)
    assert rows(counted)[0] == (0.0, 41, 400)
    assert "tokenizer" in counted.origin
    assert len(counted) == 5


def test_formats_without_times_get_poisson_arrivals_at_the_rate(trace):
    timed = trace(SHAREGPT, rate=4.0)
    assert timed.arrival[0] == 0 < timed.arrival[1]
    assert "Poisson arrivals at 4 req/s" in timed.origin
    assert trace(SHAREGPT, rate=math.inf).arrival.tolist() == [0, 0]


def test_vllm_bench(trace):
    work = trace(VLLM)
    assert rows(work) == [(0.0, 10, 3), (0.5, 20, 3), (2.5, 40, 3)]
    assert work.dropped[0].lines == (3,)
    assert "at most 8 requests" in work.origin
    older = {name: value for name, value in json.loads(VLLM).items() if name != "start_times"}
    assert trace(json.dumps(older)).arrival.tolist() == [0, 0, 0]


def test_times_out_of_order_are_sorted_and_reported(trace):
    text = "timestamp,input_length,output_length,id,parent\n5,1,1,a,\n3,2,2,b,\n9,3,3,c,b\n4,4,4,d,c\n"
    work = trace(text)
    assert work.prompt_tokens.tolist() == [2, 4, 1, 3]
    assert work.arrival.tolist() == [0, 1, 2, 6]
    assert "2 rows stood before an earlier one: sorted" in work.origin
    assert work.parent.tolist() == [-1, -1, -1, 0]  # d came before its parent c
    assert "1 turns before their parent" in work.origin


def test_sorting_moves_blocks_with_their_rows(trace):
    lines = MOONCAKE.splitlines()
    work = trace("\n".join(reversed(lines)))
    assert [work.blocks_of(0), work.blocks_of(1)] == [(7, 8), (7, 9)]


def test_limit_stops_reading(trace):
    text = MINIMAL_CSV + "15,not a number,1\n"
    assert len(trace(text, limit=2)) == 2
    assert "first 2 rows" in trace(text, limit=2).origin


def test_bad_rows_drop_only_when_told(trace):
    text = MINIMAL_CSV + "x,1,1\n20,0,1\n21,0,4\n22,7,8\n23,1\n"
    with pytest.raises(InputError, match=r"trace:5: timestamp = 'x' is not a number"):
        trace(text)
    work = trace(text, drop_bad=True)
    assert rows(work)[-1] == (11.5, 7, 8)
    assert {part.reason: part.lines for part in work.dropped} == {
        "timestamp is not a number": (5,),
        "input_length is 0, so the request does nothing": (6, 7),
        "row has 2 columns, the header has 3": (9,),
    }
    assert work.describe().dropped == 4


def test_a_file_that_fits_two_formats_asks_which(trace, monkeypatch):
    from hasten.workload.readers import burstgpt

    monkeypatch.setattr(burstgpt, "detect", lambda head, path: True)
    with pytest.raises(
        InputError, match=r"fits several formats \(burstgpt, minimal\): choose one with format"
    ):
        trace(MINIMAL_CSV)
    assert len(trace(MINIMAL_CSV, format="minimal")) == 2


def test_files_are_streamed(tmp_path):
    """The text is never held as a whole: reading allocates less than the file's size."""
    import tracemalloc

    path = tmp_path / "long.csv"
    padding = "x" * 400
    with path.open("w") as file:
        file.write("timestamp,input_length,output_length,note\n")
        file.writelines(f"{number},{number % 900 + 1},5,{padding}\n" for number in range(8_000))
    tracemalloc.start()
    work = Workload.from_trace(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(work) == 8_000
    assert peak < path.stat().st_size / 2
