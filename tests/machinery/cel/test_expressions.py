"""CEL as Kubernetes uses it: what expressions answer, what is said of wrong ones, and what they may cost."""

from __future__ import annotations

from typing import Any

import pytest

from knarr.machinery.cel.compiler import compile_expression
from knarr.machinery.cel.errors import CostExceeded, EvaluationError, InvalidExpression
from knarr.machinery.cel.types import BOOL, DYN, INT, STRING, TIMESTAMP, Field, list_of, map_of, object_of
from knarr.machinery.cel.values import timestamp

INNER = object_of("object", {"x": Field("x", STRING)})
SELF = object_of(
    "object",
    {
        "a": Field("a", INT),
        "s": Field("s", STRING.sized(40)),
        "l": Field("l", list_of(INT, 10)),
        "n": Field("n", list_of(STRING.sized(8), 10)),
        "m": Field("m", map_of(STRING, STRING, 10)),
        "d": Field("d", DYN),
        "o": Field("o", INNER),
        "items": Field("items", list_of(INNER, 10)),
        "when": Field("when", TIMESTAMP),
        "with__dash__dash": Field("with-dash", BOOL),
    },
)
VALUE: dict[str, Any] = {
    "a": 3,
    "s": "hello",
    "l": [1, 2, 3],
    "m": {"k": "v"},
    "d": "50%",
    "o": {},
    "items": [{"x": "p"}, {}],
    "when": timestamp("2024-02-29T01:02:03.5Z"),
    "with-dash": True,
}


def evaluate(expression: str, limit: int = 1_000_000) -> Any:
    return compile_expression(expression, {"self": SELF}).evaluate({"self": VALUE}, limit)[0]


@pytest.mark.parametrize(
    "expression",
    [
        "self.a == 3 && self.a != 4 && self.a < 4 && self.a <= 3 && self.a >= 3",
        "self.a + 2 * 3 - 10 / 3 % 2 == 8",
        "-self.a == -3 && -7 / 2 == -3 && -7 % 2 == -1",
        "dyn(1) == 1.0 && dyn(1u) == 1 && 2.5 > 2",
        "0x1F == 31 && 1e3 == 1000.0",
        "self.s == 'hello' && 'it\\'s' == \"it's\" && r'\\n' != '\\n' && '''a\nb''' == 'a\\nb'",
        "'\\u00e9\\x41\\101' == 'éAA' && b'\\xff'.size() == 1",
        "self.s.startsWith('he') && self.s.endsWith('lo') && self.s.contains('ell') && self.s.matches('^h.*o$')",
        "self.s.size() == 5 && size(self.l) == 3 && self.m.size() == 1 && size('é') == 1",
        "self.l.all(x, x > 0) && self.l.exists(x, x == 2) && self.l.exists_one(x, x > 2) && !self.l.all(x, x > 1)",
        "self.l.map(x, x * 2) == [2, 4, 6] && self.l.filter(x, x > 1) == [2, 3] && self.l.map(x, x > 1, x + 1) == [3, 4]",
        "self.m.all(k, self.m[k] == 'v') && self.m.exists(k, v, k == 'k' && v == 'v')",
        "self.l.transformList(i, v, i + v) == [1, 3, 5] && self.l.transformMap(i, v, v > 1, v) == {1: 2, 2: 3}",
        "has(self.a) && !has(self.o.x) && (!has(self.o.x) || self.o.x == 'y')",
        "self.?o.?x.orValue('z') == 'z' && self.?a.hasValue() && self.m[?'k'].value() == 'v' && !self.m[?'q'].hasValue()",
        "self.items[?1].?x == optional.none() && self.l[?7].orValue(9) == 9",
        "[1, ?self.m[?'q'].optMap(t, size(t))].size() == 1 && {?'a': optional.none(), 'b': 1}.size() == 1",
        "optional.of(3).optMap(x, x + 1).value() == 4 && optional.ofNonZeroValue('').orValue('e') == 'e'",
        "optional.of(1).or(optional.of(2)).value() == 1 && optional.of(1).optFlatMap(x, optional.none()) == optional.none()",
        "self.a in self.l && 'k' in self.m && !('q' in self.m) && !(9 in self.l)",
        "self.a > 2 ? true : self.a / 0 == 1",
        "(self.a / 0 == 1) || true",
        "!(false && self.l[9] == 1)",
        "self.l.exists(x, 6 / (x - 1) == 6)",
        "cel.bind(x, self.a, x + x) == 6",
        "self.d == '50%' && self.d != 50 && string(self.d).endsWith('%')",
        "self.with__dash__dash",
        "type(self.a) == int && type(self.s) == string && type(self.d) == string && type(null) == null_type",
        "int('12') == 12 && string(12) == '12' && double('1.5') == 1.5 && uint(3) == 3u && bool('true') && bytes('a') == b'a'",
        "duration('1h30m') == duration('90m') && duration('90s').getMinutes() == 1 && duration('1h') > duration('1m')",
        "self.when.getFullYear() == 2024 && self.when.getMonth() == 1 && self.when.getDate() == 29 && self.when.getDayOfWeek() == 4",
        "self.when.getHours('+02:00') == 3 && self.when.getMilliseconds() == 500",
        "self.when + duration('24h') == timestamp('2024-03-01T01:02:03.5Z') && self.when - self.when == duration('0s')",
        "[3, 1, 2].sort() == [1, 2, 3] && [1, 2].isSorted() && [1, 2, 3].sum() == 6 && [1, 5].max() == 5 && [1, 5].min() == 1",
        "[1, 2, 1].indexOf(1) == 0 && [1, 2, 1].lastIndexOf(1) == 2 && [1, 1].distinct() == [1] && [[1], [2]].flatten() == [1, 2]",
        "[1, 2, 3].slice(1, 2) == [2] && [1, 2].reverse() == [2, 1] && [1].first().value() == 1 && ['a', 'b'].join('-') == 'a-b'",
        "sets.contains([1, 2], [1]) && sets.equivalent([1, 2], [2, 1]) && !sets.intersects([1], [2])",
        "'a,b'.split(',') == ['a', 'b'] && 'aXbX'.replace('X', '-') == 'a-b-' && 'abc'.substring(1) == 'bc' && 'abc'.charAt(1) == 'b'",
        "'ABC'.lowerAscii() == 'abc' && ' x '.trim() == 'x' && 'hello'.indexOf('l') == 2 && 'hello'.lastIndexOf('l') == 3",
        "'%s=%d %.2f %x %%'.format(['a', 3, 1.0, 255]) == 'a=3 1.00 ff %'",
        "'abc 123 def 4'.find('[0-9]+') == '123' && 'a1b22'.findAll('[0-9]+') == ['1', '22'] && 'a1b2'.findAll('[0-9]', 1) == ['1']",
        "url('https://u@a.b:80/p%20q?x=1&x=2').getHost() == 'a.b:80' && url('https://a.b:80/').getPort() == '80'",
        "url('https://[::1]:8/p').getHostname() == '::1' && url('https://a/?x=1&x=2').getQuery()['x'] == ['1', '2'] && !isURL('nope')",
        "ip('10.0.0.1').family() == 4 && ip('::1').isLoopback() && !isIP('10.0.0.256') && ip.isCanonical('::1') && !isIP('fe80::1%eth0')",
        "cidr('10.1.2.3/8').containsIP('10.9.9.9') && cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && !isCIDR('10.0.0.0')",
        "cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8') && cidr('10.0.0.0/8').prefixLength() == 8",
        "cidr('10.0.0.1/8').ip() == ip('10.0.0.1') && string(cidr('10.0.0.0/8')) == '10.0.0.0/8'",
        "quantity('1Gi').isGreaterThan(quantity('1G')) && quantity('1k') == quantity('1000') && !isQuantity('1Q')",
        "quantity('1').add(quantity('500m')) == quantity('1500m') && quantity('3').sub(1).asInteger() == 2 && quantity('-1').sign() == -1",
        "semver('1.2.3').isLessThan(semver('1.10.0')) && semver('1.0.0-rc.1').compareTo(semver('1.0.0')) == -1 && !isSemver('1.2')",
        "semver('v1.2', true).minor() == 2 && isSemver('v1', true)",
        "format.dns1123Label().validate('a_b').hasValue() && format.named('uuid').value().validate('nope').hasValue()",
        "!format.dns1123Label().validate('ab').hasValue() && !format.named('nope').hasValue()",
        "[1, 2] + [3] == [1, 2, 3] && {'a': 1}.a == 1 && {'a': 1}['a'] == 1",
        "// what it is for\n true",
    ],
)  # fmt: skip
def test_what_holds(expression: str) -> None:
    assert evaluate(expression) is True


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("self.a / 0 == 1", "division by zero"),
        ("self.l[5] == 1", "index out of bounds: 5"),
        ("self.m['q'] == 'v'", "no such key: q"),
        ("self.o.x == 'a'", "no such key: x"),
        ("9223372036854775807 + self.a > 0", "integer overflow"),
        ("self.d > 5", "no such overload"),
        ("quantity('x').sign() == 0", "quantities must match"),
        ("optional.none().value() == 1", "optional.none() dereference"),
        ("self.s.matches('(')", "error parsing regexp"),
        ("self.l.all(x, 1 / (x - 1) < 9)", "division by zero"),
    ],
)
def test_what_cannot_be_told(expression: str, words: str) -> None:
    with pytest.raises(EvaluationError, match=words.replace("(", r"\(").replace(")", r"\)")):
        evaluate(expression)


@pytest.mark.parametrize(
    ("expression", "shown"),
    [
        ("self.zz", "ERROR: <input>:1:5: undefined field 'zz'\n | self.zz\n | ....^"),
        ("self.a + 's'", "<input>:1:8: found no matching overload for '_+_' applied to '(int, string)'\n | self.a + 's'\n | .......^"),
        ("true &&\n foo(1)", "ERROR: <input>:2:2: undeclared reference to 'foo' (in container '')\n |  foo(1)\n | .^"),
        ("self.s.frob()", "undeclared reference to 'frob'"),
        ("other == 1", "undeclared reference to 'other'"),
        ("self.a ==", "unexpected end"),
        ("self.a === 3", "Syntax error"),
        ("self.a > '1'", "found no matching overload for '_>_' applied to '(int, string)'"),
        ("self.a && true", "found no matching overload for '_&&_'"),
        ("self.s.all(x, true)", "expression of type 'string' cannot be range of a comprehension"),
        ("has(self)", "invalid argument to has() macro"),
        ("self.s.matches(3)", "found no matching overload for 'matches' applied to 'string.(int)'"),
        ("for == 1", "reserved identifier: for"),
        ("'\\q' == 'q'", "invalid escape sequence"),
        ("1 in self.m", "found no matching overload for '@in'"),
    ],
)  # fmt: skip
def test_what_does_not_compile(expression: str, shown: str) -> None:
    with pytest.raises(InvalidExpression) as caught:
        compile_expression(expression, {"self": SELF})
    assert shown in caught.value.shown(expression)


@pytest.mark.parametrize(
    "expression", ["(" * 500 + "1" + ")" * 500, "!" * 500 + "true", "1" + "+1" * 5000, "self" + ".o" * 500, "[" * 500, "x" * 20_000]
)
def test_nothing_is_nested_or_as_long_as_one_likes(expression: str) -> None:
    with pytest.raises(InvalidExpression):
        compile_expression(expression, {"self": DYN})


def test_what_a_run_may_cost_is_bounded() -> None:
    program = compile_expression("self.all(x, self.all(y, x + y >= 0))", {"self": list_of(INT)})
    assert program.evaluate({"self": [1, 2]}, 1000)[1] > 10
    with pytest.raises(CostExceeded, match="actual cost limit exceeded"):
        program.evaluate({"self": list(range(200))}, 10_000)


def test_a_run_ends_in_time_whatever_it_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(1000))
    monkeypatch.setattr("knarr.machinery.cel.program.time.monotonic", lambda: float(next(ticks)))
    program = compile_expression("self.all(x, self.all(y, x + y >= 0))", {"self": list_of(INT)})
    with pytest.raises(CostExceeded, match="takes longer"):
        program.evaluate({"self": list(range(300))}, 10**12)


@pytest.mark.parametrize(
    ("expression", "cheap"),
    [
        ("self.l.all(x, x > 0)", True),
        ("self.l.all(x, self.l.all(y, self.l.all(z, x + y + z > 0)))", False),
        ("self.s.contains('a')", True),
        ("self.m.all(k, self.m[k].matches('a+'))", False),
        ("(has(self.n) ? self.n : []).exists(k, k.contains('/'))", True),
        ("([] + (has(self.n) ? self.n : [])).exists(k, k.contains('/'))", True),
        ("has(self.m) ? self.m == {} : {} == self.m", True),
    ],
)
def test_what_an_expression_may_cost_is_estimated_from_the_sizes_of_types(expression: str, cheap: bool) -> None:
    cost = compile_expression(expression, {"self": SELF}).cost
    assert (cost < 1000) is cheap
    assert compile_expression(expression, {"self": SELF}).evaluate({"self": VALUE}, 10**9)[1] <= cost


def test_a_url_costs_one_to_look_at_however_long_it_may_be() -> None:
    assert compile_expression("isURL(self)", {"self": STRING}).cost <= 2


def test_to_ask_whether_a_field_is_there_costs_no_more_than_to_come_to_its_object() -> None:
    program = compile_expression("has(self.a)", {"self": SELF})
    assert (program.cost, program.evaluate({"self": VALUE}, 100)[1]) == (1, 1)
    program = compile_expression("has(self.o.x)", {"self": SELF})
    assert (program.cost, program.evaluate({"self": VALUE}, 100)[1]) == (2, 2)


def test_an_empty_list_takes_the_type_of_what_it_stands_beside() -> None:
    with pytest.raises(InvalidExpression, match="overload"):
        compile_expression("(has(self.l) ? self.l : []).exists(x, x == 'a')", {"self": SELF})


def test_strings_do_not_grow_without_end() -> None:
    doubling = "self.map(x, 'a')" + ".map(x, x + x)" * 40 + ".size() == 1"
    with pytest.raises((EvaluationError, CostExceeded)):
        compile_expression(doubling, {"self": list_of(INT)}).evaluate({"self": [1]}, 10_000_000)
