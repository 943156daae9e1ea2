"""Synthetic workloads: laws of the streams, closed forms of the distributions, and the text that names them."""

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hasten.errors import InputError
from hasten.workload import (
    Burst,
    ClosedLoop,
    Constant,
    Empirical,
    Fixed,
    Gamma,
    Lognormal,
    Poisson,
    Ramp,
    SharedPrefix,
    Uniform,
    Workload,
    parse_workload,
    stream,
    synthesise,
)

LAWS = settings(max_examples=30, deadline=None)
RAMPS = [Ramp(2.0, 20.0), Ramp(20.0, 2.0, shape="exponential")]
ARRIVALS = [Poisson(8.0), Gamma(8.0, 3.0), Gamma(8.0, 0.3), Constant(8.0), *RAMPS]
LENGTHS = [
    Fixed(7),
    Uniform(3, 9),
    Lognormal(mean=300, sigma=0.6),
    Lognormal(median=90, sigma=2, low=5, high=900),
]


def draw(arrivals=ARRIVALS[0], prompt=LENGTHS[0], output=LENGTHS[1], num=1000, **more):
    """A synthetic workload with usual parts."""
    more = more if "duration" in more else {"num_requests": num, **more}
    return synthesise(arrivals, prompt=prompt, output=output, **more)


@LAWS
@given(st.sampled_from(ARRIVALS), st.sampled_from(LENGTHS), st.integers(0, 2**40), st.integers(1, 500))
def test_same_seed_same_workload_and_streams_stay_apart(arrivals, prompt, seed, num):
    output = LENGTHS[1]
    first = draw(arrivals, prompt, output, num, seed=seed)
    again = draw(arrivals, prompt, output, num, seed=seed)
    assert (first.arrival == again.arrival).all()
    assert (first.prompt_tokens == again.prompt_tokens).all()
    changed = draw(arrivals, Fixed(3), output, num, seed=seed, prefix=SharedPrefix(40, groups=3))
    assert (first.arrival == changed.arrival).all()
    assert (first.output_tokens == changed.output_tokens).all()


@LAWS
@given(st.sampled_from(ARRIVALS[:4]), st.integers(1, 300), st.integers(1, 300), st.integers(0, 99))
def test_a_longer_workload_begins_with_the_shorter(arrivals, num, more, seed):
    short, long = draw(arrivals, num=num, seed=seed), draw(arrivals, num=num + more, seed=seed)
    assert (long.arrival[:num] == short.arrival).all()
    assert (long.prompt_tokens[:num] == short.prompt_tokens).all()


@pytest.mark.parametrize("arrivals", ARRIVALS[:4])
def test_a_duration_gives_all_arrivals_before_it(arrivals):
    times = draw(arrivals, duration=60.0).arrival
    assert times[-1] < 60.0
    more = draw(arrivals, num=len(times) + 1).arrival
    np.testing.assert_allclose(more[:-1], times)
    assert more[-1] >= 60.0 - 1e-9


def test_a_long_duration_draws_more_than_one_piece():
    times = draw(Poisson(100.0), duration=600.0).arrival
    assert len(times) == pytest.approx(60_000, abs=5 * math.sqrt(60_000))
    assert (np.diff(times) >= 0).all()


@pytest.mark.parametrize(("cv", "arrivals"), list(zip([1, 3, 0.3, 0], ARRIVALS[:4], strict=True)))
def test_gaps_have_the_mean_and_variation_asked(cv, arrivals):
    num = 200_000
    gaps = np.diff(draw(arrivals, num=num).arrival)
    assert gaps.mean() == pytest.approx(1 / 8, abs=4 * cv / 8 / math.sqrt(num) + 1e-9)
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.03, abs=1e-6)


@pytest.mark.parametrize("shape", ["linear", "exponential"])
@pytest.mark.parametrize(("start", "end"), [(2.0, 20.0), (20.0, 2.0), (5.0, 5.0)])
def test_ramps_follow_their_rate(shape, start, end):
    num, ramp = 100_000, Ramp(start, end, shape=shape)
    times = draw(ramp, num=num).arrival
    duration = num / ramp.mean_rate
    edges = np.linspace(0, duration, 11)
    seen = np.histogram(times, edges)[0]
    share = np.linspace(0, 1, 10_001)
    rate = start + (end - start) * share if shape == "linear" else start * (end / start) ** share
    expected = np.array(
        [np.trapezoid(part) for part in [rate[k * 1000 : (k + 1) * 1000 + 1] for k in range(10)]]
    )
    expected *= duration / 10_000
    assert seen.sum() == num
    np.testing.assert_allclose(seen, expected, atol=5 * math.sqrt(num / 4))
    assert len(draw(ramp, duration=500.0)) == pytest.approx(
        ramp.mean_rate * 500, abs=5 * math.sqrt(ramp.mean_rate * 500)
    )


def test_lengths_have_the_moments_asked():
    rng, num = stream(0, "prompt"), 400_000
    drawn = Lognormal(mean=1024, sigma=0.6).draw(rng, num)
    deviation = 1024 * math.sqrt(math.exp(0.36) - 1)
    assert drawn.mean() == pytest.approx(1024, abs=4 * deviation / math.sqrt(num))
    assert np.median(Lognormal(median=700, sigma=1).draw(rng, num)) == pytest.approx(700, rel=0.01)
    clipped = Lognormal(median=90, sigma=3, low=5, high=900).draw(rng, num)
    assert (clipped.min(), clipped.max()) == (5, 900)
    assert (clipped == 900).mean() == pytest.approx(
        0.5 * math.erfc(math.log(10) / 3 / math.sqrt(2)), abs=0.005
    )
    flat = Uniform(3, 9).draw(rng, num)
    assert set(flat.tolist()) == set(range(3, 10))
    assert flat.mean() == pytest.approx(6, abs=0.02)
    assert Lognormal(median=1e7, sigma=5).draw(rng, 1000).max() == 10_000_000
    assert set(Empirical([4, 9, 9]).draw(rng, 1000).tolist()) == {4, 9}


def test_pairs_keep_prompt_and_answer_together():
    source = Workload(arrival=[0, 1, 2], prompt_tokens=[10, 20, 30], output_tokens=[1, 2, 3])
    work = synthesise(Poisson(3.0), pairs=source, num_requests=500)
    assert (work.prompt_tokens == 10 * work.output_tokens).all()
    assert set(work.output_tokens.tolist()) == {1, 2, 3}


@LAWS
@given(st.integers(1, 100), st.integers(1, 4), st.sampled_from([1, 16, 64]), st.integers(0, 5))
def test_shared_prefixes_share_exactly_their_full_blocks(tokens, groups, size, seed):
    prefix = SharedPrefix(tokens, groups=groups, block_tokens=size)
    work = draw(num=60, prompt=Uniform(1, 70), seed=seed, prefix=prefix)
    plain = draw(num=60, prompt=Uniform(1, 70), seed=seed)
    assert (work.prompt_tokens == plain.prompt_tokens + tokens).all()
    shared = tokens // size
    owner = {}
    for row in range(60):
        ids = work.blocks_of(row)
        assert len(ids) == work.prompt_tokens[row] // size
        assert len(set(ids)) == len(ids)
        assert len(ids) >= shared
        for place, block in enumerate(ids):
            kind = (place, ids[0]) if place < shared else row  # a shared block has one place in one group
            assert owner.setdefault(block, kind) == kind
    if shared:
        assert len({work.blocks_of(row)[0] for row in range(60)}) <= groups


def test_bursts_and_closed_loops():
    assert draw(Burst()).arrival.tolist() == [0.0] * 1000
    loop = draw(ClosedLoop(32, think_s=2.0), num=100)
    assert loop.closed_loop == ClosedLoop(32, 2.0)
    assert loop.open_loop().closed_loop is None
    with pytest.raises(InputError, match="closed loop"):
        loop.repeated(2)


def test_a_million_rows_are_drawn_quickly_and_compactly():
    start = time.perf_counter()
    work = draw(Gamma(100.0, 2.0), Lognormal(mean=1024, sigma=0.6), LENGTHS[1], 1_000_000)
    assert time.perf_counter() - start < 3
    assert work.arrival.nbytes + work.prompt_tokens.nbytes + work.output_tokens.nbytes < 60_000_000


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Poisson(0), "rate = 0 must be"),
        (lambda: Poisson(math.inf), "use burst"),
        (lambda: Gamma(1, 0), "cv = 0"),
        (lambda: Ramp(1, 2, shape="steps"), "shape = 'steps'"),
        (lambda: ClosedLoop(0), "concurrency = 0"),
        (lambda: ClosedLoop(1, -1), "think_s = -1"),
        (lambda: Fixed(0), "tokens = 0"),
        (lambda: Uniform(9, 3), "swap them"),
        (lambda: Lognormal(sigma=1), "either mean or median"),
        (lambda: Lognormal(sigma=1, mean=2, median=2), "either mean or median"),
        (lambda: Lognormal(sigma=11, mean=2), "sigma = 11"),
        (lambda: Lognormal(sigma=1, mean=math.nan), "mean or median = nan"),
        (lambda: Empirical([]), "one or more whole numbers"),
        (lambda: Empirical([1.5]), "one or more whole numbers"),
        (lambda: SharedPrefix(0), "prefix tokens = 0"),
        (lambda: draw(num=0), "number of requests = 0"),
        (lambda: draw(duration=math.inf), "duration = inf"),
        (lambda: draw(Burst(), duration=1.0), "a burst has no duration"),
        (lambda: draw(ClosedLoop(1), duration=1.0), "give the number of requests"),
        (lambda: draw(Poisson(1e-9), duration=1.0), "no request arrives"),
        (lambda: draw(seed=-1), "seed = -1"),
        (lambda: synthesise(Poisson(1), num_requests=3), "lengths are missing"),
        (lambda: draw(num_requests=3, pairs=draw(num=3)), "not both"),
        (lambda: draw(num_requests=3, duration=3.0), "either the number of requests or a duration"),
    ],
)
def test_bad_parameters_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("poisson:rate=8,prompt=lognormal:1024:0.6,output=200,n=1000",
         lambda: draw(Poisson(8.0), Lognormal(mean=1024, sigma=0.6), Fixed(200))),
        ("gamma:rate=8,cv=3,prompt=uniform:5:9,output=lognormal-median:90:1:400,duration=60,seed=4",
         lambda: draw(Gamma(8.0, 3.0), Uniform(5, 9), Lognormal(median=90, sigma=1, high=400), duration=60.0, seed=4)),
        ("constant:rate=2, n=5, prompt=7, output=8", lambda: draw(Constant(2.0), Fixed(7), Fixed(8), 5)),
        ("ramp:start=1,end=9,shape=exponential,n=50,prompt=7,output=8",
         lambda: draw(Ramp(1.0, 9.0, shape="exponential"), Fixed(7), Fixed(8), 50)),
        ("burst:n=5,prompt=7,output=8,prefix=64,prefix_groups=2,block_tokens=32",
         lambda: draw(Burst(), Fixed(7), Fixed(8), 5, prefix=SharedPrefix(64, groups=2, block_tokens=32))),
        ("closed:users=4,think=1.5,n=50,prompt=7,output=8", lambda: draw(ClosedLoop(4, 1.5), Fixed(7), Fixed(8), 50)),
        ("poisson:rate=8,n=90,lengths=azure-conv",
         lambda: synthesise(Poisson(8.0), pairs=Workload.from_trace("azure-conv"), num_requests=90)),
        ("poisson:rate=8,n=90,prompt=trace:azure-code,output=9",
         lambda: draw(Poisson(8.0), Empirical(Workload.from_trace("azure-code").prompt_tokens), Fixed(9), 90)),
        ("azure-conv", lambda: Workload.from_trace("azure-conv")),
        ("mooncake-conversation:spread=false", lambda: Workload.from_trace("mooncake-conversation", spread=False)),
        ("mooncake-conversation:seed=5", lambda: Workload.from_trace("mooncake-conversation", seed=5)),
    ],
)  # fmt: skip
def test_texts_name_workloads(text, made):
    named, built = parse_workload(text), made()
    for column in ("arrival", "prompt_tokens", "output_tokens", "block_ids"):
        np.testing.assert_array_equal(getattr(named, column), getattr(built, column))
    assert named.closed_loop == built.closed_loop


def test_texts_name_files_with_options(tmp_path):
    path = tmp_path / "a:b,c.jsonl"
    path.write_text('{"timestamp": 9, "input_length": 40, "output_length": 9, "hash_ids": [0, 1, 2]}\n' * 3)
    assert parse_workload(f"{path}:block_tokens=16").block_tokens == 16
    with pytest.raises(InputError, match=r"c\.jsonl:1: .*block_tokens"):
        parse_workload(str(path))


def test_arguments_apply_to_texts():
    work = parse_workload("poisson:rate=8,prompt=5,output=5,n=100", rate=20, limit=50, seed=3)
    assert len(work) == 50
    assert work.rate == pytest.approx(20)
    assert (
        parse_workload("poisson:rate=8,prompt=5,output=5,n=9,seed=3").arrival == draw(num=9, seed=3).arrival
    ).all()
    seeded = parse_workload("mooncake-conversation", seed=5)
    assert (seeded.arrival == Workload.from_trace("mooncake-conversation", seed=5).arrival).all()
    assert len(parse_workload("azure-conv", seed=5, limit=7)) == 7


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "",
            "is no file, no sample (azure-code, azure-conv, mooncake-conversation) and no kind (poisson, gamma",
        ),
        ("poison:rate=8", "check the path, or write one like poisson:rate=8"),
        ("poisson", "poisson needs rate: add rate=NUMBER"),
        ("poisson:rate", "part 'rate' is not key=value"),
        ("poisson:rate=", "part 'rate=' is not key=value"),
        ("poisson:rate=1,,n=3", "part '' is not key=value"),
        ("poisson:rate=fast,n=3,prompt=1,output=1", "rate = 'fast' is not a number"),
        ("poisson:rate=nan,n=3,prompt=1,output=1", "rate = nan must be finite"),
        ("poisson:rate=1,rate=2", "key 'rate' is given twice"),
        ("poisson:rate=1,cv=2", "poisson has no key 'cv': its keys are rate, n, duration"),
        ("poisson:rate=1,prompt=1,output=1", "give either n"),
        ("poisson:rate=1,n=3,duration=3,prompt=1,output=1", "give either n"),
        ("poisson:rate=1,n=3,prompt=1", "give prompt and output"),
        ("poisson:rate=1,n=3,prompt=1.5,output=1", "prompt = '1.5' is not a whole number"),
        ("poisson:rate=1,n=3,prompt=1,output=normal:3:4", "output = 'normal:3:4' is no length: use TOKENS"),
        ("poisson:rate=1,n=3,prompt=uniform:3,output=1", "is no length"),
        ("poisson:rate=1,n=3,prompt=trace:none,output=1", "none: no such file, and no sample"),
        ("poisson:rate=1,n=3,prompt=1,output=1,lengths=azure-conv", "not both"),
        ("poisson:rate=1,n=3,prompt=1,output=1,block_tokens=4", "block_tokens is for a shared prefix"),
        ("poisson:rate=1,n=1e3,prompt=1,output=1", "n = '1e3' is not a whole number"),
        ("closed:users=2,duration=3,prompt=1,output=1", "give the number of requests"),
        ("mooncake-conversation:spread=no", "spread = 'no' must be true or false"),
        ("mooncake-conversation:seed=x", "seed = 'x' is not a whole number"),
        (
            "mooncake-conversation:speed=1",
            "has no option 'speed': its options are block_tokens, spread, seed",
        ),
    ],
)
def test_bad_texts_are_refused_in_one_line(text, problem):
    with pytest.raises(InputError) as caught:
        parse_workload(text)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_synthetic_text_has_no_format():
    with pytest.raises(InputError, match="format is for trace files"):
        parse_workload("poisson:rate=1,n=3,prompt=1,output=1", format="azure")
