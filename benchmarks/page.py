"""How long `hasten ui` takes from a control that moves to the answer that its curves are drawn from.

    python benchmarks/page.py                # every control, 2,000 requests, over HTTP
    python benchmarks/page.py --browser      # and in headless Chromium, to curves that are drawn
    python benchmarks/page.py --requests 500 --moves 3

A server as the command starts it, one scenario after another as a page would ask for them: each control goes through up
to eight of its values, everything else as it was. Times are those of the wall and of the processor, from the request
to the last byte of what its curves are drawn from, and to that of labels and steps, which follow; in a browser from the
event to the drawn page. The aim for the curves is 300 ms. The first answer, which reads the workload, counts apart.
"""

from __future__ import annotations

import argparse
import http.client
import json
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import NamedTuple

from hasten.page.scenario import DEFAULTS, Control, Value, controls, scenario
from hasten.page.server import HOST, LiveServer

AIM_S = 0.3
OF_THE_RUN = ("requests",)
"""Controls that change how much is asked, not what."""


def values_of(control: Control, start: Value, moves: int) -> list[Value]:
    """Up to so many values of a control other than where it starts, spread over what it can be."""
    if control.options:
        others: list[Value] = [each for each in control.options if each != start]
        return others[:: max(1, -(-len(others) // moves))]
    low, high = max(control.low, 1e-3), control.high
    if isinstance(start, int | float) and control.log:
        low, high = max(low, start / 8), min(high, start * 8)
    share = [(k + 0.5) / moves for k in range(moves)]
    spread = [low * (high / low) ** each if control.log else low + (high - low) * each for each in share]
    return [round(each) if control.is_whole else each for each in spread]


@contextmanager
def serving(start: dict[str, Value], known: tuple[Control, ...]) -> Iterator[LiveServer]:
    """A server with a scenario."""
    with LiveServer(0, known, start) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class Took(NamedTuple):
    """Seconds until curves can be drawn, of the wall and of the processor, and until all is there, of the wall."""

    wall: float
    processor: float
    whole: float


def asked(server: LiveServer, values: dict[str, Value]) -> tuple[int, Took, int]:
    """Status, times and bytes of the answer to one scenario."""
    body = json.dumps(values)
    address = f"{HOST}:{server.server_port}"
    headers = {"Host": address, "Origin": f"http://{address}", "Content-Type": "application/json"}
    wall, processor = time.perf_counter(), time.process_time()
    link = http.client.HTTPConnection(HOST, server.server_port, timeout=120)
    link.request("POST", f"/{server.token}/run", body=body, headers=headers)
    answer = link.getresponse()
    size = len(answer.readline())
    curves = time.perf_counter() - wall, time.process_time() - processor
    size += len(answer.read())
    link.close()
    return answer.status, Took(*curves, time.perf_counter() - wall), size


def row(name: str, took: list[Took], refused: int) -> str:
    """One line of the table."""
    if not took:
        return f"{name:<24}  {0:>3} played, {refused} that can't be"
    parts = [f"{1e3 * f(column):>5.0f}" for column in zip(*took, strict=True) for f in (median, max)]
    return (
        f"{name:<24}  {len(took):>3} played{f', {refused} that can not be' if refused else '':<22}  "
        f"curves: wall {parts[0]} worst {parts[1]} ms, processor {parts[2]} worst {parts[3]} ms   "
        f"with labels and steps: wall {parts[4]} worst {parts[5]} ms"
    )


def over_http(start: dict[str, Value], known: tuple[Control, ...], moves: int) -> bool:
    """Print a line per control and one for all; whether the median of the wall is within the aim."""
    every: list[Took] = []
    with serving(start, known) as server:
        _, first, size = asked(server, start)
        print(
            f"first answer: {1e3 * first.wall:.0f} ms to its curves, {1e3 * first.whole:.0f} ms, {size / 1e3:.0f} kB"
        )
        for control in known:
            if control.name in OF_THE_RUN:
                continue
            took, refused = [], 0
            for value in values_of(control, start[control.name], moves):
                status, each, _ = asked(server, {**start, control.name: value})
                if status == 200:
                    took.append(each)
                else:
                    refused += 1
            print(row(control.name, took, refused), flush=True)
            every += took
    print(row("all", every, 0))
    slow = sum(each.processor > AIM_S for each in every)
    print(f"the curves of {slow} of {len(every)} took the processor more than {1e3 * AIM_S:.0f} ms")
    return median(each.wall for each in every) <= AIM_S


def in_browser(start: dict[str, Value], known: tuple[Control, ...], moves: int) -> None:
    """Move the slider of the rate in headless Chromium and wait for the drawn page each time."""
    from playwright.sync_api import sync_playwright

    with serving(start, known) as server, sync_playwright() as engine:
        path = shutil.which("chromium") or engine.chromium.executable_path
        browser = engine.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.goto(server.address)
        page.wait_for_selector("html[data-played='1']", timeout=120_000)
        took = page.evaluate(
            """async (moves) => {
                const took = [];
                const slider = document.querySelector("input[aria-label^='rate']");
                for (let move = 0; move < moves; move++) {
                    const before = document.documentElement.dataset.played;
                    const began = performance.now();
                    slider.value = Number(slider.value) + 0.01;
                    slider.dispatchEvent(new Event("input"));
                    while (document.documentElement.dataset.played === before) await new Promise(requestAnimationFrame);
                    took.push(performance.now() - began);
                }
                return took;
            }""",
            moves,
        )
        browser.close()
    print(f"in Chromium, the rate: {moves} movements, median {median(took):.0f} ms, worst {max(took):.0f} ms")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=2_000)
    parser.add_argument("--moves", type=int, default=8, help="values of each control, at most")
    parser.add_argument("--browser", action="store_true")
    args = parser.parse_args()
    known = controls()
    start = scenario({**DEFAULTS, "requests": args.requests}, known)
    is_fast = over_http(start, known, args.moves)
    if args.browser:
        in_browser(start, known, args.moves)
    return 0 if is_fast else 1


if __name__ == "__main__":
    sys.exit(main())
