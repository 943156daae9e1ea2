"""Profile files: a user writes one from outside; a malformed one is one line naming the file and the key."""

from pathlib import Path

import pytest

from hasten.errors import InputError
from hasten.hardware import load_device
from hasten.profiles import load_profile, profile_names

GOOD = """
engine = "mine"
version = "2"
loop_depth = 2
memory_fraction = 0.85

[[default]]
setting = "max_num_seqs"
server = 64

[[default]]
setting = "max_num_batched_tokens"
server = 1024
"""

BAD = {
    "no engine": (GOOD.replace('engine = "mine"', ""), "'engine' is missing"),
    "no version": (GOOD.replace('version = "2"', ""), "'version' is missing"),
    "version a number": (GOOD.replace('"2"', "2"), "version = 2 is not text"),
    "depth 3": (GOOD.replace("loop_depth = 2", "loop_depth = 3"), "loop_depth = 3 is outside 1 to 2"),
    "half a depth": (GOOD.replace("loop_depth = 2", "loop_depth = 1.5"), "loop_depth = 1.5 is not"),
    "percent": (GOOD.replace("0.85", "85"), "memory_fraction = 85 is outside 0 to 1"),
    "text for a share": (GOOD.replace("0.85", '"85 %"'), "memory_fraction = '85 %' is not"),
    "unknown admission": (
        GOOD.replace("loop", 'admission = "hope"\nloop'),
        "admission = 'hope' is not one of fits_now",
    ),
    "unknown memory rule": (
        GOOD.replace("loop", 'memory_rule = "fraction"\nloop'),
        "memory_rule = 'fraction' is not",
    ),
    "number for a flag": (
        GOOD.replace("loop", "mixed_steps = 1\nloop"),
        "mixed_steps = 1 is not true or false",
    ),
    "unknown key": (
        GOOD.replace("loop", "blocksize = 16\nloop"),
        "'blocksize' is unknown: did you mean 'block_size'",
    ),
    "unknown setting": (
        GOOD.replace("max_num_seqs", "max_seqs"),
        r"\[\[default\]\] no. 1: setting = 'max_seqs'",
    ),
    "no value": (GOOD.replace("server = 64", ""), r"\[\[default\]\] no. 1: key 'server' is missing"),
    "negative value": (GOOD.replace("server = 64", "server = -1"), "server = -1 is outside"),
    "unknown condition": (
        GOOD.replace("server = 64", "server = 64\nmin_memory = 70"),
        "'min_memory' is unknown",
    ),
    "default not a list": (
        GOOD.split("[[")[0] + "[default]\nserver = 1\n",
        "default = .* is not a list of tables",
    ),
    "graph range without a start": (
        GOOD + "[[graph_range]]\nstep = 8\n",
        r"\[\[graph_range\]\] no. 1: key 'first'",
    ),
    "step zero": (GOOD + "[[graph_range]]\nfirst = 1\nstep = 0\n", "step = 0 is outside"),
    "not toml": ("engine: mine\n", "not valid TOML"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_profile_is_one_line_naming_file_and_key(case: str, tmp_path: Path) -> None:
    text, expected = BAD[case]
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=expected) as caught:
        load_profile(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_small_file_makes_a_profile(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(GOOD)
    profile = load_profile(str(path))
    assert (profile.name, profile.engine, profile.loop_depth, profile.block_size) == ("mine", "mine", 2, 16)
    limits = profile.limits(load_device("l4"), 8192)
    assert (limits.max_num_seqs, limits.max_num_batched_tokens, limits.memory_fraction) == (64, 1024, 0.85)
    assert limits.graph_sizes == ()


def test_a_profile_without_a_default_asks_for_the_setting(tmp_path: Path) -> None:
    path = tmp_path / "bare.toml"
    path.write_text('engine = "bare"\nversion = "1"\n')
    profile = load_profile(path)
    with pytest.raises(
        InputError, match="profile bare: no default of max_num_seqs for this device: give max_num_seqs"
    ):
        profile.limits(load_device("l4"), 8192)
    assert (
        profile.limits(load_device("l4"), 8192, max_num_seqs=4, max_num_batched_tokens=64).max_num_seqs == 4
    )


def test_an_unknown_profile_suggests_the_nearest() -> None:
    with pytest.raises(InputError, match=r"'vllm-0\.9' is unknown: did you mean 'vllm-0"):
        load_profile("vllm-0.9")
    with pytest.raises(InputError, match=r"known profiles are hasten-0\.1, sglang"):
        load_profile("zzzzzz")


def test_every_line_of_a_built_in_profile_states_its_evidence() -> None:
    import hasten.profiles

    folder = Path(hasten.profiles.__file__).parent / "engines"
    assert {path.stem for path in folder.glob("*.toml")} == set(profile_names())
    for path in folder.glob("*.toml"):
        if path.stem.startswith("hasten"):
            continue  # our own engine: choices, not findings
        body = path.read_text(encoding="utf-8").split("# --- the loop")[1].split("# --- the front end")[0]
        for line in body.splitlines():
            if "=" in line.partition("#")[0]:
                assert line.partition("#")[2].strip()[:1] in "VMDU", (path.name, line)
                assert line.partition("#")[2].strip(), (path.name, line)
