"""Train the tiny model that the tests use: a Llama of 3.3 M parameters that has read the standard library.

    python scripts/train_tiny.py tests/data/tiny-python             # about 15 minutes on two idle cores
    python scripts/train_tiny.py tests/data/tiny-python --evaluate  # only the figures of what is there

The text is the standard library of the Python that runs this, without its tests. A file is held out when the SHA-256
of its path below the library begins with a byte under 13: one in twenty. Whole modules follow each other in windows
of 1,024 tokens, so that names come back hundreds of tokens later. Every layer is trained as an exit too: the final
norm and head read its output, on a share of the positions, so that stopping early gives an answer and not noise.

Progress goes to stderr, figures to stdout. Ctrl-C is safe: the same command goes on where the last state was saved,
and ends with the same weights. One seed and one machine type give the same bytes, however many threads.

Needs the extras `engine` and `reference`. Sources: byte-level BPE, Sennrich et al., arXiv:1508.07909; the optimiser of
matrices is Muon, Jordan et al. 2024 (Newton-Schulz with the coefficients given there); exits share head and norm as
in LayerSkip, arXiv:2404.16710, section 4.1.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
import sysconfig
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_model import CONFIG, LAYERS, WINDOW, hidden_states, initial_weights, logits, measure
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from torch.nn import functional

EXIT_SHARE = 8  # every eighth position trains an exit
EXIT_WEIGHT = 0.5  # of all exits together, against the last layer's 1
HELD_OUT_BELOW = 13  # of 256
SAMPLE_BYTES = 40_000  # of the held-out text, shipped for the test
SAVE_EVERY = 20  # steps
LEFT_OUT = ("test", "tests", "idlelib", "turtledemo", "lib2to3", "site-packages", "dist-packages")
TABLES = ("encodings/", "pydoc_data/", "_sysconfigdata", "_distutils_system_mod", "sitecustomize")
END = "<|endoftext|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}# {{ message.role }}: {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}# assistant:{% endif %}"
)


@dataclass(frozen=True)
class Recipe:
    """How to train. Rates are per step; a step reads `batch` windows."""

    steps: int = 1600
    batch: int = 2
    matrix_rate: float = 0.006
    vector_rate: float = 0.003
    warm_up: int = 40  # steps
    decay: float = 0.05  # of the matrices, times the rate
    seed: int = 0

    @property
    def fall(self) -> int:
        """The step at which the rate begins to fall."""
        return self.steps * 3 // 4

    def rate(self, step: int) -> float:
        """Share of the full rate: a linear warm-up, then constant, then a linear fall to nothing.

        Until it falls nothing depends on `steps`: an interrupted run may go on with more or fewer.
        """
        return min((step + 1) / self.warm_up, 1.0, (self.steps - step) / (self.steps - self.fall))

    @property
    def name(self) -> str:
        """What runs that share a state have in common."""
        return str(replace(self, steps=0))


# The text


def read_library() -> dict[str, str]:
    """The modules of the standard library by path, sorted; neither tests nor generated tables."""
    root = Path(sysconfig.get_paths()["stdlib"])
    found = {}
    for path in root.rglob("*.py"):
        name = path.relative_to(root)
        if not set(name.parts) & set(LEFT_OUT) and not name.as_posix().startswith(TABLES):
            found[name.as_posix()] = path.read_bytes().decode("utf-8", errors="replace")
    return dict(sorted(found.items()))


def is_held_out(name: str) -> bool:
    """Whether a file is for measuring only."""
    return hashlib.sha256(name.encode()).digest()[0] < HELD_OUT_BELOW


def digest(texts: dict[str, str]) -> str:
    """SHA-256 over names and contents: says whether two machines read the same library."""
    total = hashlib.sha256()
    for name, text in texts.items():
        total.update(f"{name}\0{text}\0".encode())
    return total.hexdigest()


def train_tokenizer(texts: list[str]) -> Tokenizer:
    """A byte-level BPE of `vocab_size` tokens; token 0 stands between modules."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=CONFIG["vocab_size"],
        special_tokens=[END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def encode(tokenizer: Tokenizer, texts: list[str]) -> list[np.ndarray]:
    """Token ids of every module, each after the separator."""
    return [np.array([0, *found.ids], dtype=np.int64) for found in tokenizer.encode_batch(texts)]


def windows(modules: list[np.ndarray], recipe: Recipe) -> Iterator[Tensor]:
    """Batches [batch, WINDOW + 1] without end: each pass shuffles the modules, joins them and cuts windows."""
    rng = np.random.default_rng(recipe.seed)
    kept: list[np.ndarray] = []
    while True:
        stream = np.concatenate([modules[i] for i in rng.permutation(len(modules))])
        start = int(rng.integers(WINDOW))
        count = (len(stream) - start - 1) // WINDOW
        for i in rng.permutation(count):
            at = start + i * WINDOW
            kept.append(stream[at : at + WINDOW + 1])
            if len(kept) == recipe.batch:
                yield torch.from_numpy(np.stack(kept))
                kept = []


def losses(weights: dict[str, Tensor], rows: Tensor, step: int) -> tuple[Tensor, Tensor]:
    """Mean nats per token of the last layer; and of the earlier ones on their share of positions, by depth."""
    tokens, wanted = rows[:, :-1], rows[:, 1:]
    left = hidden_states(weights, tokens)
    last = functional.cross_entropy(logits(weights, left[-1]).flatten(0, 1), wanted.flatten())
    total = torch.zeros(())
    for layer, states in enumerate(left[:-1]):
        places = slice((step + layer) % EXIT_SHARE, None, EXIT_SHARE)
        scores = logits(weights, states[:, places]).flatten(0, 1)
        weight = (layer + 1) / (LAYERS * (LAYERS - 1) / 2)  # they sum to one
        total = total + weight * functional.cross_entropy(scores, wanted[:, places].flatten())
    return last, total


# The optimiser


def orthogonal(updates: Tensor) -> Tensor:
    """The nearest half-orthogonal matrices, about, of [count, rows, columns]: five Newton-Schulz rounds."""
    turned = updates.shape[1] > updates.shape[2]
    found = updates.transpose(1, 2) if turned else updates
    found = found / (found.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        square = found @ found.transpose(1, 2)
        found = 3.4445 * found + (-4.775 * square + 2.0315 * square @ square) @ found
    return found.transpose(1, 2) if turned else found


class Optimiser:
    """Muon for the matrices of the layers, Adam for embedding and norms. All state is in `state`, to be saved."""

    def __init__(self, weights: dict[str, Tensor], recipe: Recipe) -> None:
        self._weights = weights
        self._recipe = recipe
        self.state = {f"{name}.momentum": torch.zeros_like(each) for name, each in weights.items()}
        self._kinds: dict[tuple[int, ...], list[str]] = {}
        self._others = []
        for name, each in weights.items():
            if each.ndim == 2 and "layers" in name:
                self._kinds.setdefault(tuple(each.shape), []).append(name)
            else:
                self._others.append(name)
                self.state[f"{name}.square"] = torch.zeros_like(each)

    @torch.no_grad()
    def step(self, step: int, gradients: dict[str, Tensor], pool: ThreadPoolExecutor) -> None:
        """Move every weight along its gradient; matrices of one shape together, shapes on the threads of `pool`."""
        rate = self._recipe.rate(step)
        pace = rate * self._recipe.matrix_rate

        @torch.no_grad()
        def turn(shape: tuple[int, ...]) -> None:
            names = self._kinds[shape]
            found = torch.stack([gradients[name] for name in names])
            momentum = torch.stack([self.state[f"{name}.momentum"] for name in names]).lerp_(found, 0.05)
            moves = orthogonal(found.lerp(momentum, 0.95)) * (0.2 * max(shape) ** 0.5)
            for name, kept, move in zip(names, momentum, moves, strict=True):
                self.state[f"{name}.momentum"].copy_(kept)
                self._weights[name].mul_(1 - pace * self._recipe.decay).sub_(move, alpha=pace)

        list(pool.map(turn, self._kinds))
        for name in self._others:
            weight, gradient = self._weights[name], gradients[name]
            momentum = self.state[f"{name}.momentum"].lerp_(gradient, 0.1)
            square = self.state[f"{name}.square"].lerp_(gradient.square(), 0.05)
            size = (square / (1 - 0.95 ** (step + 1))).sqrt_().add_(1e-10)
            weight.sub_(momentum / (1 - 0.9 ** (step + 1)) / size, alpha=rate * self._recipe.vector_rate)


# Training


def train(
    modules: list[np.ndarray], recipe: Recipe, state: Path, name: str, pool: ThreadPoolExecutor
) -> dict[str, Tensor]:
    """The trained weights, fp32. `state` is where an interrupted run goes on, if it belongs to the run `name`.

    Every window of a batch is one thread's work, so the result does not depend on how many threads there are.
    """
    weights = {key: value.requires_grad_() for key, value in initial_weights(recipe.seed).items()}
    optimiser = Optimiser(weights, recipe)
    first = restore(state, recipe, name, weights, optimiser)
    batches = windows(modules, recipe)
    for _ in range(first):
        next(batches)
    began, seen = time.monotonic(), []
    for step in range(first, recipe.steps):

        def learn(row: Tensor, step: int = step) -> tuple[tuple[Tensor, ...], float, float]:
            last, early = losses(weights, row, step)
            found = torch.autograd.grad(last + EXIT_WEIGHT * early, list(weights.values()))
            return found, last.item(), early.item()

        parts = list(pool.map(learn, next(batches).split(1)))
        sums = [sum(found) / recipe.batch for found in zip(*(part[0] for part in parts), strict=True)]
        optimiser.step(step, dict(zip(weights, sums, strict=True)), pool)
        seen += [part[1:] for part in parts]
        done = step + 1
        if done % 10 == 0:
            pace = (time.monotonic() - began) / (done - first)
            nats, exits = np.mean(seen[-50 * recipe.batch :], axis=0)
            print(
                f"step {done} of {recipe.steps}: perplexity {math.exp(nats):.2f}, exits {math.exp(exits):.2f}, "
                f"{recipe.batch * WINDOW / pace:,.0f} tokens/s, {pace * (recipe.steps - done) / 60:.0f} min left",
                file=sys.stderr,
            )
        if done % SAVE_EVERY == 0:
            about = {"run": name, "steps": str(recipe.steps), "done": str(done)}
            save(state, about, weights, optimiser)
    return {key: value.detach() for key, value in weights.items()}


def save(state: Path, about: dict[str, str], weights: dict[str, Tensor], optimiser: Optimiser) -> None:
    """All that a run needs to go on; written whole or not at all."""
    fresh = state.with_suffix(".new")
    content = {f"weights.{key}": value.detach() for key, value in weights.items()}
    save_file(content | {f"optimiser.{key}": value for key, value in optimiser.state.items()}, fresh, about)
    fresh.replace(state)


def restore(state: Path, recipe: Recipe, name: str, weights: dict[str, Tensor], optimiser: Optimiser) -> int:
    """Take over what an interrupted run saved; the number of steps that it had done."""
    if not state.exists():
        return 0
    with safe_open(state, "pt") as file:
        kept = file.metadata()
    planned = replace(recipe, steps=int(kept["steps"]))
    fell = planned != recipe and int(kept["done"]) > min(planned.fall, recipe.fall)
    if kept["run"] != name or fell:
        sys.exit(f"{state}: belongs to a run with another text or recipe: remove it to start over")
    found = load_file(state)
    with torch.no_grad():
        for key, value in weights.items():
            value.copy_(found[f"weights.{key}"])
        for key, value in optimiser.state.items():
            value.copy_(found[f"optimiser.{key}"])
    print(f"{state}: goes on after step {kept['done']}", file=sys.stderr)
    return int(kept["done"])


# Figures


def unigram(modules: list[np.ndarray], held_out: list[np.ndarray]) -> float:
    """Perplexity of the held-out tokens under nothing but how frequent each is, plus one."""
    counts = np.bincount(np.concatenate(modules), minlength=CONFIG["vocab_size"]) + 1.0
    stream = np.concatenate(held_out)[1:]
    return float(np.exp(-np.log(counts / counts.sum())[stream].mean()))


def sample(held_out: dict[str, str]) -> dict[str, str]:
    """Whole held-out modules of 2,000 to 10,000 bytes, in order, up to SAMPLE_BYTES."""
    chosen: dict[str, str] = {}
    for name, text in held_out.items():
        if 2_000 <= len(text) <= 10_000 and sum(map(len, chosen.values())) + len(text) <= SAMPLE_BYTES:
            chosen[name] = text
    return chosen


# The checkpoint


def write_checkpoint(folder: Path, tokenizer: Tokenizer, weights: dict[str, Tensor]) -> None:
    """The layout of Hugging Face; weights in fp16."""
    folder.mkdir(parents=True, exist_ok=True)
    half = {key: value.half().contiguous() for key, value in weights.items()}
    save_file(half, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save(str(folder / "tokenizer.json"))
    described = {
        "eos_token": END,
        "bos_token": END,
        "model_max_length": WINDOW,
        "chat_template": CHAT_TEMPLATE,
    }
    write_json(folder / "config.json", CONFIG)
    write_json(folder / "generation_config.json", {"bos_token_id": 0, "eos_token_id": 0})
    write_json(folder / "tokenizer_config.json", described | {"tokenizer_class": "PreTrainedTokenizerFast"})


def write_json(path: Path, values: dict[str, object]) -> None:
    """A file that a person can read."""
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def main() -> int:
    """Train, write the checkpoint, print its figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where the checkpoint goes")
    parser.add_argument("--evaluate", action="store_true", help="only print the figures of what is there")
    parser.add_argument(
        "--steps", type=int, default=Recipe.steps, help="optimiser steps (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(1)
    pool = ThreadPoolExecutor(given.threads)
    recipe = Recipe(steps=given.steps, seed=given.seed)
    library = read_library()
    texts = {name: text for name, text in library.items() if not is_held_out(name)}
    held_out = {name: text for name, text in library.items() if is_held_out(name)}
    print(
        f"Python {sys.version.split()[0]}: {len(texts)} modules to learn, {len(held_out)} held out, "
        f"sha256 {digest(library)}"
    )
    if given.evaluate:
        tokenizer = Tokenizer.from_file(str(given.folder / "tokenizer.json"))
    else:
        tokenizer = train_tokenizer(list(texts.values()))
    modules = encode(tokenizer, list(texts.values()))
    print(f"{sum(map(len, texts.values())):,} characters, {sum(map(len, modules)):,} tokens to learn")
    if not given.evaluate:
        state = given.folder.with_name(given.folder.name + ".training")
        name = f"{recipe.name} {digest(library)}"
        given.folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            weights = train(modules, recipe, state, name, pool)
        except KeyboardInterrupt:
            print(f"\nstopped: the same command goes on from {state}", file=sys.stderr)
            return 130
        write_checkpoint(given.folder, tokenizer, weights)
        write_sample(given.folder / "held-out.jsonl", sample(held_out))
    figures = evaluate(given.folder, tokenizer, modules, held_out)
    if not given.evaluate:
        write_readme(given.folder, recipe, digest(library), figures)
        state.unlink(missing_ok=True)
    print(table(figures), end="")
    return 0


def write_sample(path: Path, chosen: dict[str, str]) -> None:
    """One module a line."""
    lines = [json.dumps({"name": name, "text": text}) + "\n" for name, text in chosen.items()]
    path.write_text("".join(lines), encoding="utf-8")


def evaluate(
    folder: Path, tokenizer: Tokenizer, modules: list[np.ndarray], held_out: dict[str, str]
) -> dict[str, dict[str, float]]:
    """Perplexities per token of the checkpoint as written: on all that was held out, and on the shipped sample."""
    weights = {key: value.float() for key, value in load_file(folder / "model.safetensors").items()}
    figures = {}
    for title, texts in (("held_out", held_out), ("sample", sample(held_out))):
        tokens = encode(tokenizer, list(texts.values()))
        figures[title] = {
            "modules": len(texts),
            **measure(weights, tokens),
            "unigram": unigram(modules, tokens),
        }
    return figures


def table(figures: dict[str, dict[str, float]]) -> str:
    """The figures side by side, in Markdown."""
    lines = ["| perplexity per token | all that was held out | the shipped sample |", "|---|---|---|"]
    for name, value in figures["held_out"].items():
        other = figures["sample"][name]
        shown = f"{value:,} | {other:,}" if isinstance(value, int) else f"{value:.2f} | {other:.2f}"
        lines.append(f"| {name} | {shown} |")
    return "\n".join(lines) + "\n"


README = """# A tiny model that has learned something

A Llama of {parameters:,} parameters (fp16) with a byte-level BPE of {vocab:,} tokens, trained on the standard library
of Python {python} by `scripts/train_tiny.py`, {steps:,} steps of {tokens:,} tokens, seed {seed}:

    python scripts/train_tiny.py tests/data/tiny-python --steps {steps} --seed {seed}

Modules are held out when the SHA-256 of their path begins with a byte under {below} of 256; tests, idlelib and
generated tables are left out. SHA-256 of the text that was read: {sha256}.

{table}
Every earlier layer was trained as an exit, through the shared final norm and head. `held-out.jsonl` holds whole
held-out modules, on which tests pin these figures (`figures.json`).

The text is Python's standard library, (c) Python Software Foundation, under the PSF licence, version 2
(https://docs.python.org/3/license.html): it covers `held-out.jsonl`. Weights and tokenizer are under this project's
licence.
"""


def write_readme(folder: Path, recipe: Recipe, sha256: str, figures: dict[str, dict[str, float]]) -> None:
    """Where the checkpoint comes from and how good it is, for people and for the test that pins it."""
    weights = load_file(folder / "model.safetensors")
    about = {"python": sys.version.split()[0], "sha256": sha256, "steps": recipe.steps, "seed": recipe.seed}
    write_json(folder / "figures.json", about | figures)
    text = README.format(
        **about,
        parameters=sum(each.numel() for each in weights.values()),
        vocab=CONFIG["vocab_size"],
        tokens=recipe.batch * WINDOW,
        below=HELD_OUT_BELOW,
        table=table(figures),
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
