"""Outputs of the engine as the protocol's answers: whole, or chunk by chunk."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

from hasten.engine.protocol import Call, chat_logprobs, completion_logprobs
from hasten.engine.sampling import Sampled
from hasten.engine.sequence import Output
from hasten.engine.service import Answer
from hasten.engine.tokenizer import Tokenizer


class _Choice:
    """One answer as far as it has come."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.length = 0  # characters
        self.tokens: list[tuple[Sampled, int]] = []  # with the offset of their text
        self.count = 0
        self.finish: str | None = None


class Replies:
    """The answer to one call: `prompts` x `n` choices, in that order."""

    def __init__(self, call: Call, answers: list[Answer], tokenizer: Tokenizer, model: str) -> None:
        self._call = call
        self._answers = answers
        self._tokenizer = tokenizer
        self._choices = [_Choice() for _ in answers]
        kind = "chatcmpl" if call.chat else "cmpl"
        whole = "chat.completion" if call.chat else "text_completion"
        self._head: dict[str, Any] = {
            "id": f"{kind}-{uuid.uuid4().hex}",
            "object": f"{whole}.chunk" if call.chat and call.stream else whole,
            "created": int(time.time()),
            "model": model,
        }

    def add(self, index: int, output: Output) -> _Choice:
        """Book what one step brought to choice `index`."""
        choice = self._choices[index]
        if output.sampled is not None:
            choice.count += 1
            if self._call.params.logprobs is not None:
                choice.tokens.append((output.sampled, choice.length))
        choice.texts.append(output.text)
        choice.length += len(output.text)
        choice.finish = output.finish
        return choice

    def whole(self) -> dict[str, Any]:
        """The answer in one piece."""
        choices = []
        for index, choice in enumerate(self._choices):
            text = "".join(choice.texts)
            body: dict[str, Any] = {"index": index}
            if self._call.chat:
                body["message"] = {"role": "assistant", "content": text, "refusal": None}
            else:
                body["text"] = text
            body["logprobs"] = self._logprobs(choice.tokens)
            body["finish_reason"] = choice.finish
            choices.append(body)
        return {**self._head, "choices": choices, "usage": self._usage()}

    # ---- as a stream of events --------------------------------------------------------------------------

    def opening(self) -> Iterator[bytes]:
        """A chat begins with the role of every choice."""
        if self._call.chat:
            for index in range(len(self._choices)):
                delta = {"role": "assistant", "content": ""}
                yield self._chunk({"index": index, "delta": delta, "logprobs": None, "finish_reason": None})

    def chunk(self, index: int, output: Output) -> bytes:
        """The event of one step of choice `index`."""
        choice = self.add(index, output)
        body: dict[str, Any] = {"index": index}
        if self._call.chat:
            body["delta"] = {"content": output.text}
        else:
            body["text"] = output.text
        body["logprobs"] = self._logprobs(choice.tokens)
        body["finish_reason"] = output.finish
        choice.tokens = []
        choice.texts = []
        return self._chunk(body)

    def closing(self) -> bytes:
        """The usage, if it was asked for, and the end mark."""
        done = b"data: [DONE]\n\n"
        return (
            self.event({**self._head, "choices": [], "usage": self._usage()}) + done
            if self._call.usage
            else done
        )

    def event(self, body: dict[str, Any]) -> bytes:
        """One server-sent event."""
        return f"data: {json.dumps(body, ensure_ascii=False)}\n\n".encode()

    def _chunk(self, choice: dict[str, Any]) -> bytes:
        body = {**self._head, "choices": [choice]}
        if self._call.running_usage:
            body["usage"] = self._usage()
        elif self._call.usage:
            body["usage"] = None
        return self.event(body)

    def _logprobs(self, tokens: list[tuple[Sampled, int]]) -> dict[str, list[Any]] | None:
        if self._call.params.logprobs is None:
            return None
        made = chat_logprobs if self._call.chat else completion_logprobs
        return made(tokens, self._tokenizer)

    def _usage(self) -> dict[str, Any]:
        prompt = sum(map(len, self._call.prompts))
        completion = sum(choice.count for choice in self._choices)
        firsts = self._answers[:: self._call.n]
        cached = sum(answer.sequence.request.cached for answer in firsts if answer.sequence is not None)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": cached},
        }
