"""The text spelling of a filter: `year >= 2015 AND lang IN ('en', 'de') AND NOT archived`, read with sqlglot.

The tokens are checked first: only the words and signs of a filter reach the parser, so that nothing else of SQL can mean
anything, every other word can name a field, and an error knows its exact place. This module is apart from `filters` because
importing sqlglot takes 150 ms, which a program that filters by mappings or not at all need not pay.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NoReturn, TypeGuard, TypeVar

from sqlglot import Token, Tokenizer, TokenType, exp
from sqlglot.errors import ParseError, TokenError
from sqlglot.parser import Parser

from outcrop.errors import InvalidFilter
from outcrop.filters import DEPTH_MAX, Compare, Exists, Filter, In, Operator, Value, all_of, any_of, checked_value, negation

TEXT_LENGTH_MAX = 1_000_000
_ALLOWED = (
    "A filter is made of comparisons (year >= 2015, lang = 'en', also != < <= >), IN (...), BETWEEN ... AND ..., IS [NOT] NULL\n"
    "and boolean fields, joined with AND, OR, NOT and parentheses. Text is in 'single quotes', an odd field name\n"
    'in "double quotes".'
)
_WINDOW = 100
_REMEMBERED_LENGTH_MAX = 1_000
_DIGITS_MAX = 400  # beyond it Python's own limit on converting digits is near, and float() says infinity as it should
_Made = TypeVar("_Made")

_KEYWORDS = frozenset(
    (
        TokenType.AND,
        TokenType.OR,
        TokenType.NOT,
        TokenType.IN,
        TokenType.BETWEEN,
        TokenType.IS,
        TokenType.NULL,
        TokenType.TRUE,
        TokenType.FALSE,
    )
)
_SIGNS = frozenset(
    (
        TokenType.EQ,
        TokenType.NEQ,
        TokenType.LT,
        TokenType.LTE,
        TokenType.GT,
        TokenType.GTE,
        TokenType.L_PAREN,
        TokenType.R_PAREN,
        TokenType.COMMA,
        TokenType.DOT,
        TokenType.DASH,
    )
)
_QUOTED = frozenset((TokenType.NUMBER, TokenType.STRING, TokenType.IDENTIFIER))
_OPERANDS = frozenset((*_QUOTED, TokenType.TRUE, TokenType.FALSE, TokenType.NULL))
_OPERATORS: dict[type[exp.Expression], Operator] = {
    exp.EQ: "=",
    exp.NEQ: "!=",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
}
_MIRRORED: dict[Operator, Operator] = {"=": "=", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


def parse_text(text: str) -> Filter:
    """The tree of a filter written as text.

    Raises `InvalidFilter` with `text` and `position`; its message shows the place and says what a filter may hold.
    """
    if len(text) > TEXT_LENGTH_MAX:
        raise InvalidFilter(f"a filter is at most {TEXT_LENGTH_MAX} characters long, found {len(text)}", text=text, position=None)
    return _remembered(text) if len(text) <= _REMEMBERED_LENGTH_MAX else _read(text)


@functools.lru_cache(maxsize=256)  # reading a filter takes 0.5 ms, more than a search does
def _remembered(text: str) -> Filter:
    return _read(text)


def _read(text: str) -> Filter:
    tokens = _tokens(text)
    try:
        trees = Parser().parse(tokens, text)
    except ParseError as error:
        _refuse(text, _error_position(error, tokens), "something is missing or out of place here")
    except RecursionError:
        raise InvalidFilter("the filter is nested too deeply", text=text, position=None) from None
    tree = trees[0] if len(trees) == 1 else None
    if not isinstance(tree, exp.Expression):
        _refuse(text, 0, "this is not one condition")
    return _Reader(text).condition(tree)


class _Reader:
    """Turns the parser's tree into a filter. It exists to carry the text, which every refusal shows."""

    def __init__(self, text: str) -> None:
        self._text = text

    def condition(self, node: exp.Expression) -> Filter:
        """A node in a place where true or false is wanted."""
        node = _bare(node)
        if isinstance(node, exp.And):
            return all_of([self.condition(part) for part in _chain(node, exp.And)])
        if isinstance(node, exp.Or):
            return any_of([self.condition(part) for part in _chain(node, exp.Or)])
        if isinstance(node, exp.Not):
            return negation(self.condition(node.this))
        if type(node) in _OPERATORS:
            return self._comparison(node, _OPERATORS[type(node)])
        if isinstance(node, exp.In):
            if any(node.args.get(key) for key in ("query", "unnest", "field", "is_global")):
                self._refuse(node, "IN is followed by values in parentheses")
            return self._at(node, lambda: In(self._field(node.this), tuple(self._value(item) for item in node.expressions)))
        if isinstance(node, exp.Between):
            field, low, high = self._field(node.this), self._value(node.args["low"]), self._value(node.args["high"])
            return all_of([self._compare(node, field, ">=", low), self._compare(node, field, "<=", high)])
        if isinstance(node, exp.Is):
            return self._is(node)
        if _is_field(node):
            return self._at(node, lambda: Compare(self._field(node), "=", value=True))
        self._refuse(node, "expected a condition")

    def _comparison(self, node: exp.Expression, op: Operator) -> Filter:
        left, right = _bare(node.this), _bare(node.expression)
        if _is_field(left):
            return self._compare(node, self._field(left), op, self._value(right))
        return self._compare(node, self._field(right), _MIRRORED[op], self._value(left))

    def _is(self, node: exp.Is) -> Filter:
        field, wanted = self._field(node.this), _bare(node.expression)
        if isinstance(wanted, exp.Null):
            return self._at(node, lambda: negation(Exists(field)))
        if isinstance(wanted, exp.Boolean):
            return self._compare(node, field, "=", bool(wanted.this))
        self._refuse(node, "IS is followed by NULL, NOT NULL, TRUE or FALSE")

    def _field(self, node: exp.Expression) -> str:
        node = _bare(node)
        if not _is_field(node):
            self._refuse(node, "expected a field")
        return ".".join(part.name for part in node.parts)

    def _value(self, node: exp.Expression) -> Value:
        node = _bare(node)
        if isinstance(node, exp.Boolean):
            return bool(node.this)
        if isinstance(node, exp.Literal) and node.is_string:
            return str(node.this)
        negative = isinstance(node, exp.Neg)
        literal = _bare(node.this) if negative else node
        if not isinstance(literal, exp.Literal) or literal.is_string:
            self._refuse(node, _between_quotes(node) if _is_field(node) else "expected a value")
        return self._at(node, lambda: _number(("-" if negative else "") + str(literal.this)))

    def _compare(self, node: exp.Expression, field: str, op: Operator, value: Value) -> Filter:
        return self._at(node, lambda: Compare(field, op, value))

    def _at(self, node: exp.Expression, make: Callable[[], _Made]) -> _Made:
        """What `make` returns; a value or a name that it refuses is shown at this node."""
        try:
            return make()
        except InvalidFilter as error:
            if error.position is not None:
                raise
            self._refuse(node, str(error))

    def _refuse(self, node: exp.Expression, what: str) -> NoReturn:
        _refuse(self._text, min((part.meta["start"] for part in node.walk() if "start" in part.meta), default=0), what)


def _bare(node: Any) -> Any:
    """The node inside its parentheses, None where there is none."""
    while isinstance(node, exp.Paren):
        node = node.this
    return node


def _is_field(node: object) -> TypeGuard[exp.Column | exp.Dot]:
    return isinstance(node, exp.Column | exp.Dot)


def _between_quotes(node: exp.Column | exp.Dot) -> str:
    """What to say of a field where a value belongs: mostly it is a text without its quotes, or in those of a field."""
    text = ".".join(part.name for part in node.parts)
    return f"text goes in 'single quotes': '{text:.60}'; without them, or in double quotes, it is a field, not a value"


def _chain(node: exp.Expression, kind: type[exp.Expression]) -> list[exp.Expression]:
    """The parts of `a AND b AND c`, which the parser nests to the left, as deep as there are parts."""
    parts = []
    while isinstance(node, kind):
        parts.append(node.expression)
        node = node.this
    return [node, *reversed(parts)]


def _number(digits: str) -> Value:
    """A number; one with a point or an exponent is a float, and so is refused when it is too large."""
    try:
        return checked_value(int(digits) if len(digits) < _DIGITS_MAX and digits.lstrip("-").isdecimal() else float(digits))
    except ValueError as error:
        if isinstance(error, InvalidFilter):
            raise
        raise InvalidFilter(f"{digits:.60} is not a number", text=None, position=None) from None


def _tokens(text: str) -> list[Token]:
    """The tokens, each of a kind that a filter may hold; every word that is no keyword is a field's name."""
    try:
        tokens = Tokenizer().tokenize(text)
    except TokenError:
        _refuse(text, _open_quote(text), "this quote is never closed")
    if not tokens:
        raise InvalidFilter("the filter is empty; leave it out, or pass None, to select everything", text=text, position=0)
    for token in tokens:
        if token.comments:
            places = [text.find(mark, start) for start in (token.end, 0) for mark in ("--", "/*")]
            _refuse(text, next(place for place in places if place >= 0), "comments are not allowed")
        if token.token_type in _KEYWORDS or token.token_type in _SIGNS or token.token_type in _QUOTED:
            continue
        if not token.text.isidentifier() or text[token.start : token.end + 1] != token.text:
            _refuse(text, token.start, f"{token.text:.60} is not allowed")
        token.token_type = TokenType.IDENTIFIER
    _check_order(text, tokens)
    return tokens


def _check_order(text: str, tokens: list[Token]) -> None:
    """Refuse what the parser would understand as something else of SQL: functions, aliases, arithmetic, joined strings."""
    depth = negations = 0
    before: list[TokenType | None] = [None, None, *(token.token_type for token in tokens)]
    after = [*before[3:], None]
    for index, token in enumerate(tokens):
        earlier, previous, this, following = before[index], before[index + 1], before[index + 2], after[index]
        depth += (this is TokenType.L_PAREN) - (this is TokenType.R_PAREN)
        negations = negations + 1 if this is TokenType.NOT else 0
        ended = previous in _OPERANDS or previous is TokenType.R_PAREN
        if max(depth, negations) > DEPTH_MAX:
            _refuse(text, token.start, f"a filter nests at most {DEPTH_MAX} levels deep")
        if ended and this is TokenType.L_PAREN and previous is TokenType.IDENTIFIER:
            _refuse(text, tokens[index - 1].start, "functions are not allowed")
        if ended and (this in _OPERANDS or this is TokenType.L_PAREN):
            _refuse(text, token.start, f"expected AND, OR or a comparison, found {token.text:.60}")
        if ended and this is TokenType.NOT and following not in (TokenType.IN, TokenType.BETWEEN):
            _refuse(text, token.start, "NOT here must be followed by IN or BETWEEN")
        if this is TokenType.DOT and not (previous is TokenType.IDENTIFIER is following):
            _refuse(text, token.start, "a point stands between two names (a.b) or in a number after a digit (0.5)")
        if this is TokenType.DASH and (ended or following is not TokenType.NUMBER):
            _refuse(
                text,
                token.start,
                "a minus stands only before a number; text goes in 'single quotes', a name with a minus in double quotes",
            )
        if this is TokenType.NULL and previous is not TokenType.IS and (earlier, previous) != (TokenType.IS, TokenType.NOT):
            _refuse(text, token.start, "nothing equals NULL; write IS NULL or IS NOT NULL")


def _open_quote(text: str) -> int:
    """The place of the quote that is never closed."""
    quote, start = "", 0
    for position, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote, start = character, position
    return start


def _error_position(error: ParseError, tokens: list[Token]) -> int:
    found = error.errors[0] if error.errors else {}
    places: dict[Any, int] = {(token.line, token.col): token.start for token in tokens}
    return places.get((found.get("line"), found.get("col")), tokens[-1].start)


def _refuse(text: str, position: int, what: str) -> NoReturn:
    """Raise with the line that holds `position` and a caret under it."""
    start = max(text.rfind("\n", 0, position) + 1, position - _WINDOW // 2)
    end = text.find("\n", position)
    line = text[start : min(len(text) if end < 0 else end, start + _WINDOW)].replace("\t", " ")
    shown = f"  {line}\n  {' ' * (position - start)}^"
    raise InvalidFilter(
        f"the filter cannot be read at position {position}: {what}\n{shown}\n{_ALLOWED}", text=text, position=position
    )
