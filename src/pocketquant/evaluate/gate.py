"""`--fail-if`: a condition on the measures, for other people's CI.

    condition  = clause { "or" clause }
    clause     = term { "and" term }
    term       = "not" term | "(" condition ")" | comparison
    comparison = operand ("<" | "<=" | ">" | ">=" | "==" | "!=") operand
    operand    = the name of a measure | a number

Nothing is executed: this is a parser of its own, and it knows nothing else.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from pocketquant.errors import PocketQuantError, near_misses

Values = Mapping[str, float]
Condition = Callable[[Values], bool]
Operand = Callable[[Values], float]

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_TOKEN = re.compile(r"\s*(?:([<>=!]=|[<>()])|([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|([A-Za-z_]\w*))")


class GateError(PocketQuantError):
    """A `--fail-if` condition that cannot be read or names no measure."""


@dataclass(frozen=True)
class Gate:
    """A condition under which an evaluation fails.

    Attributes:
        text: as the user wrote it.
        names: the measures in it.
        fails: whether given values fulfil it. A measure that is missing or not a number is a failure of its
            own: `GateError`.
    """

    text: str
    names: frozenset[str]
    fails: Condition


def parse_gate(text: str, known: Collection[str]) -> Gate:
    """Read a condition.

    Args:
        text: such as `wer_delta > 0.02 or pause_floor_delta > 6`.
        known: names of the measures that will be there.

    Raises:
        GateError: with what is wrong and where.
    """
    parser = _Parser(text, known)
    condition = parser.condition()
    if parser.token:
        raise parser.error("unexpected")
    return Gate(text, frozenset(parser.names), condition)


class _Parser:
    """Recursive descent; `token` is the one to be read next, "" at the end."""

    def __init__(self, text: str, known: Collection[str]) -> None:
        self.text, self.known = text, known
        self.names: set[str] = set()
        self.at = self.end = 0
        self.token = ""
        self.advance()

    def error(self, problem: str) -> GateError:
        where = f"'{self.token}'" if self.token else "the end"
        return GateError(f"--fail-if '{self.text}': {problem} {where} at character {self.at + 1}")

    def advance(self) -> str:
        """Step to the next token; returns the one before."""
        before = self.token
        rest = self.text[self.end :]
        match = _TOKEN.match(rest)
        if match is None:
            self.at = self.end + len(rest) - len(rest.lstrip())
            self.token = rest.strip()[:1]
            if self.token:
                raise self.error("cannot read")
            return before
        self.token = match[0].strip()
        self.end += match.end()
        self.at = self.end - len(self.token)
        return before

    def condition(self) -> Condition:
        clauses = [self.clause()]
        while self.token == "or":
            self.advance()
            clauses.append(self.clause())
        return lambda values: any(clause(values) for clause in clauses)

    def clause(self) -> Condition:
        terms = [self.term()]
        while self.token == "and":
            self.advance()
            terms.append(self.term())
        return lambda values: all(term(values) for term in terms)

    def term(self) -> Condition:
        if self.token == "not":
            self.advance()
            inner = self.term()
            return lambda values: not inner(values)
        if self.token == "(":
            self.advance()
            inside = self.condition()
            if self.token != ")":
                raise self.error("expected ')' before")
            self.advance()
            return inside
        return self.comparison()

    def comparison(self) -> Condition:
        left = self.operand()
        if self.token not in _COMPARISONS:
            raise self.error("expected a comparison such as > before")
        compare = _COMPARISONS[self.advance()]
        right = self.operand()
        return lambda values: compare(left(values), right(values))

    def operand(self) -> Operand:
        token = self.token
        if not token or token in ("and", "or", "not", "(", ")") or token in _COMPARISONS:
            raise self.error("expected a measure or a number before")
        if not (token[0].isalpha() or token[0] == "_"):
            self.advance()
            number = float(token)
            return lambda _: number
        if token not in self.known:
            hint = near_misses(token, self.known) or f"; there are {', '.join(self.known)}"
            raise GateError(f"--fail-if '{self.text}': no measure '{token}' in this evaluation{hint}")
        self.advance()
        self.names.add(token)

        def look_up(values: Values) -> float:
            value = values.get(token)
            if value is None or value != value:
                raise GateError(f"--fail-if '{self.text}': '{token}' has no value, so nothing can be said")
            return value

        return look_up
