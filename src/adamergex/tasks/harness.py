"""lm-evaluation-harness at work: prompts, answers and measures of one task in one language."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adamergex.errors import InputError
from adamergex.tasks.configured import built
from adamergex.tasks.docs import Doc, docs_of
from adamergex.tasks.examples import Example, Item
from adamergex.tasks.row import Row

__all__ = ["Questions"]

Answer = tuple[float, bool] | str
_LENGTHS: Mapping[str, Callable[[Any], int]] = {
    "acc": lambda _: 1,
    "acc_norm": lambda choice: len(str(choice)),
    "acc_bytes": lambda choice: len(str(choice).encode("utf-8")),
}
"""What each accuracy divides the log-likelihood of a choice by."""


class Questions:
    """Rows of a task as lm-evaluation-harness asks them.

    Args:
        config: The task in one language, see Task.in_language.
        rows: Its rows.
        labelled: Whether the rows have the answer; if not, there are items and no examples.
        skip: Whether rows that the task does not fit are left out: too few fields, a missing
            value, an answer that is no choice.

    Attributes:
        rows: Those that are asked.

    Raises:
        InputError: No rows; a row that the task does not fit, by its file and number.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        rows: Sequence[Mapping[str, Any]],
        *,
        labelled: bool = True,
        skip: bool = False,
    ) -> None:
        self.name = str(config["task"])
        if not rows:
            raise InputError(self.name, "rows", found=0, needed="at least one")
        self.labelled = labelled
        self._shorten = config.get("shorten")
        docs, self._skipped, self._templates = docs_of(config, rows, labelled=labelled, skip=skip)
        self.rows = list[Row](docs)
        self._task = built(config, docs, self._templates)
        self._asked = [self._ask(doc) for doc in docs]

    @property
    def left_out(self) -> list[str]:
        """For people: how many rows are not asked, and what is wrong with the first; or nothing."""
        if not self._skipped:
            return []
        return [f"{self.name}: {len(self._skipped)} rows left out, the first: {self._skipped[0]}"]

    @property
    def delimiter(self) -> str:
        """What stands between a prompt and an answer in free text."""
        return str(self._task.config.target_delimiter)

    @property
    def items(self) -> list[Item]:
        """One for each row."""
        return [asked.item for asked in self._asked]

    def examples(self) -> list[Example]:
        """One training row for each row: the prompt, and the answer as it would be scored."""
        made: list[Example] = []
        for asked in self._asked:
            if asked.item.choices:
                assert asked.item.gold is not None
                completion = asked.item.choices[asked.item.gold]
            else:
                answer = asked.doc.answers[0]
                completion = f"{self.delimiter}{answer}"
            made.append(Example(asked.item.prompt, completion, asked.item.gold, asked.item.tail))
        return made

    def measured(self, answers: Sequence[Sequence[Answer]]) -> dict[str, list[Any]]:
        """The metrics of each item, by lm-evaluation-harness's own filters and rules.

        Args:
            answers: For each item: (log-likelihood, is greedy) of each choice, or one free text.

        Returns:
            Metric -> a value for each item, in the order of the task's metric_list. Where a task
            has filters, `metric,filter`.
        """
        for asked, given in zip(self._asked, answers, strict=True):
            for request, answer in zip(asked.requests, given, strict=True):
                request.resps, request.filtered_resps = [answer], {}
        requests = [request for asked in self._asked for request in asked.requests]
        self._filter(requests)
        found: dict[str, list[Any]] = {}
        for name in requests[0].filtered_resps:
            for asked in self._asked:
                given = [request.filtered_resps[name] for request in asked.requests]
                for metric, value in self._results(asked.doc, given).items():
                    key = metric if name == "none" else f"{metric},{name}"
                    number = isinstance(value, int | float)  # NumPy's are floats too
                    found.setdefault(key, []).append(float(value) if number else value)
        order = [str(entry["metric"]) for entry in self._task.config.metric_list or []]
        places = {name: i for i, name in enumerate(order)}
        by_place = sorted(found, key=lambda key: places.get(key.partition(",")[0], len(order)))
        return {key: found[key] for key in by_place}

    def _results(self, doc: Doc, given: list[Any]) -> dict[str, Any]:
        try:
            return self._task.process_results(doc, given)
        except Exception as error:  # of a measure over a row of any kind
            raise self._templates.misfit(doc, error) from None

    def _filter(self, requests: list[Any]) -> None:
        """Puts the answers through the task's filters, regular expressions among them."""
        from adamergex.tasks.sandbox import bounded

        try:
            for ensemble in self._task._filters:
                for request in requests:
                    with bounded():
                        ensemble.apply([request])
        except Exception as error:  # what a filter raises is whatever it likes
            found, needed = f"{type(error).__name__}: {error}", "filters that fit"
            raise InputError(self.name, "filter_list", found=found, needed=needed) from None

    def aggregated(self, metric: str, values: Sequence[Any]) -> float:
        """The values of a metric over all items, as the task wants them brought together."""
        rule = self._task.aggregation().get(metric.partition(",")[0])
        try:
            return float(rule(values) if rule else sum(values) / len(values))
        except (ValueError, TypeError, ArithmeticError) as error:  # f1 is for two choices alone
            needed = "an aggregation that these answers have"
            raise InputError(self.name, metric, found=str(error), needed=needed) from None

    def higher_is_better(self, metric: str) -> bool:
        """Whether more of a metric is better, as the task says."""
        return bool(self._task.higher_is_better().get(metric.partition(",")[0], True))

    def chosen(self, logs: Sequence[Sequence[float]]) -> list[int]:
        """The choice of each item, as the first accuracy among the task's metrics takes it.

        Args:
            logs: For each item the log-likelihood of each choice; `acc_norm` divides it by the
                choice's characters, `acc_bytes` by its bytes, as lm-evaluation-harness does.
        """
        found: list[int] = []
        for asked, row in zip(self._asked, logs, strict=True):
            scores = [log / n for log, n in zip(row, self._sizes(asked.doc), strict=True)]
            found.append(max(range(len(row)), key=scores.__getitem__))
        return found

    def _sizes(self, doc: Doc) -> list[int]:
        """What the first accuracy among the task's metrics divides each log-likelihood by."""
        named = [entry["metric"] for entry in self._task.config.metric_list or []]
        length = _LENGTHS[next((name for name in named if name in _LENGTHS), "acc")]
        return [length(choice) for choice in self._task.doc_to_choice(doc)]

    def _weights(self, doc: Doc) -> tuple[float, ...]:
        """What each log-likelihood is multiplied by to be compared, 1 on average or so.

        Divided by a length's share of the mean length rather than by the length, scores stay as far
        apart as likelihoods are; which is best is the same.
        """
        sizes = self._sizes(doc)
        if len(set(sizes)) == 1:
            return ()
        mean = sum(sizes) / len(sizes)
        return tuple(mean / size for size in sizes)

    def _tail(self, prompt: str, doc: Mapping[str, Any]) -> int:
        """How many characters of a prompt come after the field that gives way to its length."""
        if self._shorten is None:
            return 0
        value = str(doc.get(self._shorten)).rstrip()
        at = prompt.rfind(value)
        if at < 0:
            found, needed = self._shorten, "a field that is in the prompt as it is"
            raise InputError(self.name, "metadata.shorten", found=found, needed=needed)
        return len(prompt) - at - len(value)

    def _ask(self, doc: Doc) -> _Asked:
        task = self._task
        try:
            prompt = task.fewshot_context(doc, num_fewshot=0, gen_prefix=doc.prefix)
            made = task.construct_requests(doc, prompt, metadata=(self.name, doc.place, 1))
            if self.labelled and task.config.process_results is not None:
                task.process_results(doc, [""])  # which needs columns, too
        except Exception as error:  # of measures, which want columns of their own
            raise self._templates.misfit(doc, error) from None
        tail = self._tail(prompt, doc)
        if not isinstance(made, list):
            _, options = made.args
            until, most = options.get("until", []), options.get("max_gen_toks", 256)
            until = (until,) if isinstance(until, str) else tuple(until)
            item = Item(str(doc.place), prompt, (), None, until, most, tail)
            return _Asked(doc, [made], item)
        choices = tuple(request.args[1] for request in made)
        item = Item(
            str(doc.place), prompt, choices, doc.gold, tail=tail, weights=self._weights(doc)
        )
        return _Asked(doc, made, item)


@dataclass(frozen=True)
class _Asked:
    doc: Doc
    requests: list[Any]
    item: Item
