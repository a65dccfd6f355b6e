"""Rows as turns of a chat, spelt by the tokenizer's own template.

What is trained on are the tokens that TRL makes of `prompt` and `completion` in its conversational
format; what is scored are those of lm-evaluation-harness with `--apply_chat_template`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from jinja2 import TemplateError

from adamergex.errors import InputError
from adamergex.models.tokens import Tokens, fitted, row_tokens, shortened
from adamergex.tasks import Example

__all__ = ["Chat"]


@dataclass(frozen=True)
class Chat:
    """How rows with a prompt are put to a model; plain text is left as it is.

    Attributes:
        system_instruction: What stands before each prompt, as the system's turn.
    """

    system_instruction: str | None = None

    def prompt(self, tok: Any, text: str) -> str:
        """A prompt as the user's turn, up to where the answer begins."""
        return self._spelt(tok, self._turns(text), add_generation_prompt=True)

    def around(self, tok: Any) -> int:
        """How many tokens the template has beside prompt and answer."""
        return len(tok(self._answered(tok, "", ""), add_special_tokens=False).input_ids)

    def all_tokens(
        self, tok: Any, rows: Sequence[Example], *, end: bool, most: int
    ) -> list[Tokens]:
        """Rows for a decoder, with the end of the turn where the end is to be learnt."""
        kept = [self._with_room(tok, row, most) for row in rows]
        if end:
            return [self._learnt(tok, row, most) for row in kept]
        spelt = [
            replace(row, prompt=self.prompt(tok, row.prompt), completion=_answer(row), tail=0)
            for row in kept
        ]
        return row_tokens(tok, spelt, end=False, most=most, begin=False)

    def _learnt(self, tok: Any, row: Example, most: int) -> Tokens:
        prompt = self.prompt(tok, row.prompt)
        whole = self._answered(tok, row.prompt, _answer(row))
        if not whole.startswith(prompt):
            needed = "one by which a prompt is how prompt and answer begin"
            raise InputError("chat template", found="another one", needed=needed)
        asked, ids = (tok(text, add_special_tokens=False).input_ids for text in (prompt, whole))
        return fitted([], asked, ids[len(asked) :], most)

    def _with_room(self, tok: Any, row: Example, most: int) -> Example:
        """A row whose prompt loses what there is no room for before its tail, if it has one."""
        if not row.tail:
            return row
        room = (
            most
            - self.around(tok)
            - 2
            - len(tok(row.completion, add_special_tokens=False).input_ids)
        )
        return replace(row, prompt=shortened(tok, row.prompt, row.tail, room))

    def _answered(self, tok: Any, text: str, answer: str) -> str:
        return self._spelt(tok, [*self._turns(text), {"role": "assistant", "content": answer}])

    def _turns(self, text: str) -> list[dict[str, str]]:
        system = self.system_instruction
        before = [] if system is None else [{"role": "system", "content": system}]
        return [*before, {"role": "user", "content": text}]

    def _spelt(self, tok: Any, turns: list[dict[str, str]], **options: Any) -> str:
        if not tok.chat_template:
            found, needed = "true, and a tokenizer without a chat template", "false, or another"
            raise InputError("apply_chat_template", found=found, needed=needed)
        try:
            return tok.apply_chat_template(turns, tokenize=False, **options)
        except TemplateError as error:
            needed = "turns that the tokenizer's template takes; some take no system_instruction"
            raise InputError("apply_chat_template", found=str(error), needed=needed) from None


def _answer(row: Example) -> str:
    """A completion without the space that would part it from a prompt in running text."""
    return row.completion.lstrip(" ")
