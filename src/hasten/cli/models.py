"""Built-in model shapes: parameters, bytes of weights, KV cache per token. Figures follow from the configuration."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from hasten.cli.options import catalogue
from hasten.cli.output import table, text
from hasten.models import load_model, model_names
from hasten.models.shape import Attention, FeedForward, ModelShape

HELP = "built-in models, and what follows from a config.json"
EXAMPLE = "hasten models show llama-3.1-8b"

GIB = 2**30


def configure(parser: ArgumentParser) -> None:
    """Declare the options."""
    catalogue.add_show(parser, "model", "llama-3.1-8b or ./my-model/config.json")


def run(args: Namespace) -> int:
    """Print the list or one model."""
    name = catalogue.shown(args)
    models = [load_model(each) for each in (model_names() if name is None else [name])]
    if args.json:
        found = [figures(model) for model in models]
        text.show_json(found if name is None else found[0])
    else:
        text.show(listed(models) if name is None else _described(models[0]))
    return 0


def figures(model: ModelShape) -> dict[str, Any]:
    """What is known of a model, under keys with units."""
    return {
        "name": model.name,
        "architecture": model.architecture,
        "parameters": model.parameters,
        "active_parameters": model.active_parameters,
        "weights_gib": model.weight_bytes / GIB,
        "kv_bytes_per_token": model.kv_bytes_per_token(),
        "kv_gib_at_8192_tokens": model.kv_bytes(8192) / GIB,
        "linear_flops_per_token": model.linear_flops_per_token,
        "layers": model.num_layers,
        "hidden": model.hidden,
        "vocabulary": model.vocab,
        "max_context_tokens": model.max_context or None,
        "quantisation": None if model.quantisation is None else model.quantisation.method,
        "source": model.source,
    }


def listed(models: list[ModelShape]) -> str:
    """One line per model."""
    header = ("model", "parameters", "active", "weights GiB", "KV KiB/token", "context", "stored as")
    rows = [
        (
            model.name,
            billions(model.parameters),
            billions(model.active_parameters) if model.is_mixture else "",
            table.number(model.weight_bytes / GIB),
            table.number(model.kv_bytes_per_token() / 1024, 1),
            f"{model.max_context:,}" if model.max_context else table.MISSING,
            _stored(model),
        )
        for model in models
    ]
    return table.table(header, rows, right=range(1, 6))


def billions(parameters: int) -> str:
    """A count of parameters in billions."""
    return f"{parameters / 1e9:,.2f} B"


def _stored(model: ModelShape) -> str:
    if model.quantisation is None:
        return f"{8 * model.dtype_bytes:g} bit"
    return f"{model.quantisation.method}, {model.quantisation.weight_bits:g} bit"


def _described(model: ModelShape) -> str:
    active = f", {model.active_parameters:,} active per token" if model.is_mixture else ""
    pairs = [
        ("model", model.name),
        ("architecture", model.architecture),
        ("parameters", f"{model.parameters:,}{active}"),
        ("weights", f"{model.weight_bytes / GIB:,.2f} GiB, stored as {_stored(model)}"),
        (
            "KV cache",
            f"{model.kv_bytes_per_token():,.0f} bytes per token, {model.kv_bytes(8192) / GIB:,.2f} GiB at 8,192 tokens",
        ),
        (
            "FLOPs",
            f"{model.linear_flops_per_token + model.head_flops_per_token:.4g} per token, without attention",
        ),
        ("hidden, vocabulary", f"{model.hidden:,}, {model.vocab:,}"),
        ("context", f"{model.max_context:,} tokens" if model.max_context else "not stated"),
        *(
            (
                "layers" if i == 0 else "",
                f"{group.count} x {_attention(group.attention)}; {_feed_forward(group.ffn)}",
            )
            for i, group in enumerate(model.layers)
        ),
        (
            "left out",
            f"{model.mtp_parameters:,} parameters of multi-token prediction" if model.mtp_layers else "",
        ),
        ("source", model.source),
    ]
    return table.facts(pairs)


def _attention(attention: Attention) -> str:
    if attention.kind == "mla":
        return f"attention of {attention.heads} heads over a latent of {attention.kv_elements} elements"
    window = f", window {attention.window:,}" if attention.window else ""
    return (
        f"attention of {attention.heads} heads, {attention.kv_heads} KV heads of {attention.head_dim}{window}"
    )


def _feed_forward(ffn: FeedForward) -> str:
    if not ffn.is_mixture:
        return f"feed-forward {ffn.intermediate:,}"
    shared = f", shared {ffn.shared_intermediate:,}" if ffn.shared_intermediate else ""
    return f"{ffn.experts} experts of {ffn.intermediate:,}, {ffn.top_k} per token{shared}"
