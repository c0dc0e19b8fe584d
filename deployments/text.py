"""Generated tokens to text for a client: whole characters only, nothing of the invocation, stop words cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vitron.invocation import ReplyParser

if TYPE_CHECKING:
    from vitron.language import Detokenizer


class TextStream:
    """The visible text of one reply, token by token.

    Attributes:
        sent: the text handed out so far.
        num_tokens: tokens fed so far.
        stopped: a stop word was met; the reply ends before it.
    """

    def __init__(self, detokenizer: Detokenizer, stop: tuple[str, ...]) -> None:
        """Start an empty reply that ends at the first of the `stop` words."""
        self._detokenizer = detokenizer
        self._parser = ReplyParser()
        self._stop = stop
        self._held = ""
        self.sent = ""
        self.num_tokens = 0
        self.stopped = False

    def feed(self, token_id: int) -> str:
        """Add one token and return the text that became certain, often ""."""
        self.num_tokens += 1
        visible = self._parser.feed(self._detokenizer.feed(token_id))
        if self.stopped or not visible:
            return ""
        text = self._before_stop(self._held + visible)
        keep = 0 if self.stopped else self._possible_stop(text)
        self._held = text[len(text) - keep :]
        return self._send(text[: len(text) - keep])

    def finish(self, visible: str) -> str:
        """Return what of the whole `visible` text is still missing."""
        if self.stopped or not visible.startswith(self.sent):
            return ""
        return self._send(self._before_stop(visible[len(self.sent) :]))

    def _send(self, text: str) -> str:
        self.sent += text
        return text

    def _before_stop(self, text: str) -> str:
        found = [place for place in (text.find(word) for word in self._stop) if place >= 0]
        if not found:
            return text
        self.stopped = True
        return text[: min(found)]

    def _possible_stop(self, text: str) -> int:
        """Length of the end of `text` that may be the beginning of a stop word."""
        longest = max((len(word) for word in self._stop), default=1) - 1
        for size in range(min(longest, len(text)), 0, -1):
            if any(word.startswith(text[-size:]) for word in self._stop):
                return size
        return 0
