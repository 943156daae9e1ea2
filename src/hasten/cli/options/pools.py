"""Flags of a pool of decode replicas behind a deployment that then computes prompts only."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from hasten.cli.options import deployment, values
from hasten.deployment import Deployment
from hasten.disaggregation import Disaggregated
from hasten.errors import InputError
from hasten.latency.messages import MESSAGES
from hasten.policies import load_policy

_FLAGS = ("decode_device", "decode_tp", "decode_pp", "kv_link", "kv_messages", "decode_route")


def add_decode_pool(parser: ArgumentParser) -> None:
    """The flags; --decode-replicas is the one that asks for a pool of its own."""
    group = parser.add_argument_group("disaggregation", "answers on replicas of their own, KV over a link")
    group.add_argument(
        "--decode-replicas",
        type=values.count,
        metavar="N",
        help="decode replicas; --device, --tp, --pp and --replicas then describe the prefill pool",
    )
    group.add_argument(
        "--decode-device", metavar="NAME", help="their device (default: that of the prefill pool)"
    )
    for name in ("tp", "pp"):
        group.add_argument(
            f"--decode-{name}",
            type=values.count,
            metavar="N",
            help=f"their {name} (default: as the prefill pool)",
        )
    group.add_argument(
        "--kv-link", metavar="NAME", help="link that KV crosses, or a .toml file (default infiniband-ndr)"
    )
    group.add_argument(
        "--kv-messages",
        choices=MESSAGES,
        metavar="UNIT",
        help=f"a request's KV travels in one message per {', per '.join(MESSAGES[:2])} or whole (default layer)",
    )
    group.add_argument(
        "--decode-route", metavar="NAME", help="which decode replica answers (default least_outstanding)"
    )


def served_by(args: Namespace) -> Deployment | Disaggregated:
    """The deployment, or the two pools, that the flags describe. Raises InputError."""
    first = deployment.deployment_of(args)
    if args.decode_replicas is None:
        for name in _FLAGS:
            if getattr(args, name) is not None:
                flag = f"--{name.replace('_', '-')}"
                raise InputError(f"{flag} is for a decode pool: add --decode-replicas N, or leave it out")
        return first
    second = deployment.deployment_of(
        args,
        device=args.decode_device or args.device,
        tp=args.decode_tp or args.tp,
        pp=args.decode_pp or args.pp,
        replicas=args.decode_replicas,
        settings={"host_kv_bytes": 0},  # what is evicted there was computed in the prefill pool
    )
    return Disaggregated.of(
        first, second, args.kv_link or "infiniband-ndr", messages=args.kv_messages or MESSAGES[0]
    )


def routes_of(args: Namespace) -> dict[str, str]:
    """The policy that chooses decode replicas, if one was named. Raises InputError when there is none such."""
    if args.decode_route is None:
        return {}
    load_policy("route", args.decode_route)
    return {"decode_route": args.decode_route}
