"""Names, paths, parameters and entry points; and what is said when they are wrong."""

import math
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest

from hasten.core.policy import SchedulingPolicy
from hasten.errors import InputError
from hasten.policies import load_policy, policy_card, policy_names, role_of, roles
from hasten.policies.schedule.fcfs import Fcfs
from hasten.policies.schedule.static import Static

MINE = '''
"""Mine."""
from dataclasses import dataclass
from typing import Literal
from hasten.core.policy import SchedulingPolicy

@dataclass
class Mine(SchedulingPolicy):
    """Serve mine first.

    Paper: "Mine",
        two lines.
    Needs: nothing.
    """

    reserve: float = 0.05  # s kept for noise
    steps: int = 3  # steps
    loud: bool = False  # whether to shout
    tie: Literal["old", "new"] = "old"  # who wins a tie
    limit: int | None = None  # tokens
    label: str = "x"  # of the report
'''


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


def test_roles_and_names_come_from_the_folders() -> None:
    assert roles() == ("admit", "route", "schedule", "cache", "length")
    folder = Path(sys.modules["hasten.policies"].__file__ or "").parent
    for role in roles():
        files = {path.stem for path in (folder / role).glob("*.py") if path.stem != "__init__"}
        assert set(policy_names(role)) == files
        assert policy_names(role) == sorted(policy_names(role))


def test_listing_imports_nothing() -> None:
    import subprocess

    code = (
        "import sys, hasten.policies as p; [p.policy_names(r) for r in p.roles()];"
        "assert not any(m.startswith('hasten.policies.schedule') for m in sys.modules), 'imported';"
        "assert 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_instance_is_returned_as_it_is() -> None:
    policy = Fcfs()
    assert load_policy("schedule", policy) is policy


def test_parameters_follow_a_colon() -> None:
    assert load_policy("schedule", "static:batch_size=8, wait=inf,hold=no") == Static(8, math.inf, False)
    assert load_policy("schedule", "static") == Static()


def test_a_path_is_a_policy(mine: Path) -> None:
    assert load_policy("schedule", f"{mine}").reserve == 0.05
    made = load_policy("schedule", f"{mine}:reserve=0.1,steps=4,loud=true,tie=new,limit=7,label=a b")
    assert (made.reserve, made.steps, made.loud, made.tie, made.limit, made.label) == (
        0.1,
        4,
        True,
        "new",
        7,
        "a b",
    )
    assert load_policy("schedule", f"{mine}:limit=none").limit is None
    assert load_policy("schedule", mine) == load_policy("schedule", str(mine))
    assert pickle.loads(pickle.dumps(made)) == made
    assert role_of(f"{mine}:steps=2") == "schedule"


def test_an_edited_file_is_loaded_anew(mine: Path) -> None:
    first = type(load_policy("schedule", mine))
    assert type(load_policy("schedule", mine)) is first
    mine.write_text(MINE.replace("0.05", "0.5"))
    assert load_policy("schedule", mine).reserve == 0.5


def test_card_of_a_file(mine: Path) -> None:
    card = policy_card("schedule", str(mine))
    assert (card.role, card.name, card.summary) == ("schedule", "mine", "Serve mine first.")
    assert (card.paper, card.differs, card.needs) == ('"Mine", two lines.', "", "nothing.")
    assert [(p.name, p.type, p.default, p.comment) for p in card.parameters] == [
        ("reserve", "float", 0.05, "s kept for noise"),
        ("steps", "int", 3, "steps"),
        ("loud", "bool", False, "whether to shout"),
        ("tie", "old | new", "old", "who wins a tie"),
        ("limit", "int or none", None, "tokens"),
        ("label", "str", "x", "of the report"),
    ]


def test_card_of_a_name_ignores_parameters_and_state() -> None:
    card = policy_card("schedule", "static:batch_size=3")
    assert card.name == "static"
    assert [parameter.name for parameter in card.parameters] == ["batch_size", "wait", "hold"]


BAD_SPECS = [
    ("schedule", "fcsf", "schedule policy 'fcsf' is unknown: use one of fcfs, "),
    ("schedule", "round_robin", "schedule policy 'round_robin' is unknown"),
    ("scheduling", "fcfs", "role 'scheduling' is unknown: use one of admit, route, schedule, cache, length"),
    ("schedule", "static:batchsize=3", "has no parameter 'batchsize': use one of batch_size, wait, hold"),
    ("schedule", "fcfs:x=3", "schedule policy fcfs has no parameter 'x': it takes none"),
    ("schedule", "static:_open=3", "has no parameter '_open'"),
    ("schedule", "static:batch_size=3.5", "batch_size is '3.5': it must be a whole number"),
    ("schedule", "static:batch_size=many", "batch_size is 'many': it must be a whole number"),
    ("schedule", "static:batch_size=0", "schedule policy static: batch_size is 0: it must be at least 1"),
    ("schedule", "static:wait=nan", "wait is 'nan': it must be a number, and NaN is none"),
    ("schedule", "static:wait=-1", "wait is -1.0: it must be 0 s or more"),
    ("schedule", "static:hold=maybe", "hold is 'maybe': use true or false"),
    ("schedule", "static:batch_size", "'batch_size' is not name=value: write e.g. x=3,y=0.1"),
    ("schedule", "static:wait=1,wait=2", "wait is set twice, to '1' and '2'"),
    ("length", "quantile:q=1.5", "q is 1.5: it must lie between 0 and 1"),
    ("length", "noisy_oracle:sigma=inf", "sigma is inf: it must be a number from 0 on"),
    ("length", "mean:prior=0", "prior is 0.0: it must be more than 0 tokens"),
    ("admit", "slo_gate:factor=-1", "factor is -1.0: it must be a number above 0"),
    ("route", "prefix_affinity:overload=0.5", "overload is 0.5: it must be at least 1"),
    ("schedule", "./nowhere.py", "nowhere.py: can't be read: No such file or directory"),
    ("schedule", Fcfs, "pass an instance|make one: Fcfs()"),
    ("schedule", 7, "7 is no schedule policy .a SchedulingPolicy.: pass an instance, a name or a path"),
    ("route", Fcfs(), "is no route policy"),
]


@pytest.mark.parametrize(("role", "spec", "says"), BAD_SPECS, ids=[str(spec) for _, spec, _ in BAD_SPECS])
def test_bad_specs_are_explained_in_one_line(role: str, spec: Any, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        load_policy(role, spec)
    assert "\n" not in str(caught.value)


BAD_FILES = [
    ("x = 1\n", "no public subclass of SchedulingPolicy: define exactly one"),
    (MINE + MINE.replace("Mine", "Other"), r"2 policies \(Mine, Other\) in one file: define exactly one"),
    (MINE.replace("Mine", "_Mine"), "no public subclass"),
    ("def f(:\n", r"bad.py:1: invalid syntax"),
    ("import nosuchmodule\n", "importing it fails: ModuleNotFoundError: No module named 'nosuchmodule'"),
    ("1 / 0\n", "importing it fails: ZeroDivisionError"),
    (MINE.replace("reserve: float = 0.05", "reserve: 'Nothing' = 0.05"), "a parameter's type can't be read"),
    (MINE.replace("reserve: float = 0.05", "reserve: list = None"), "has type list, which text can't set"),
    (MINE.replace("reserve: float = 0.05", "reserve: float"), "needs a value for 'reserve': write reserve="),
    (
        MINE + "    def __post_init__(self):\n        raise ValueError('no')\n",
        "can't be made: ValueError: no",
    ),
]


@pytest.mark.parametrize(("text", "says"), BAD_FILES)
def test_bad_files_are_named(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "bad.py"
    path.write_text(text)
    spec = str(path) if "write reserve" in says else f"{path}:reserve=1" if "reserve" in text else str(path)
    with pytest.raises(InputError, match=says) as caught:
        load_policy("schedule", spec)
    assert "bad" in str(caught.value) or "Mine" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_imported_policies_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "derived.py"
    path.write_text(
        "from dataclasses import dataclass\nfrom hasten.policies.schedule.fcfs import Fcfs\n\n"
        '@dataclass\nclass Derived(Fcfs):\n    """Serve as always."""\n'
    )
    assert type(load_policy("schedule", path)).__name__ == "Derived"


def test_role_of_what_has_none(tmp_path: Path) -> None:
    path = tmp_path / "empty.py"
    path.write_text("")
    with pytest.raises(InputError, match=r"empty\.py: no policy in it"):
        role_of(path)
    with pytest.raises(InputError, match="3 is no policy: it must be an instance of one of AdmitPolicy"):
        role_of(3)
    with pytest.raises(InputError, match="policy 'nothing' is unknown"):
        role_of("nothing")
    assert role_of(Fcfs()) == "schedule"
    assert role_of("lru") == "cache"


def test_two_roles_in_one_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "both.py"
    path.write_text(
        MINE + "\nfrom hasten.core.policy import CachePolicy\n\n"
        '@dataclass\nclass Too(CachePolicy):\n    """Keep."""\n'
    )
    with pytest.raises(InputError, match="policies of roles schedule, cache in it"):
        role_of(path)
    assert isinstance(load_policy("schedule", path), SchedulingPolicy)
