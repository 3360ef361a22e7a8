"""A request that is not answered with a prediction: a status, and words that say what to do."""

import re

# The form of all messages of this package: what was expected, what was found, what to do.
MESSAGE = re.compile(r"[Ee]xpected (?P<expected>.*), but (?:got )?(?P<found>.*) - (?P<do>.*)", re.S)


class Refusal(Exception):  # noqa: N818 - an answer to a request, not an error of the server
    """The answer to a request that cannot be served.

    Args:
        status: the HTTP status, 400 to 599.
        error: what was found.
        expected: what would have been served.
        do: what the client can do.
        headers: further headers of the answer, as Retry-After.
    """

    def __init__(
        self,
        status: int,
        error: str,
        *,
        expected: str,
        do: str,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status}: expected {expected}, but got {error} - {do}")
        self.status = status
        self.error = error
        self.expected = expected
        self.do = do
        self.headers = headers or {}

    @classmethod
    def from_message(cls, status: int, message: str) -> "Refusal":
        """The refusal that an error's message describes.

        Example:
            >>> refusal = Refusal.from_message(422, "x: expected RGB, but got CMYK - convert it")
            >>> refusal.error, refusal.expected, refusal.do
            ('CMYK', 'RGB', 'convert it')
        """
        parts = MESSAGE.search(message)
        if parts is None:
            return cls(status, message, expected="a PNG, JPEG or TIFF image", do="send another")
        return cls(status, parts["found"], expected=parts["expected"], do=parts["do"])

    def as_dict(self) -> dict[str, str]:
        """The JSON body of the answer."""
        return {"error": self.error, "expected": self.expected, "do": self.do}


def unavailable(error: str) -> Refusal:
    """The answer while there is no worker to predict."""
    return Refusal(
        503,
        error,
        expected="a worker with a loaded model",
        do="send the request again in a few seconds",
        headers={"Retry-After": "2"},
    )
