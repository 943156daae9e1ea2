"""A law was broken: which, by whom, and by how much."""


class LawBroken(AssertionError):
    """`law` names the law; the message says what was violated, where and by how much, and how to see it again."""

    def __init__(self, law: str, message: str) -> None:
        super().__init__(f"{law}: {message}")
        self.law = law
        self.message = message
