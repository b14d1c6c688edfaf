"""Specs gone wrong, the same ones for the same seed: what fingers, editors, programs and enemies make of a good one."""

import re
from collections.abc import Callable, Sequence
from random import Random

VALUES = (
    *("", "~", "true", "no", "-0.1", "0", "-1", "1e-3", "1e400", ".nan", "-.inf", "0x" + "f" * 4000, "1" + "0" * 400),
    *("9" * 5000, "9007199254740993", "1000000", "[]", "{}", "[1, 2]", "[[1], [2]]", "{log: [0, 1]}", "{use: sgd}"),
    *(
        "{range: [-1e308, 1e308]}",
        "{log: [1e-300, 1e300]}",
        "[0, 0]",
        "[1, 1.0, true]",
        "*a",
        "&a x",
        "!!python/name:x",
    ),
    *(
        '"\\ud800"',
        '"a\\e[31mb"',
        '"a\\n::error::b"',
        '"\\u202e"',
        "'=1+1'",
        '"##[error]x"',
        "[red]",
        "é" * 90,
        "|",
        ">",
    ),
    *("auto", "cuda:99", "sgd", "sgd:", ":x", "os:system", "nowhere:X", "all", "a" * 300, "b " * 2000, "- - - -", "<<"),
    *(
        f"[{', '.join(map(str, range(1001)))}]",
        "[" * 500,
        "{a: " * 300,
        "0..9",
        "1_000",
        "10:30",
        "2026-01-01",
        "?",
        "%",
    ),
)
CHARACTERS = (
    "\x00\x07\x08\x0c\x1b\x7f\x85\x9b\xa0\u00ad\u200b\u2028\u202e\u2066\ufeff\ufffe\U000e0001\t\r\n'\"#:{}[]&*!|>%@`é漢"
)

_TOKEN = re.compile(r"[\w.+-]+")


def mutated(text: str, rng: Random) -> bytes:
    """A text with one to three things gone wrong in it."""
    for _ in range(rng.randint(1, 3)):
        text = rng.choice(_ON_TEXT)(text, rng)
    content = text.encode("utf-8", errors="surrogatepass")
    return rng.choice(_ON_BYTES)(content, rng) if rng.random() < 0.1 else content


def _span(size: int, rng: Random, most: int) -> tuple[int, int]:
    start = rng.randint(0, size)
    return start, min(size, start + rng.randint(1, most))


def _token(text: str, rng: Random) -> tuple[int, int]:
    found = list(_TOKEN.finditer(text))
    return rng.choice(found).span() if found else (0, 0)


def _line(text: str, rng: Random, change: Callable[[str], str]) -> str:
    lines = text.split("\n")
    place = rng.randrange(len(lines))
    lines[place] = change(lines[place])
    return "\n".join(lines)


def _delete(text: str, rng: Random) -> str:
    start, end = _span(len(text), rng, 40)
    return text[:start] + text[end:]


def _repeat(text: str, rng: Random) -> str:
    start, end = _span(len(text), rng, 60)
    return text[:end] + text[start:end] * rng.choice((1, 2, 50)) + text[end:]


def _insert(text: str, rng: Random) -> str:
    start = rng.randint(0, len(text))
    return text[:start] + rng.choice(CHARACTERS) * rng.choice((1, 1, 3)) + text[start:]


def _new_token(text: str, rng: Random) -> str:
    start, end = _token(text, rng)
    return text[:start] + rng.choice(VALUES) + text[end:]


def _swapped_tokens(text: str, rng: Random) -> str:
    (start, end), (begin, stop) = sorted((_token(text, rng), _token(text, rng)))
    if end > begin:
        return text
    return text[:start] + text[begin:stop] + text[end:begin] + text[start:end] + text[stop:]


def _new_value(text: str, rng: Random) -> str:
    """The value of a line that has a key."""
    return _line(text, rng, lambda line: f"{line.partition(':')[0]}: {rng.choice(VALUES)}" if ":" in line else line)


def _nested(text: str, rng: Random) -> str:
    start, end = _token(text, rng)
    deep = rng.choice((1, 3, 60, 3000))
    opened, closed = rng.choice((("[", "]"), ("{a: ", "}")))
    return text[:start] + opened * deep + text[start:end] + closed * deep + text[end:]


def _moved(text: str, rng: Random) -> str:
    return _line(text, rng, lambda line: rng.choice((" ", "  ", "\t", "- ", "# ")) + line)


def _lines_doubled(text: str, rng: Random) -> str:
    return _line(text, rng, lambda line: "\n".join([line] * rng.choice((2, 300))))


def _lines_swapped(text: str, rng: Random) -> str:
    lines = text.split("\n")
    one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    return "\n".join(lines)


def _cut(text: str, rng: Random) -> str:
    return text[: rng.randint(0, len(text))]


def _flipped(content: bytes, rng: Random) -> bytes:
    changed = bytearray(content or b"x")
    for _ in range(rng.randint(1, 8)):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _in_utf16(content: bytes, rng: Random) -> bytes:
    return content.decode(errors="replace").encode(rng.choice(("utf-16", "utf-16-be", "latin-1")), errors="replace")


def _filled(content: bytes, rng: Random) -> bytes:
    return content + rng.randbytes(rng.choice((1, 200, 120_000)))


_ON_TEXT: Sequence[Callable[[str, Random], str]] = (
    *(_new_token, _new_value, _new_token, _new_value, _swapped_tokens, _nested),
    *(_delete, _repeat, _insert, _moved, _lines_doubled, _lines_swapped, _cut),
)
_ON_BYTES: Sequence[Callable[[bytes, Random], bytes]] = (_flipped, _flipped, _in_utf16, _filled)
