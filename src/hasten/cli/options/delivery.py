"""Flags that write what somebody can deploy."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hasten.errors import InputError

if TYPE_CHECKING:
    from hasten.deployment import Deployment
    from hasten.disaggregation import Disaggregated
    from hasten.workload import Workload


def add_delivery(parser: ArgumentParser, flag: str) -> None:
    """`flag` DIR and --overwrite."""
    group = parser.add_argument_group("files to deploy")
    group.add_argument(
        flag,
        dest="deliver",
        type=Path,
        metavar="DIR",
        help="write start commands, Ray Serve, llm-d and Dynamo manifests, a benchmark script and the prediction",
    )
    group.add_argument(
        "--overwrite", action="store_true", help="replace the files of an earlier delivery in that folder"
    )


def check(args: Namespace) -> None:
    """Raise InputError now for a folder that could not be written after the work, or an engine without files."""
    if args.deliver is None:
        if args.overwrite:
            raise InputError(
                "--overwrite is for a folder of files to deploy: name the folder, or leave it out"
            )
        return
    from hasten.delivery.engine import engine_of
    from hasten.delivery.writing import check_folder
    from hasten.profiles import load_profile

    engine_of(load_profile(args.engine))
    check_folder(args.deliver, overwrite=args.overwrite)


def deliver(
    args: Namespace,
    deployment: Deployment | Disaggregated,
    work: Workload,
    prediction: Mapping[str, Any],
    **told: Any,
) -> list[str]:
    """Write the files if a folder was named; returns a line for the reader."""
    if args.deliver is None:
        return []
    from hasten.delivery import Offer, write

    names = write(Offer(deployment, work, prediction, **told), args.deliver, overwrite=args.overwrite)
    return [f"Files to deploy it, in {args.deliver}: {', '.join(names)}"]
