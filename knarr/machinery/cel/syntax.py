"""From text to a tree. The tree keeps macros as they were written; positions count letters."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from knarr.machinery.cel.errors import InvalidExpression

# An expression may be so long and nested so deep; what people write is far below.
MAX_LETTERS = 16 * 1024
MAX_DEPTH = 60
RESERVED = frozenset(
    ("as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package", "namespace", "return")
) | {"var", "void", "while"}
RELATIONS = ("==", "!=", "<=", ">=", "<", ">", "in")

_TOKEN = re.compile(
    r"""(?P<space>(?:[ \t\r\n\f]|//[^\n]*)+)
    | (?P<float>(?:\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\.\d+(?:[eE][+-]?\d+)?))
    | (?P<uint>(?:0[xX][0-9a-fA-F]+|\d+)[uU])
    | (?P<int>0[xX][0-9a-fA-F]+|\d+)
    | (?P<string>[rRbB]{0,2}(?:'''(?:[^\\]|\\.)*?'''|\"\"\"(?:[^\\]|\\.)*?\"\"\"|'(?:[^'\\\n\r]|\\.)*'|"(?:[^"\\\n\r]|\\.)*"))
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<operator>==|!=|<=|>=|&&|\|\||[-+*/%<>!?:.,()\[\]{}])
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:([abfnrtv\\'\"`?])|[xX]([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2})|(.))", re.DOTALL)
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


class Token(NamedTuple):
    sort: str
    text: str
    position: int


@dataclass(frozen=True, slots=True)
class Node:
    position: int


@dataclass(frozen=True, slots=True)
class Literal(Node):
    """``sort`` is null, bool, int, uint, double, string or bytes."""

    sort: str
    value: Any


@dataclass(frozen=True, slots=True)
class Name(Node):
    name: str


@dataclass(frozen=True, slots=True)
class Select(Node):
    operand: Node
    field: str
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Index(Node):
    operand: Node
    index: Node
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Call(Node):
    """A function, an operator (``_+_``, ``!_``, ``_?_:_`` …) or, with a ``target``, a method."""

    function: str
    arguments: tuple[Node, ...]
    target: Node | None = None


@dataclass(frozen=True, slots=True)
class MakeList(Node):
    """Elements, each with whether it is left out when it is an empty optional."""

    items: tuple[tuple[Node, bool], ...]


@dataclass(frozen=True, slots=True)
class MakeMap(Node):
    entries: tuple[tuple[Node, Node, bool], ...]


@dataclass(frozen=True, slots=True)
class MakeObject(Node):
    """An object of a type by its fields: ``Object.spec{replicas: 1}``."""

    name: str
    fields: tuple[tuple[str, Node, bool], ...]


def parse(source: str) -> Node:
    """Raises InvalidExpression."""
    if len(source) > MAX_LETTERS:
        raise InvalidExpression(f"an expression may have {MAX_LETTERS} letters at most")
    return _Parser(_tokens(source)).whole()


def _tokens(source: str) -> list[Token]:
    found, position = [], 0
    while position < len(source):
        match = _TOKEN.match(source, position)
        if match is None or match.lastgroup is None:
            raise InvalidExpression(f"Syntax error: token recognition error at: '{source[position]}'", position)
        if match.lastgroup != "space":
            found.append(Token(match.lastgroup, match[0], position))
        position = match.end()
    return [*found, Token("end", "<EOF>", len(source))]


class _Parser:
    def __init__(self, tokens: list[Token]) -> None:
        self._tokens, self._at, self._depth = tokens, 0, 0

    def whole(self) -> Node:
        found = self._expression()
        if self._next.sort != "end":
            raise self._unexpected()
        return found

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _unexpected(self) -> InvalidExpression:
        token = self._next
        words = (
            f"Syntax error: mismatched input '{token.text}'" if token.sort != "end" else "Syntax error: unexpected end of the expression"
        )
        return InvalidExpression(words, token.position)

    def _take(self, *texts: str) -> Token | None:
        token = self._next
        if token.text in texts and token.sort in ("operator", "name"):
            self._at += 1
            return token
        return None

    def _expect(self, text: str) -> Token:
        token = self._take(text)
        if token is None:
            raise self._unexpected()
        return token

    def _expression(self) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise InvalidExpression(f"expression recursion limit exceeded: {MAX_DEPTH}", self._next.position)
        condition = self._chain(("||",), self._and)
        token = self._take("?")
        if token is not None:
            chosen = self._chain(("||",), self._and)
            self._expect(":")
            condition = Call(token.position, "_?_:_", (condition, chosen, self._expression()))
        self._depth -= 1
        return condition

    def _and(self) -> Node:
        return self._chain(("&&",), self._relation)

    def _relation(self) -> Node:
        return self._chain(RELATIONS, self._sum)

    def _sum(self) -> Node:
        return self._chain(("+", "-"), self._product)

    def _product(self) -> Node:
        return self._chain(("*", "/", "%"), self._unary)

    def _chain(self, operators: tuple[str, ...], operand: Any) -> Node:
        found: Node = operand()
        count = 0
        while (token := self._take(*operators)) is not None:
            count += 1
            if count > MAX_DEPTH * 4:
                raise InvalidExpression(f"expression recursion limit exceeded: {MAX_DEPTH * 4}", token.position)
            found = Call(token.position, f"_{token.text}_", (found, operand()))
        return found

    def _unary(self) -> Node:
        operators = []
        while (token := self._take("!", "-")) is not None:
            operators.append(token)
            if len(operators) > MAX_DEPTH:
                raise InvalidExpression(f"expression recursion limit exceeded: {MAX_DEPTH}", token.position)
        found = self._member()
        for token in reversed(operators):
            if token.text == "-" and isinstance(found, Literal) and found.sort in ("int", "double"):
                found = Literal(token.position, found.sort, -found.value)
            else:
                found = Call(token.position, f"{token.text}_", (found,))
        return found

    def _member(self) -> Node:
        found, count = self._primary(), 0
        while (token := self._take(".", "[") or (self._take("{") if _type_name(found) else None)) is not None:
            count += 1
            if token.text == "{":
                found = MakeObject(token.position, _type_name(found), self._fields())
                continue
            if count > MAX_DEPTH * 2:
                raise InvalidExpression(f"expression recursion limit exceeded: {MAX_DEPTH * 2}", token.position)
            optional = self._take("?") is not None
            if token.text == "[":
                found = Index(token.position, found, self._expression(), optional)
                self._expect("]")
                continue
            name = self._name()
            if not optional and self._take("(") is not None:
                found = Call(token.position, name.text, self._arguments(")"), found)
            else:
                found = Select(token.position, found, name.text, optional)
        return found

    def _fields(self) -> tuple[tuple[str, Node, bool], ...]:
        fields: list[tuple[str, Node, bool]] = []
        for optional in self._items("}"):
            name = self._name()
            self._expect(":")
            fields.append((name.text, self._expression(), optional))
        return tuple(fields)

    def _name(self) -> Token:
        name = self._next
        if name.sort != "name":
            raise self._unexpected()
        self._at += 1
        return name

    def _items(self, end: str) -> Iterator[bool]:
        """Comes to each item up to the end, before which there may be a comma too; whether the item is optional."""
        is_first = True
        while self._take(end) is None:
            if not is_first:
                self._expect(",")
                if self._take(end) is not None:
                    return
            is_first = False
            yield self._take("?") is not None

    def _arguments(self, end: str) -> tuple[Node, ...]:
        found: list[Node] = []
        while self._take(end) is None:
            if found:
                self._expect(",")
            found.append(self._expression())
        return tuple(found)

    def _primary(self) -> Node:
        token = self._next
        self._at += 1
        match token.sort:
            case "name":
                return self._named(token)
            case "string":
                return _string(token)
            case "int" | "uint":
                return Literal(token.position, token.sort, _integer(token))
            case "float":
                return Literal(token.position, "double", float(token.text))
        if token.text == "(":
            found = self._expression()
            self._expect(")")
            return found
        if token.text == "[":
            return self._list(token)
        if token.text == "{":
            return self._map(token)
        if token.text == "." and self._next.sort == "name":
            return self._primary()
        self._at -= 1
        raise self._unexpected()

    def _named(self, token: Token) -> Node:
        if token.text in ("true", "false"):
            return Literal(token.position, "bool", token.text == "true")
        if token.text == "null":
            return Literal(token.position, "null", None)
        if token.text in RESERVED or token.text == "in":
            raise InvalidExpression(f"reserved identifier: {token.text}", token.position)
        if self._take("(") is not None:
            return Call(token.position, token.text, self._arguments(")"))
        return Name(token.position, token.text)

    def _list(self, token: Token) -> Node:
        items: list[tuple[Node, bool]] = []
        for optional in self._items("]"):
            items.append((self._expression(), optional))
        return MakeList(token.position, tuple(items))

    def _map(self, token: Token) -> Node:
        entries: list[tuple[Node, Node, bool]] = []
        for optional in self._items("}"):
            key = self._expression()
            self._expect(":")
            entries.append((key, self._expression(), optional))
        return MakeMap(token.position, tuple(entries))


def _type_name(node: Node) -> str:
    """The name of a type as it is written before its fields; empty for what is none."""
    names: list[str] = []
    while isinstance(node, Select) and not node.optional:
        names.append(node.field)
        node = node.operand
    return ".".join([node.name, *reversed(names)]) if isinstance(node, Name) else ""


def _integer(token: Token) -> int:
    value = int(token.text.rstrip("uU"), 0) if token.text[:2] in ("0x", "0X") else int(token.text.rstrip("uU"))
    if value >= (2**64 if token.sort == "uint" else 2**63 + 1):
        raise InvalidExpression(f"invalid {token.sort} literal", token.position)
    return value


def _string(token: Token) -> Literal:
    prefix, rest = re.match(r"([rRbB]*)(.*)", token.text, re.DOTALL).groups()  # type: ignore[union-attr]
    quote = rest[:3] if rest[:3] in ("'''", '"""') else rest[:1]
    text = rest[len(quote) : -len(quote)]
    raw, as_bytes = "r" in prefix.lower(), "b" in prefix.lower()

    def plain(match: re.Match[str]) -> str:
        simple, code, short, long, octal, wrong = match.groups()
        if simple is not None:
            return _SIMPLE.get(simple, simple)
        if wrong is not None:
            raise InvalidExpression(f"invalid escape sequence: \\{wrong}", token.position)
        return chr(int(octal, 8) if octal else int(code or short or long, 16))

    try:
        text = text if raw else _ESCAPE.sub(plain, text)
    except (ValueError, OverflowError):
        raise InvalidExpression("invalid escape sequence", token.position) from None
    if not as_bytes:
        return Literal(token.position, "string", text)
    # An escape is a byte, a letter its UTF-8.
    return Literal(token.position, "bytes", b"".join(letter.encode("latin-1") if ord(letter) < 256 else letter.encode() for letter in text))
