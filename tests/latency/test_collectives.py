"""Messages: latency plus bytes over bandwidth, on the link that joins the devices."""

from dataclasses import replace

import pytest

from hasten.errors import InputError
from hasten.hardware import Link, load_device
from hasten.latency import AnalyticalModel, Message, Parallelism
from hasten.latency.collectives import link_for, message_seconds
from hasten.models import load_model
from hasten.profiles import load_profile

LINK = Link(name="test", bandwidth=2e9, latency=1e-5, efficiency=0.5)  # reaches 1 GB/s


def message(kind, size, devices):
    return Message(name="m", kind=kind, count=1, bytes=size, devices=devices)


@pytest.mark.parametrize(
    ("kind", "size", "devices", "seconds"),
    [
        ("send", 1e6, 2, 1e-5 + 1e-3),
        ("all_gather", 1e6, 4, 1e-5 + 0.75e-3),
        ("reduce_scatter", 1e6, 4, 1e-5 + 0.75e-3),
        ("all_reduce", 1e6, 4, 2e-5 + 1.5e-3),  # large: reduce-scatter and all-gather
        ("all_reduce", 1e3, 4, 1e-5 + 3e-6),  # small: everything at once
        ("all_reduce", 1e6, 2, 1e-5 + 1e-3),  # two devices: the one exchange is never worse
    ],
)
def test_closed_forms(kind, size, devices, seconds):
    assert message_seconds(message(kind, size, devices), LINK, size) == pytest.approx(seconds, rel=1e-12)


def test_devices_of_one_domain_use_the_scale_up_link_and_others_the_network():
    h100 = load_device("h100-sxm")
    assert link_for(h100, 8).name == h100.link
    assert link_for(h100, 16).name == h100.network
    l4 = load_device("l4")
    assert link_for(l4, 4).name == l4.host_link


def test_a_device_without_a_network_stays_in_one_host():
    lonely = replace(load_device("h100-sxm"), network=None)
    with pytest.raises(InputError, match="names no network"):
        AnalyticalModel(load_model("llama-3.1-70b"), lonely, Parallelism(16), load_profile("vllm-0.19"))


def test_more_devices_never_make_a_step_s_messages_cheaper():
    model, device, profile = load_model("llama-3.1-70b"), load_device("h100-sxm"), load_profile("vllm-0.19")
    times = [
        AnalyticalModel(model, device, Parallelism(tp), profile).step_time((), 64, 64000).communication
        for tp in (1, 2, 4, 8)
    ]
    assert times[0] == 0.0
    assert times == sorted(times)
