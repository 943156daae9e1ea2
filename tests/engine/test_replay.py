"""Record, replay, equal: the core decides in virtual time what it decided in the engine."""

import random
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from tests.engine.engines import Harness, some_prompts, tiny_decoder

from hasten.core.request import SLO
from hasten.engine.policies import Policies
from hasten.engine.recording import Recording, RecordingFile
from hasten.engine.replay import ReplayDiffers, replay
from hasten.engine.sampling import SamplingParams
from hasten.errors import InputError
from hasten.policies import policy_names

STEPS = 1000
SPECS = {  # parameters under which a policy waits, and preempts
    "static": "static:batch_size=12,wait=0.002",
    "orca": "orca:reserve=false",
}
LOOSE = SamplingParams(temperature=1.5)  # answers end by their content, at random lengths


def save(run: Recording, path: Path) -> None:
    file = RecordingFile(path, run.limits, run.settings)
    for turn in run.turns:
        file.add(turn)
    file.close()


def serve(harness: Harness, steps: int, seed: int) -> int:
    """Serve until `steps` steps have run: overload, lulls, shared prefixes, departures. Returns who left early."""
    numbers = random.Random(seed)
    prompts = some_prompts(12, seed, low=10, high=70)
    engine = harness.engine
    alive = []
    left = 0
    while engine.steps < steps:
        if engine.num_unfinished < 30 and numbers.random() < 0.4:
            shared = numbers.choice(prompts)
            prompt = (
                shared[: numbers.randint(8, len(shared))] + some_prompts(1, numbers.randrange(10**6))[0][:20]
            )
            alive.append(
                harness.submit(
                    prompt,
                    numbers.randint(1, 60),
                    replace(LOOSE, seed=numbers.randrange(10**6)),
                    priority=numbers.randrange(3),
                    slo=SLO(ttft=numbers.random()),
                )
            )
        if numbers.random() < 0.05 and alive:
            engine.cancel(alive.pop(numbers.randrange(len(alive))))
            left += 1
        if not engine.turn():
            engine.wait(0.005)
    harness.finish()
    engine.tables.check()
    return left


@pytest.mark.parametrize("name", policy_names("schedule"))
def test_a_thousand_steps_replay_equally(name: str, tmp_path: Path) -> None:
    policies = Policies.named({"schedule": SPECS.get(name, name), "length": "mean"})
    harness = Harness(
        num_blocks=40,
        max_num_seqs=12,
        max_num_batched_tokens=64,
        policies=policies,
        record=True,
        decoder=tiny_decoder(layers=1),
    )
    left = serve(harness, STEPS, seed=7)
    scheduler = harness.engine.scheduler
    assert left > 10
    assert scheduler.num_preemptions > 0
    assert scheduler.prompt_tokens_cached > 0
    assert harness.recording is not None
    path = tmp_path / "run.jsonl"
    save(harness.recording, path)
    read = Recording.load(path)
    assert (
        sum(len(names) for turn in read.turns for names in turn.named.values()) > 50
    )  # answers that stay cached
    assert replay(read, policies) >= STEPS


def test_input_from_another_thread_replays_equally() -> None:
    harness = Harness(num_blocks=60, max_num_seqs=12, max_num_batched_tokens=64, record=True)
    prompts = some_prompts(40, seed=3)

    def clients() -> None:
        for number, prompt in enumerate(prompts):
            sequence = harness.submit(prompt, 20)
            if number % 7 == 0:
                harness.engine.cancel(sequence)

    thread = threading.Thread(target=clients)
    thread.start()
    while thread.is_alive() or harness.engine.num_unfinished:
        if not harness.engine.turn():
            harness.engine.wait(0.01)
    thread.join()
    harness.finish()
    assert harness.recording is not None
    assert replay(harness.recording, Policies()) == harness.engine.steps > 10


def recorded() -> Recording:
    harness = Harness(num_blocks=60, max_num_seqs=12, max_num_batched_tokens=64, record=True)
    serve(harness, 100, seed=1)
    assert harness.recording is not None
    return harness.recording


def test_other_rules_are_noticed() -> None:
    """The comparison can fail: another budget, another policy, a forgotten arrival."""
    run = recorded()
    assert replay(run, Policies()) >= 100
    with pytest.raises(ReplayDiffers, match=r"step \d+\): recorded"):
        replay(replace(run, limits=replace(run.limits, max_num_batched_tokens=63)), Policies())
    with pytest.raises(ReplayDiffers):
        replay(run, Policies.named({"schedule": "prefill_first"}))
    nameless = replace(run, turns=[replace(turn, named={}) for turn in run.turns])
    assert nameless.steps == run.steps
    run.turns[0].inbox.pop()
    with pytest.raises(ReplayDiffers):
        replay(run, Policies())


@pytest.mark.parametrize(("line", "text"), [(1, "{}"), (1, ""), (3, '{"now_s": 1}'), (2, "not JSON")])
def test_broken_recordings_are_refused_with_their_line(line: int, text: str, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    save(recorded(), path)
    lines = path.read_text().splitlines()
    lines[line - 1] = text
    path.write_text("\n".join(lines))
    with pytest.raises(InputError, match=f"line {line}"):
        Recording.load(path)


def test_a_last_line_that_was_cut_off_is_named_and_left_out(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    run = recorded()
    save(run, path)
    text = path.read_text()
    path.write_text(text[: text.rindex('"inbox"')])
    found = Recording.load(path)
    assert (
        found.cut_off
        == f"{path}: line {len(run.turns) + 1}: cut off: the {len(run.turns) - 1:,} turns before it are whole"
    )
    assert found.turns == run.turns[:-1]
    path.write_text(text)
    assert Recording.load(path).cut_off is None
    assert Recording.load(path).turns == run.turns


def test_a_recording_is_written_as_it_goes(tmp_path: Path) -> None:
    """Nothing is kept: a thousand turns leave the writer as small as ten."""
    path = tmp_path / "run.jsonl"
    run = recorded()
    file = RecordingFile(path, run.limits, {})
    turn = run.turns[0]
    for _ in range(1000):
        file.add(turn)
    assert path.stat().st_size > 100_000  # before it is closed
    kept = [value for value in vars(file).values() if isinstance(value, (list, dict, set))]
    assert kept == []
    file.close()
    assert len(Recording.load(path).turns) == 1000


def test_a_full_disk_ends_the_recording_and_not_the_run() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full")
    run = recorded()
    file = RecordingFile(full, run.limits, {})
    for turn in run.turns:
        file.add(turn)  # says nothing
    with pytest.raises(InputError, match=r"/dev/full: can't be written \(No space left on device\)"):
        file.close()
    with pytest.raises(InputError, match="can't be written"):
        RecordingFile(Path("/nowhere/run.jsonl"), run.limits, {})
