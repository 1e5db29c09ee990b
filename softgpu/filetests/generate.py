#!/usr/bin/env python3
"""Writes cases/*.ptx: instructions, inputs and what the PTX ISA says they give.

The results are computed here, on integers and fractions, by the definitions in the PTX ISA; nothing of the
engine is used.
"""
import itertools
import os
import random
import re
from fractions import Fraction

from formats import BF16, F16, F32, F64, TF32, add, div, minmax, mul, neg, negative, number, root

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "cases")


class File:
    """A file of cases."""

    def __init__(self, name, title):
        self.name, self.lines, self.signature = name, [f"//: {title}", "//: Written by generate.py."], None
        self.random = random.Random(name)

    def form(self, text, inputs, outputs, cases):
        """Instructions, the types of inputs and outputs, and pairs of their values."""
        signature = f"// in: {' '.join(inputs)} out: {' '.join(outputs)}"
        if signature != self.signature:
            self.lines += ["", signature]
            self.signature = signature
        self.lines += ["", text]
        for values, results in cases:
            words = lambda types, values: " ".join(
                f"{v & ((1 << width(t)) - 1):0{(width(t) + 3) // 4}x}" for t, v in zip(types, values))
            self.lines.append(f"// {words(inputs, values)} = {words(outputs, results)}")

    def close(self):
        with open(os.path.join(FOLDER, self.name + ".ptx"), "w") as file:
            file.write("\n".join(self.lines) + "\n")

    def numbers(self, bits, count):
        """Numbers with the edges of the width among them."""
        edges = [0, 1, (1 << bits) - 1, 1 << bits - 1, (1 << bits - 1) - 1, 5, 1 << bits // 2]
        picks = [self.random.getrandbits(bits) for _ in range(4)]
        return [self.random.choice(edges + picks + [self.random.getrandbits(bits)]) for _ in range(count)]

    def rows(self, widths, count=8):
        return list(zip(*(self.numbers(bits, count) for bits in widths)))

    def map(self, text, inputs, output, function, rows=None, count=8):
        """A form of one result."""
        rows = rows or self.rows([width(t) for t in inputs], count)
        outputs = output if isinstance(output, list) else [output]
        wrap = (lambda r: r) if isinstance(output, list) else (lambda r: [r])
        self.form(text, inputs, outputs, [(row, wrap(function(*row))) for row in rows])


def width(ty):
    return 1 if ty == "pred" else int(ty[1:])


def signed(value, bits):
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> bits - 1 else value


def clamp(value, low, high):
    return max(low, min(high, value))


class Int:
    """An integer type of PTX."""

    def __init__(self, name):
        self.name, self.bits, self.signed = name, int(re.sub(r"\D", "", name)), name[0] == "s"
        self.reg = f"b{self.bits}"
        self.low, self.high = (-(1 << self.bits - 1), (1 << self.bits - 1) - 1) if self.signed else (0, (1 << self.bits) - 1)

    def value(self, bits):
        return signed(bits, self.bits) if self.signed else bits & ((1 << self.bits) - 1)


INTS = [Int(name) for name in ("u16", "s16", "u32", "s32", "u64", "s64")]
WORDS = [t for t in INTS if t.bits >= 32]


def quotient(a, b):
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def remainder(a, b):
    return a - b * quotient(a, b)


class Op:
    """Operations by name on values, with the rounding mode."""
    add = staticmethod(lambda m, x, y: add(x, y, m))
    sub = staticmethod(lambda m, x, y: add(x, neg(y), m))
    mul = staticmethod(lambda m, x, y: mul(x, y))
    div = staticmethod(lambda m, x, y: div(x, y))
    fma = staticmethod(lambda m, x, y, z: add(mul(x, y), z, m))
    rcp = staticmethod(lambda m, x: div(Fraction(1), x))
    sqrt = staticmethod(lambda m, x: root(x))


def compute(fmt, name, mode, ftz, clampto, bits):
    """Result bits of an operation on operand bits."""
    operands = [fmt.value(fmt.flush(b) if ftz else b) for b in bits]
    value = getattr(Op, name)(mode, *operands)
    if clampto == "sat":
        value = Fraction(0) if value == "nan" or negative(value) else minmax(value, Fraction(1), False, False)
    if clampto == "relu" and value != "nan" and negative(value):
        value = Fraction(0)
    result = fmt.round(value, mode)
    return fmt.flush(result) if ftz else result


def samples(fmt, rng, count, nan=True):
    one = fmt.bias << fmt.mantissa
    edges = [0, fmt.sign, 1, fmt.sign | 1, (1 << fmt.mantissa) - 1, 1 << fmt.mantissa, fmt.largest, fmt.top,
             fmt.sign | fmt.top, one, one | fmt.sign, one + 1, one - 1]
    if nan:
        edges.append(fmt.nan)
    near = lambda: ((fmt.bias + rng.randint(-3, 3)) << fmt.mantissa | rng.getrandbits(fmt.mantissa)) | (
        fmt.sign if rng.getrandbits(1) else 0)
    return [rng.choice(edges) if rng.random() < 0.35 else near() for _ in range(count)]


def pairs(fmt, function, *words):
    """A function on each half of words."""
    low = function(*(w & 0xffff for w in words))
    return function(*(w >> 16 for w in words)) << 16 | low


# --- the files --------------------------------------------------------------

def integer():
    f = File("integer", "Integer arithmetic.")
    for t in INTS:
        r, v = t.reg, t.value
        f.map(f"add.{t.name} %o0, %i0, %i1;", [r, r], r, lambda a, b: a + b)
        f.map(f"sub.{t.name} %o0, %i0, %i1;", [r, r], r, lambda a, b: a - b)
        f.map(f"mul.lo.{t.name} %o0, %i0, %i1;", [r, r], r, lambda a, b: a * b)
        f.map(f"mul.hi.{t.name} %o0, %i0, %i1;", [r, r], r, lambda a, b: v(a) * v(b) >> t.bits)
        f.map(f"mad.lo.{t.name} %o0, %i0, %i1, %i2;", [r] * 3, r, lambda a, b, c: a * b + c)
        f.map(f"mad.hi.{t.name} %o0, %i0, %i1, %i2;", [r] * 3, r, lambda a, b, c: (v(a) * v(b) >> t.bits) + c)
        f.map(f"sad.{t.name} %o0, %i0, %i1, %i2;", [r] * 3, r, lambda a, b, c: c + abs(v(a) - v(b)))
        f.map(f"min.{t.name} %o0, %i0, %i1;", [r, r], r, lambda a, b: min(v(a), v(b)))
        f.map(f"max.{t.name} %o0, %i0, %i1;", [r, r], r, lambda a, b: max(v(a), v(b)))
        nonzero = [(a, b or 3) for a, b in f.rows([t.bits] * 2) if not (v(a) == t.low and v(b) == -1)]
        f.map(f"div.{t.name} %o0, %i0, %i1;", [r, r], r, lambda a, b: quotient(v(a), v(b)), nonzero)
        f.map(f"rem.{t.name} %o0, %i0, %i1;", [r, r], r, lambda a, b: remainder(v(a), v(b)), nonzero)
        if t.bits < 64:
            w = f"b{t.bits * 2}"
            f.map(f"mul.wide.{t.name} %o0, %i0, %i1;", [r, r], w, lambda a, b: v(a) * v(b))
            f.map(f"mad.wide.{t.name} %o0, %i0, %i1, %i2;", [r, r, w], w, lambda a, b, c: v(a) * v(b) + c)
        if t.signed:
            f.map(f"abs.{t.name} %o0, %i0;", [r], r, lambda a: abs(v(a)))
            f.map(f"neg.{t.name} %o0, %i0;", [r], r, lambda a: -v(a))
    low24 = lambda t, a: signed(a, 24) if t.signed else a & 0xffffff
    for t in (Int("u32"), Int("s32")):
        r = "b32"
        f.map(f"mul24.lo.{t.name} %o0, %i0, %i1;", [r, r], r, lambda a, b: low24(t, a) * low24(t, b))
        f.map(f"mul24.hi.{t.name} %o0, %i0, %i1;", [r, r], r, lambda a, b: low24(t, a) * low24(t, b) >> 16)
        f.map(f"mad24.lo.{t.name} %o0, %i0, %i1, %i2;", [r] * 3, r, lambda a, b, c: low24(t, a) * low24(t, b) + c)
        f.map(f"mad24.hi.{t.name} %o0, %i0, %i1, %i2;", [r] * 3, r, lambda a, b, c: (low24(t, a) * low24(t, b) >> 16) + c)
    s32 = Int("s32")
    sat = lambda x: clamp(x, s32.low, s32.high)
    f.map("add.sat.s32 %o0, %i0, %i1;", ["b32"] * 2, "b32", lambda a, b: sat(s32.value(a) + s32.value(b)))
    f.map("sub.sat.s32 %o0, %i0, %i1;", ["b32"] * 2, "b32", lambda a, b: sat(s32.value(a) - s32.value(b)))
    f.map("mad.hi.sat.s32 %o0, %i0, %i1, %i2;", ["b32"] * 3, "b32",
          lambda a, b, c: sat((s32.value(a) * s32.value(b) >> 32) + s32.value(c)))
    f.map("mad24.hi.sat.s32 %o0, %i0, %i1, %i2;", ["b32"] * 3, "b32",
          lambda a, b, c: sat((low24(s32, a) * low24(s32, b) >> 16) + s32.value(c)))
    for name, function in (("add", lambda x, y: x + y), ("min", min), ("max", max)):
        for t in (Int("u16"), Int("s16")):
            f.map(f"{name}.{t.name}x2 %o0, %i0, %i1;", ["b32"] * 2, "b32",
                  lambda a, b: pairs(None, lambda x, y: function(t.value(x), t.value(y)) & 0xffff, a, b))
    for name, function in (("min", min), ("max", max)):
        f.map(f"{name}.relu.s32 %o0, %i0, %i1;", ["b32"] * 2, "b32", lambda a, b: max(0, function(s32.value(a), s32.value(b))))
        f.map(f"{name}.relu.s16x2 %o0, %i0, %i1;", ["b32"] * 2, "b32",
              lambda a, b: pairs(None, lambda x, y: max(0, function(signed(x, 16), signed(y, 16))), a, b))
    f.close()

    f = File("bits", "Bits: logic, shifts, fields, permutations.")
    for bits in (32, 64):
        r = f"b{bits}"
        f.map(f"popc.{r} %o0, %i0;", [r], "b32", lambda a: bin(a).count("1"))
        f.map(f"clz.{r} %o0, %i0;", [r], "b32", lambda a: bits - a.bit_length())
        f.map(f"brev.{r} %o0, %i0;", [r], r, lambda a: int(f"{a:0{bits}b}"[::-1], 2))
        f.map(f"bfi.{r} %o0, %i0, %i1, %i2, %i3;", [r, r, "b32", "b32"], r, lambda a, b, p, n: insert_field(bits, a, b, p & 255, n & 255),
              [(a, b, f.random.choice((0, 3, 7, bits - 1, bits, 255)), f.random.choice((0, 1, 5, bits, 255))) for a, b in f.rows([bits] * 2, 12)])
    for t in WORDS:
        r, v = t.reg, t.value
        top = lambda a: (v(a) if v(a) >= 0 else ~v(a)).bit_length() - 1
        f.map(f"bfind.{t.name} %o0, %i0;", [r], "b32", lambda a: top(a))
        f.map(f"bfind.shiftamt.{t.name} %o0, %i0;", [r], "b32", lambda a: t.bits - 1 - top(a) if top(a) >= 0 else -1)
        f.map(f"bfe.{t.name} %o0, %i0, %i1, %i2;", [r, "b32", "b32"], r, lambda a, p, n: extract_field(t, a, p & 255, n & 255),
              [(a, f.random.choice((0, 3, 7, t.bits - 1, t.bits, 255)), f.random.choice((0, 1, 5, t.bits, 255))) for a, in f.rows([t.bits], 12)])
    for bits in (16, 32, 64):
        r, mask = f"b{bits}", (1 << bits) - 1
        f.map(f"and.{r} %o0, %i0, %i1;", [r, r], r, lambda a, b: a & b)
        f.map(f"or.{r} %o0, %i0, %i1;", [r, r], r, lambda a, b: a | b)
        f.map(f"xor.{r} %o0, %i0, %i1;", [r, r], r, lambda a, b: a ^ b)
        f.map(f"not.{r} %o0, %i0;", [r], r, lambda a: ~a)
        f.map(f"cnot.{r} %o0, %i0;", [r], r, lambda a: int(a == 0))
        amounts = [(a, f.random.choice((0, 1, 5, bits - 1, bits, bits + 1, 0xffffffff))) for a, in f.rows([bits], 10)]
        f.map(f"shl.{r} %o0, %i0, %i1;", [r, "b32"], r, lambda a, n: a << min(n, bits), amounts)
        for name in (f"b{bits}", f"u{bits}", f"s{bits}"):
            value = (lambda a: signed(a, bits)) if name[0] == "s" else (lambda a: a)
            f.map(f"shr.{name} %o0, %i0, %i1;", [r, "b32"], r, lambda a, n: value(a) >> min(n, bits), amounts)
    rows = list(itertools.product((0, 1), repeat=2))
    for name, function in (("and", lambda a, b: a & b), ("or", lambda a, b: a | b), ("xor", lambda a, b: a ^ b)):
        f.map(f"{name}.pred %o0, %i0, %i1;", ["pred"] * 2, "pred", function, rows)
    f.map("not.pred %o0, %i0;", ["pred"], "pred", lambda a: 1 - a, [(0,), (1,)])
    for mode in ("clamp", "wrap"):
        shown = [(a, b, f.random.choice((0, 1, 9, 31, 32, 33, 64, 0xffffffff))) for a, b in f.rows([32] * 2, 10)]
        by = (lambda n: min(n, 32)) if mode == "clamp" else (lambda n: n & 31)
        f.map(f"shf.l.{mode}.b32 %o0, %i0, %i1, %i2;", ["b32"] * 3, "b32", lambda a, b, n: (b << 32 | a) << by(n) >> 32, shown)
        f.map(f"shf.r.{mode}.b32 %o0, %i0, %i1, %i2;", ["b32"] * 3, "b32", lambda a, b, n: (b << 32 | a) >> by(n), shown)
        part = [(f.random.choice((0, 1, 9, 31, 32, 40)), f.random.choice((0, 1, 9, 31, 32, 40))) for _ in range(10)]
        f.map(f"bmsk.{mode}.b32 %o0, %i0, %i1;", ["b32"] * 2, "b32",
              (lambda a, b: 0 if a >= 32 else ((1 << min(b, 32)) - 1) << a) if mode == "clamp" else (lambda a, b: ((1 << (b & 31)) - 1) << (a & 31)), part)
        for t in (Int("u32"), Int("s32")):
            extend = lambda a, n: 0 if n == 0 else (signed(a, n) if t.signed else a & (1 << n) - 1)
            sizes = [(a, f.random.choice((0, 1, 7, 31, 32, 40))) for a, in f.rows([32], 10)]
            f.map(f"szext.{mode}.{t.name} %o0, %i0, %i1;", ["b32"] * 2, "b32", lambda a, n: extend(a, by(n)), sizes)
    for name, mode in (("", "index"), (".f4e", "f4e"), (".b4e", "b4e"), (".rc8", "rc8"), (".ecl", "ecl"), (".ecr", "ecr"), (".rc16", "rc16")):
        f.map(f"prmt.b32{name} %o0, %i0, %i1, %i2;", ["b32"] * 3, "b32", lambda a, b, c: permute(mode, a, b, c),
              [(0x33221100, 0x77e65544, c) for c in (0, 1, 2, 3, 0x7654, 0x3210, 0xfedc, 0x0987)])
    for lut in (0x00, 0x01, 0x80, 0x96, 0xca, 0xe8, 0xff, 0x2a):
        f.map(f"lop3.b32 %o0, %i0, %i1, %i2, {lut:#x};", ["b32"] * 3, "b32", lambda a, b, c: lop3(lut, a, b, c), count=4)
    for op, function in (("or", lambda x, q: x | q), ("and", lambda x, q: x & q)):
        f.map(f"lop3.{op}.b32 %o0|%o1, %i0, %i1, %i2, 0x80, %i3;", ["b32"] * 3 + ["pred"], ["b32", "pred"],
              lambda a, b, c, q: [a & b & c, function(int(a & b & c != 0), q)], [(a, b, c, q) for (a, b, c), q in zip(f.rows([32] * 3), (0, 1) * 4)])
    f.map("fns.b32 %o0, %i0, %i1, %i2;", ["b32"] * 3, "b32", fns,
          [(m, base, n & 0xffffffff) for m in (0xf0f01234, 0, 1 << 31) for base in (0, 9, 31) for n in (-3, -1, 0, 1, 2, 4)])
    for a_ty, b_ty in itertools.product((Int("u32"), Int("s32")), repeat=2):
        part = lambda t, x, n, bits: signed(x >> n * bits, bits) if t.signed else x >> n * bits & (1 << bits) - 1
        f.map(f"dp4a.{a_ty.name}.{b_ty.name} %o0, %i0, %i1, %i2;", ["b32"] * 3, "b32",
              lambda a, b, c: c + sum(part(a_ty, a, i, 8) * part(b_ty, b, i, 8) for i in range(4)))
        for name, first in (("lo", 0), ("hi", 2)):
            f.map(f"dp2a.{name}.{a_ty.name}.{b_ty.name} %o0, %i0, %i1, %i2;", ["b32"] * 3, "b32",
                  lambda a, b, c: c + sum(part(a_ty, a, i, 16) * part(b_ty, b, first + i, 8) for i in range(2)))
    f.close()

    f = File("carry", "Chains through the carry flag.")
    for t in WORDS:
        r, n, m = t.reg, t.bits, (1 << t.bits) - 1
        both = lambda lo, hi: hi << n | lo
        halves = lambda x: [x & m, x >> n & m]
        text = f"add.cc.{t.name} %o0, %i0, %i2;\naddc.{t.name} %o1, %i1, %i3;"
        f.map(text, [r] * 4, [r, r], lambda a, b, c, d: halves(both(a, b) + both(c, d)))
        text = f"sub.cc.{t.name} %o0, %i0, %i2;\nsubc.cc.{t.name} %o1, %i1, %i3;"
        f.map(text, [r] * 4, [r, r], lambda a, b, c, d: halves(both(a, b) - both(c, d)))
        text = (f"add.cc.{t.name} %o0, %i0, %i2;\naddc.cc.{t.name} %o1, %i1, %i3;\naddc.{t.name} %o2, 0, 0;")
        f.map(text, [r] * 4, [r, r, r], lambda a, b, c, d: halves(both(a, b) + both(c, d)) + [both(a, b) + both(c, d) >> 2 * n])
        v = t.value
        text = f"mad.lo.cc.{t.name} %o0, %i0, %i1, %i2;\nmadc.hi.{t.name} %o1, %i0, %i1, %i3;"
        f.map(text, [r] * 4, [r, r], lambda a, b, c, d: halves(v(a) * v(b) + both(c, d)))
        text = f"mad.hi.cc.{t.name} %o0, %i0, %i1, %i2;\naddc.{t.name} %o1, %i3, 0;"
        f.map(text, [r] * 4, [r, r], lambda a, b, c, d: (lambda h: [h + c & m, d + (((h & m) + c) >> n)])(v(a) * v(b) >> n))
        text = f"add.cc.{t.name} %o0, %i0, %i1;\nmadc.lo.cc.{t.name} %o0, %i2, %i3, %i0;\naddc.{t.name} %o1, 0, 0;"
        f.map(text, [r] * 4, [r, r], lambda a, b, c, d: (lambda s: [s & m, s >> n])((c * d & m) + a + (a + b >> n)))
    f.close()


def insert_field(bits, a, b, position, length):
    mask = ((1 << length) - 1) << position & (1 << bits) - 1
    return b & ~mask | a << position & mask


def extract_field(t, a, position, length):
    last = min(position + length - 1, t.bits - 1)
    sign = (a >> last & 1) if t.signed and length else 0
    if length == 0:
        return 0
    result = 0
    for i in range(t.bits):
        bit = a >> position + i & 1 if i < length and position + i < t.bits else sign
        result |= bit << i
    return result


def permute(mode, a, b, c):
    data = (b << 32 | a).to_bytes(8, "little")
    n = c & 3
    chosen = {
        "f4e": [n, n + 1, n + 2, n + 3], "b4e": [n, n - 1, n - 2, n - 3], "rc8": [n] * 4,
        "ecl": [max(i, n) for i in range(4)], "ecr": [min(i, n) for i in range(4)], "rc16": [(n & 1) * 2 + i % 2 for i in range(4)],
    }.get(mode)
    if chosen:
        return int.from_bytes(bytes(data[i % 8] for i in chosen), "little")
    result = 0
    for i in range(4):
        selector = c >> 4 * i & 15
        byte = data[selector & 7]
        result |= ((255 if byte >> 7 else 0) if selector & 8 else byte) << 8 * i
    return result


def lop3(lut, a, b, c):
    return sum((lut >> ((a >> i & 1) << 2 | (b >> i & 1) << 1 | c >> i & 1) & 1) << i for i in range(32))


def fns(mask, base, offset):
    offset = signed(offset, 32)
    if offset == 0:
        return base if mask >> base & 1 else -1
    step, left, position = (1 if offset > 0 else -1), abs(offset), base
    while 0 <= position < 32:
        if mask >> position & 1:
            left -= 1
            if left == 0:
                return position
        position += step
    return -1


COMPARE = {
    "eq": lambda a, b: a == b, "ne": lambda a, b: a != b, "lt": lambda a, b: a < b, "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b, "ge": lambda a, b: a >= b,
}
UNSIGNED = {"lo": "lt", "ls": "le", "hi": "gt", "hs": "ge"}


def float_compare(name, x, y):
    unordered = "nan" in (x, y)
    if name in ("num", "nan"):
        return unordered == (name == "nan")
    if unordered:
        return name.endswith("u") and name != "eq"
    order = lambda v: {"inf": Fraction(10) ** 400, "-inf": -Fraction(10) ** 400}.get(v, number(v)) if isinstance(v, str) else v
    return COMPARE[name.removesuffix("u")](order(x), order(y))


FLOAT_COMPARE = [*COMPARE, "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan"]


def comparison():
    f = File("compare", "Comparison and selection.")
    for t in INTS:
        for name in COMPARE:
            f.map(f"setp.{name}.{t.name} %o0, %i0, %i1;", [t.reg] * 2, "pred",
                  lambda a, b: COMPARE[name](t.value(a), t.value(b)), [*f.rows([t.bits] * 2, 5), (7, 7)])
    for name, same in UNSIGNED.items():
        f.map(f"setp.{name}.u32 %o0, %i0, %i1;", ["b32"] * 2, "pred", lambda a, b: COMPARE[same](a, b))
    bool_ops = {"and": lambda x, q: x & q, "or": lambda x, q: x | q, "xor": lambda x, q: x ^ q}
    for name, function in bool_ops.items():
        f.map(f"setp.lt.{name}.s32 %o0|%o1, %i0, %i1, !%i2;", ["b32", "b32", "pred"], ["pred", "pred"],
              lambda a, b, q: (lambda less: [function(less, 1 - q), function(1 - less, 1 - q)])(int(signed(a, 32) < signed(b, 32))),
              [(a, b, q) for a, b in ((1, 2), (2, 1), (0xffffffff, 0)) for q in (0, 1)])
    for t in (Int("s16"), Int("u32"), Int("s64")):
        for to, one in (("u32", 0xffffffff), ("s32", 0xffffffff), ("f32", 0x3f800000)):
            f.map(f"set.gt.{to}.{t.name} %o0, %i0, %i1;", [t.reg] * 2, "b32", lambda a, b: one * (t.value(a) > t.value(b)))
    for fmt in (F32, F64, F16, BF16):
        for name in FLOAT_COMPARE:
            values = samples(fmt, f.random, 12)
            rows = [*zip(values[::2], values[1::2]), (fmt.nan, 0), (fmt.sign, 0), (fmt.top, fmt.top)]
            f.map(f"setp.{name}.{fmt.name} %o0, %i0, %i1;", [fmt.reg] * 2, "pred",
                  lambda a, b: float_compare(name, fmt.value(a), fmt.value(b)), rows)
        for to, one in (("u32", 0xffffffff), ("f32", 0x3f800000)):
            if fmt.bits > 16 or to == "u32":
                f.map(f"set.geu.{to}.{fmt.name} %o0, %i0, %i1;", [fmt.reg] * 2, "b32",
                      lambda a, b: one * float_compare("geu", fmt.value(a), fmt.value(b)), rows)
    f.map("setp.gt.ftz.f32 %o0, %i0, %i1;", ["b32"] * 2, "pred", lambda a, b: float_compare("gt", F32.value(F32.flush(a)), F32.value(F32.flush(b))),
          [(1, 0), (0x00800000, 1), (0x3f800000, 0)])
    for fmt in (F16, BF16):
        one = fmt.bias << fmt.mantissa
        words = [(a | b << 16, c | d << 16) for a, b, c, d in zip(*(samples(fmt, f.random, 8) for _ in range(4)))]
        both = lambda name, a, b: [float_compare(name, fmt.value(a & 0xffff), fmt.value(b & 0xffff)), float_compare(name, fmt.value(a >> 16), fmt.value(b >> 16))]
        for name in ("eq", "lt", "neu", "ge", "nan"):
            f.map(f"setp.{name}.{fmt.name}x2 %o0|%o1, %i0, %i1;", ["b32"] * 2, ["pred", "pred"], lambda a, b: both(name, a, b), words)
            f.map(f"set.{name}.{fmt.name}x2.{fmt.name}x2 %o0, %i0, %i1;", ["b32"] * 2, "b32",
                  lambda a, b: sum(one * bit << 16 * i for i, bit in enumerate(both(name, a, b))), words)
    for bits in (16, 32, 64):
        r = f"b{bits}"
        f.map(f"selp.{r} %o0, %i0, %i1, %i2;", [r, r, "pred"], r, lambda a, b, p: a if p else b, [(a, b, p) for (a, b), p in zip(f.rows([bits] * 2), (0, 1) * 4)])
        f.map(f"slct.{r}.s32 %o0, %i0, %i1, %i2;", [r, r, "b32"], r, lambda a, b, c: a if signed(c, 32) >= 0 else b)
        f.map(f"slct.{r}.f32 %o0, %i0, %i1, %i2;", [r, r, "b32"], r,
              lambda a, b, c: a if float_compare("ge", F32.value(c), Fraction(0)) else b, [(1, 2, c) for c in samples(F32, f.random, 8)] + [(1, 2, F32.nan), (1, 2, F32.sign)])
    f.map("slct.ftz.b32.f32 %o0, %i0, %i1, %i2;", ["b32"] * 3, "b32", lambda a, b, c: a if float_compare("ge", F32.value(F32.flush(c)), Fraction(0)) else b,
          [(1, 2, 0x80000001), (1, 2, 0x80800000), (1, 2, 0)])
    tests = {
        "finite": lambda fmt, x: x not in ("nan", "inf", "-inf"), "infinite": lambda fmt, x: x in ("inf", "-inf"),
        "number": lambda fmt, x: x != "nan", "notanumber": lambda fmt, x: x == "nan",
    }
    for fmt in (F32, F64):
        values = [0, fmt.sign, 1, fmt.sign | 1, 1 << fmt.mantissa, fmt.largest, fmt.top, fmt.sign | fmt.top, fmt.nan, fmt.bias << fmt.mantissa]
        for name, test in tests.items():
            f.map(f"testp.{name}.{fmt.name} %o0, %i0;", [fmt.reg], "pred", lambda a: test(fmt, fmt.value(a)), [(v,) for v in values])
        f.map(f"testp.normal.{fmt.name} %o0, %i0;", [fmt.reg], "pred", lambda a: 0 < a & fmt.top < fmt.top, [(v,) for v in values])
        f.map(f"testp.subnormal.{fmt.name} %o0, %i0;", [fmt.reg], "pred", fmt.subnormal, [(v,) for v in values])
    f.close()


def floating():
    f = File("float", "Floating-point arithmetic, correctly rounded.")
    modes = ("rn", "rz", "rm", "rp")
    for fmt in (F32, F64):
        flags = [("", False, ""), (".ftz", True, ""), (".sat", False, "sat"), (".ftz.sat", True, "sat")] if fmt is F32 else [("", False, "")]
        for name, count in (("add", 2), ("sub", 2), ("mul", 2), ("fma", 3), ("div", 2), ("rcp", 1), ("sqrt", 1)):
            for mode, (suffix, ftz, limit) in itertools.product(modes, flags):
                if limit and name in ("div", "rcp", "sqrt"):
                    continue
                rows = list(zip(*(samples(fmt, f.random, 10, nan=fmt is F32) for _ in range(count))))
                result = lambda *bits: compute(fmt, name, mode, ftz, limit, bits)
                # The bits of a NaN of 64 bits are not defined.
                rows = [row for row in rows if fmt is F32 or result(*row) != fmt.nan]
                operands = ", ".join(f"%i{i}" for i in range(count))
                f.map(f"{name}.{mode}{suffix}.{fmt.name} %o0, {operands};", [fmt.reg] * count, fmt.reg, result, rows)
    f.close()

    f = File("half", "Floating-point arithmetic of 16 bits.")
    for fmt in (F16, BF16):
        for name, count in (("add", 2), ("sub", 2), ("mul", 2), ("fma", 3)):
            limits = [("", False, "")]
            if fmt is F16:
                limits += [(".ftz", True, ""), (".sat", False, "sat"), (".ftz.sat", True, "sat")]
            if name == "fma":
                limits += [(".relu", False, "relu")]
            for suffix, ftz, limit in limits:
                operands = ", ".join(f"%i{i}" for i in range(count))
                result = lambda *bits: compute(fmt, name, "rn", ftz, limit, bits)
                rows = list(zip(*(samples(fmt, f.random, 10) for _ in range(count))))
                f.map(f"{name}.rn{suffix}.{fmt.name} %o0, {operands};", ["b16"] * count, "b16", result, rows)
                rows = list(zip(*([a | b << 16 for a, b in zip(samples(fmt, f.random, 6), samples(fmt, f.random, 6))] for _ in range(count))))
                f.map(f"{name}.rn{suffix}.{fmt.name}x2 %o0, {operands};", ["b32"] * count, "b32", lambda *words: pairs(fmt, result, *words), rows)
    f.close()

    f = File("minmax", "Minima, maxima and signs of floating-point numbers.")
    for fmt in (F32, F64, F16, BF16):
        forms = [("", False, False, False)]
        if fmt is not F64:
            forms += [(".NaN", False, True, False), (".xorsign.abs", False, False, True), (".NaN.xorsign.abs", False, True, True)]
        if fmt in (F32, F16):
            forms += [(".ftz", True, False, False), (".ftz.NaN", True, True, False)]
        for (suffix, ftz, propagate, xorsign), (name, largest) in itertools.product(forms, (("min", False), ("max", True))):
            def result(a, b):
                signs = (a ^ b) & fmt.sign
                x, y = (fmt.value(fmt.flush(v) if ftz else v) for v in (a, b))
                if xorsign:
                    x, y = (neg(v) if negative(v) else v for v in (x, y))
                    bits = fmt.round(minmax(x, y, largest, propagate))
                    return bits if bits & (fmt.sign - 1) > fmt.top else bits | signs
                return fmt.round(minmax(x, y, largest, propagate))
            rows = list(zip(samples(fmt, f.random, 8), samples(fmt, f.random, 8)))
            if not xorsign:
                rows += [(0, fmt.sign), (fmt.sign, 0), (fmt.nan, 5 << fmt.mantissa)]
            rows = [row for row in rows if fmt is not F64 or fmt.nan not in row]
            # With `.xorsign` the sign of a NaN is nobody's business.
            rows = [row for row in rows if not xorsign or fmt.nan not in row]
            f.map(f"{name}{suffix}.{fmt.name} %o0, %i0, %i1;", [fmt.reg] * 2, fmt.reg, result, rows)
            if fmt.bits == 16:
                words = [(a[0] | b[0] << 16, a[1] | b[1] << 16) for a, b in zip(rows, rows[1:])]
                f.map(f"{name}{suffix}.{fmt.name}x2 %o0, %i0, %i1;", ["b32"] * 2, "b32", lambda a, b: pairs(fmt, result, a, b), words)
        finite = [(v,) for v in samples(fmt, f.random, 8, nan=False)]
        f.map(f"neg.{fmt.name} %o0, %i0;", [fmt.reg], fmt.reg, lambda a: a ^ fmt.sign, finite)
        f.map(f"abs.{fmt.name} %o0, %i0;", [fmt.reg], fmt.reg, lambda a: a & ~fmt.sign, finite)
        if fmt.bits == 16:
            f.map(f"neg.{fmt.name}x2 %o0, %i0;", ["b32"], "b32", lambda a: a ^ 0x80008000, [(a << 16 | b,) for (a,), (b,) in zip(finite, finite[1:])])
            f.map(f"abs.{fmt.name}x2 %o0, %i0;", ["b32"], "b32", lambda a: a & 0x7fff7fff, [(a << 16 | b,) for (a,), (b,) in zip(finite, finite[1:])])
        else:
            f.map(f"copysign.{fmt.name} %o0, %i0, %i1;", [fmt.reg] * 2, fmt.reg, lambda a, b: b & ~fmt.sign | a & fmt.sign)
    f.map("neg.ftz.f32 %o0, %i0;", ["b32"], "b32", lambda a: F32.flush(a) ^ F32.sign, [(1,), (0x80000001,), (0x3f800000,)])
    f.map("abs.ftz.f32 %o0, %i0;", ["b32"], "b32", lambda a: F32.flush(a) & ~F32.sign, [(1,), (0x80000001,), (0xbf800000,)])
    f.close()


def conversion():
    f = File("convert", "Conversions.")
    every = [Int(name) for name in ("u8", "s8", "u16", "s16", "u32", "s32", "u64", "s64")]
    reg = lambda t: f"b{max(t.bits, 16)}"
    for to, source in itertools.product(every, repeat=2):
        # A result narrower than its register is extended by its type.
        rows = f.rows([max(source.bits, 16)], 5)
        extended = lambda value: to.value(value)
        if to.bits != source.bits or to.signed != source.signed:
            f.map(f"cvt.{to.name}.{source.name} %o0, %i0;", [reg(source)], reg(to), lambda a: extended(source.value(a)), rows)
            f.map(f"cvt.sat.{to.name}.{source.name} %o0, %i0;", [reg(source)], reg(to), lambda a: clamp(source.value(a), to.low, to.high), rows)
    whole = {"rni": "rn", "rzi": "rz", "rmi": "rm", "rpi": "rp"}
    def integral(value, mode):
        floor = value.numerator // value.denominator
        rest = value - floor
        return {"rn": floor + (rest > Fraction(1, 2) or rest == Fraction(1, 2) and floor & 1), "rm": floor,
                "rp": floor + (rest > 0), "rz": floor + (rest > 0 and value < 0)}[mode]
    def to_int(to, fmt, bits, mode):
        value = fmt.value(bits)
        if value == "nan":
            return 0
        if value in ("inf", "-inf"):
            return to.high if value == "inf" else to.low
        return clamp(integral(number(value), mode), to.low, to.high)
    for fmt, to, name in itertools.product((F32, F64, F16, BF16), every, whole):
        values = samples(fmt, f.random, 4, nan=False) + [fmt.round(Fraction(5, 2)), fmt.round(Fraction(-7, 2)), fmt.round(Fraction(300))]
        f.map(f"cvt.{name}.{to.name}.{fmt.name} %o0, %i0;", [fmt.reg], reg(to), lambda a: to_int(to, fmt, a, whole[name]), [(v,) for v in values])
    for fmt, source, mode in itertools.product((F32, F64, F16, BF16), every, ("rn", "rz", "rm", "rp")):
        if mode == "rn" or source.bits >= 32:
            f.map(f"cvt.{mode}.{fmt.name}.{source.name} %o0, %i0;", [reg(source)], fmt.reg, lambda a: fmt.round(Fraction(source.value(a)), mode), count=5)
    for name, mode in whole.items():
        for fmt in (F32, F64, F16, BF16):
            values = [fmt.round(Fraction(n, 4)) for n in (-11, -6, -2, -1, 1, 2, 3, 6, 11)] + [fmt.top, 0]
            result = lambda a: fmt.round(fmt.value(a) if isinstance(fmt.value(a), str) else (
                lambda n: ("-0" if n == 0 and fmt.value(a) < 0 else Fraction(n)))(integral(fmt.value(a), mode)))
            f.map(f"cvt.{name}.{fmt.name}.{fmt.name} %o0, %i0;", [fmt.reg], fmt.reg, result, [(v,) for v in values])
    def narrowing(text, to, source, mode, relu=False, sat=False, finite=False, ftz=False):
        def result(a):
            value = source.value(source.flush(a) if ftz and source is F32 else a)
            if relu and value != "nan" and negative(value):
                value = Fraction(0)
            if sat:
                value = Fraction(0) if value == "nan" or negative(value) else minmax(value, Fraction(1), False, False)
            bits = to.round(value, mode)
            if ftz and to is F32:
                bits = to.flush(bits)
            if finite and bits & (to.sign - 1) == to.top:
                bits -= 1
            return bits
        return result
    for to, source in ((F16, F32), (BF16, F32), (F32, F64), (F16, F64), (BF16, F64)):
        for mode in ("rn", "rz") if source is F32 else ("rn", "rz", "rm", "rp"):
            rows = [(v,) for v in samples(source, f.random, 9)] + [(source.round(Fraction(70000)),)]
            f.map(f"cvt.{mode}.{to.name}.{source.name} %o0, %i0;", [source.reg], to.reg, narrowing("", to, source, mode), rows)
            if source is F32:
                f.map(f"cvt.{mode}.relu.{to.name}.f32 %o0, %i0;", ["b32"], "b16", narrowing("", to, source, mode, relu=True), rows)
                both = lambda **how: (lambda a, b: narrowing("", to, source, mode, **how)(a) << 16 | narrowing("", to, source, mode, **how)(b))
                pair = list(zip(samples(F32, f.random, 8), samples(F32, f.random, 8)))
                f.map(f"cvt.{mode}.{to.name}x2.f32 %o0, %i0, %i1;", ["b32"] * 2, "b32", both(), pair)
                f.map(f"cvt.{mode}.relu.{to.name}x2.f32 %o0, %i0, %i1;", ["b32"] * 2, "b32", both(relu=True), pair)
    rows = [(v,) for v in samples(F64, f.random, 9)]
    f.map("cvt.rn.sat.f32.f64 %o0, %i0;", ["b64"], "b32", narrowing("", F32, F64, "rn", sat=True), rows)
    f.map("cvt.rn.ftz.f32.f64 %o0, %i0;", ["b64"], "b32", narrowing("", F32, F64, "rn", ftz=True), rows + [(F64.round(Fraction(1, 1 << 130)),)])
    for source, to in ((F16, F32), (BF16, F32), (F16, F64), (BF16, F64), (F32, F64)):
        rows = [(v,) for v in samples(source, f.random, 9, nan=to is F32)]
        f.map(f"cvt.{to.name}.{source.name} %o0, %i0;", [source.reg], to.reg, lambda a: to.round(source.value(a)), rows)
    rows = [(v,) for v in samples(F32, f.random, 12, nan=False)] + [(0x3f801000,), (0x3f800fff,), (0x3f802000,)]
    f.map("cvt.rna.tf32.f32 %o0, %i0;", ["b32"], "b32", lambda a: TF32.round(F32.value(a), "rna") << 13, rows)
    def eight(ty, value, relu=False):
        """The 8-bit float nearest to a value, by trying all of them."""
        if value == "nan":
            return 0x7f
        if relu and negative(value):
            return 0
        sign, largest = (0x80 if negative(value) else 0), {"e4m3": 0x7e, "e5m2": 0x7b}[ty]
        if value in ("inf", "-inf"):
            return sign | largest
        distance = lambda bits: abs(eight_value(ty, bits) - abs(number(value)))
        best = min(range(largest + 1), key=lambda bits: (distance(bits), bits & 1))
        return sign | best
    for ty in ("e4m3", "e5m2"):
        values = samples(F32, f.random, 14) + [F32.round(Fraction(n, 64)) for n in (1, 3, 29, 1000, 28000, -28672, 30000, 9)]
        for relu in ("", ".relu"):
            both = lambda fmt: (lambda a, b: eight(ty, fmt.value(a), relu) << 8 | eight(ty, fmt.value(b), relu))
            f.map(f"cvt.rn.satfinite{relu}.{ty}x2.f32 %o0, %i0, %i1;", ["b32"] * 2, "b16", both(F32), list(zip(values, values[1:])))
            halves = samples(F16, f.random, 14)
            f.map(f"cvt.rn.satfinite{relu}.{ty}x2.f16x2 %o0, %i0;", ["b32"], "b16",
                  lambda a: both(F16)(a >> 16, a & 0xffff), [(a << 16 | b,) for a, b in zip(halves, halves[1:])])
            def half(bits):
                value = eight_value(ty, bits & 0x7f)
                if value == "nan":
                    return 0x7fff
                if bits & 0x80:
                    value = Fraction(0) if relu else neg(value)
                return F16.round(value)
            f.map(f"cvt.rn{relu}.f16x2.{ty}x2 %o0, %i0;", ["b16"], "b32",
                  lambda a: half(a >> 8) << 16 | half(a & 0xff), [(i << 8 | 255 - i,) for i in range(0, 256, 3)])
    for name, bits, sign in (("u16", 16, 0), ("s16", 16, 1), ("u8", 8, 0), ("s8", 8, 1), ("u4", 4, 0), ("s4", 4, 1), ("u2", 2, 0), ("s2", 2, 1)):
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if sign else (0, (1 << bits) - 1)
        part = lambda x: clamp(signed(x, 32), low, high) & (1 << bits) - 1
        rows = [(a & 0xffffffff, b & 0xffffffff) for a, b in ((0, 1), (-1, 5), (200, -200), (70000, -70000), (3, -2), (127, 128))]
        if bits == 16:
            f.map(f"cvt.pack.sat.{name}.s32 %o0, %i0, %i1;", ["b32"] * 2, "b32", lambda a, b: part(a) << bits | part(b), rows)
        else:
            f.map(f"cvt.pack.sat.{name}.s32.b32 %o0, %i0, %i1, %i2;", ["b32"] * 3, "b32",
                  lambda a, b, c: c << 2 * bits | part(a) << bits | part(b), [(*row, 0x89abcdef) for row in rows])
    f.close()


def eight_value(ty, bits):
    """The value of an 8-bit float without its sign."""
    mantissa, bias = {"e4m3": (3, 7), "e5m2": (2, 15)}[ty]
    if ty == "e5m2" and bits >= 0x7c or bits == 0x7f:
        return "inf" if bits == 0x7c else "nan"
    field, fraction = bits >> mantissa, bits & (1 << mantissa) - 1
    if field == 0:
        return Fraction(fraction, 1 << mantissa) * Fraction(2) ** (1 - bias)
    return (1 + Fraction(fraction, 1 << mantissa)) * Fraction(2) ** (field - bias)


def video():
    f = File("video", "Video instructions.")
    types = (Int("u32"), Int("s32"))
    def word(t, value, selector):
        if not selector:
            return t.value(value)
        bits, n = (8 if selector[0] == "b" else 16), int(selector[1])
        part = value >> n * bits & (1 << bits) - 1
        return signed(part, bits) if t.signed else part
    limits = lambda t, bits: (-(1 << bits - 1), (1 << bits - 1) - 1) if t.signed else (0, (1 << bits) - 1)
    second = {"add": lambda x, y: x + y, "min": min, "max": max}
    first = {"vadd": lambda a, b: a + b, "vsub": lambda a, b: a - b, "vabsdiff": lambda a, b: abs(a - b), "vmin": min, "vmax": max}
    dot = lambda s: "." + s if s else ""
    for name, function in first.items():
        for d, a_ty, b_ty, sat in itertools.product(types, types, types, ("", ".sat")):
            a_sel, b_sel = f.random.choice(("", "b0", "b3", "h1")), f.random.choice(("", "b2", "h0"))
            opcode = f"{name}.{d.name}.{a_ty.name}.{b_ty.name}{sat}"
            def result(a, b):
                value = function(word(a_ty, a, a_sel), word(b_ty, b, b_sel))
                return clamp(value, *limits(d, 32)) if sat else value
            f.map(f"{opcode} %o0, %i0{dot(a_sel)}, %i1{dot(b_sel)};", ["b32"] * 2, "b32", result, count=5)
        for d, op in itertools.product(types, second):
            f.map(f"{name}.{d.name}.{d.name}.{d.name}.sat.{op} %o0, %i0, %i1, %i2;", ["b32"] * 3, "b32",
                  lambda a, b, c: second[op](clamp(function(d.value(a), d.value(b)), *limits(d, 32)), d.value(c)), count=5)
        for d, part in itertools.product(types, ("b0", "b3", "h0", "h1")):
            bits, n = (8 if part[0] == "b" else 16), int(part[1])
            mask = (1 << bits) - 1 << n * bits
            f.map(f"{name}.{d.name}.s32.s32.sat %o0.{part}, %i0, %i1, %i2;", ["b32"] * 3, "b32",
                  lambda a, b, c: c & ~mask | clamp(function(signed(a, 32), signed(b, 32)), *limits(d, bits)) << n * bits & mask, count=5)
    for a_ty, mode in itertools.product(types, ("clamp", "wrap")):
        by = (lambda n: min(n, 32)) if mode == "clamp" else (lambda n: n & 31)
        rows = [(a, f.random.choice((0, 1, 13, 31, 32, 40))) for a, in f.rows([32])]
        f.map(f"vshl.{a_ty.name}.{a_ty.name}.u32.{mode} %o0, %i0, %i1;", ["b32"] * 2, "b32", lambda a, n: a_ty.value(a) << by(n), rows)
        f.map(f"vshl.{a_ty.name}.{a_ty.name}.u32.sat.{mode} %o0, %i0, %i1;", ["b32"] * 2, "b32", lambda a, n: clamp(a_ty.value(a) << by(n), *limits(a_ty, 32)), rows)
        f.map(f"vshr.{a_ty.name}.{a_ty.name}.u32.{mode} %o0, %i0, %i1;", ["b32"] * 2, "b32", lambda a, n: a_ty.value(a) >> by(n), rows)
    for name, function in COMPARE.items():
        for a_ty in types:
            f.map(f"vset.{a_ty.name}.{a_ty.name}.{name} %o0, %i0, %i1;", ["b32"] * 2, "b32", lambda a, b: int(function(a_ty.value(a), a_ty.value(b))), count=5)
            f.map(f"vset.{a_ty.name}.{a_ty.name}.{name}.add %o0, %i0, %i1, %i2;", ["b32"] * 3, "b32", lambda a, b, c: c + function(a_ty.value(a), a_ty.value(b)), count=5)
    for d, sat, scale, extra in itertools.product(types, ("", ".sat"), ("", ".shr7", ".shr15"), ("", ".po", "-a", "-c")):
        po, na, nc = extra == ".po", extra == "-a", extra == "-c"
        is_signed = d.signed or na or nc
        def result(a, b, c):
            product = d.value(a) * d.value(b)
            total = (-product if na else product) + ((-1 if nc else 1) * (signed(c, 32) if is_signed else c)) + po
            value = total >> int(scale[4:] or 0)
            value = value & (1 << 64) - 1
            value = signed(value, 64) if is_signed else value
            return clamp(value, *((-(1 << 31), (1 << 31) - 1) if is_signed else (0, (1 << 32) - 1))) if sat else value
        text = f"vmad.{d.name}.{d.name}.{d.name}{'.po' if po else ''}{sat}{scale} %o0, {'-' if na else ''}%i0, %i1, {'-' if nc else ''}%i2;"
        f.map(text, ["b32"] * 3, "b32", result, count=5)
    average = lambda a, b: (a + b + 1) >> 1 if a + b >= 0 else (a + b) >> 1
    simd = {**first, "vavrg": average}
    for n, unit in ((2, "h"), (4, "b")):
        bits = 32 // n
        def part(t, a, b, number):
            value = (b << 32 | a) >> number * bits & (1 << bits) - 1
            return signed(value, bits) if t.signed else value
        default = [list(range(n)), list(range(n, 2 * n))]
        def operands(a_sel, b_sel):
            return [[int(c) for c in reversed(s)] if s else d for s, d in zip((a_sel, b_sel), default)]
        def merged(t, function, chosen, mask, sat, add, a, b, c):
            out = c
            for i in range(n):
                if not mask >> i & 1:
                    continue
                value = function(part(t, a, b, chosen[0][i]), part(t, a, b, chosen[1][i]))
                if sat:
                    value = clamp(value, *limits(t, bits))
                if add:
                    out += value
                else:
                    field = (1 << bits) - 1 << i * bits
                    out = out & ~field | value << i * bits & field
            return out
        for name, function in simd.items():
            for t, suffix in itertools.product(types, ("", ".sat", ".add")):
                opcode = f"{name}{n}.{t.name}.{t.name}.{t.name}{suffix}"
                f.map(f"{opcode} %o0, %i0, %i1, %i2;", ["b32"] * 3, "b32",
                      lambda a, b, c: merged(t, function, operands("", ""), (1 << n) - 1, suffix == ".sat", suffix == ".add", a, b, c), count=5)
            a_sel, b_sel = "".join(f.random.choice("0123"[:2 * n] if n == 2 else "01234567") for _ in range(n)), "".join(f.random.choice("0123" if n == 2 else "01234567") for _ in range(n))
            for shown, mask in (("0", 1), ("1", 2)) if n == 2 else (("0", 1), ("31", 10), ("210", 7)):
                f.map(f"{name}{n}.s32.s32.s32 %o0.{unit}{shown}, %i0.{unit}{a_sel}, %i1.{unit}{b_sel}, %i2;", ["b32"] * 3, "b32",
                      lambda a, b, c: merged(types[1], function, operands(a_sel, b_sel), mask, False, False, a, b, c), count=5)
        for name, function in COMPARE.items():
            for t, suffix in itertools.product(types, ("", ".add")):
                f.map(f"vset{n}.{t.name}.{t.name}.{name}{suffix} %o0, %i0, %i1, %i2;", ["b32"] * 3, "b32",
                      lambda a, b, c: merged(t, lambda x, y: int(function(x, y)), operands("", ""), (1 << n) - 1, False, suffix == ".add", a, b, c), count=5)
    f.close()


def memory():
    f = File("memory", "Moves, loads, stores and atomic operations of one thread.")
    f.map("mov.b32 %o0, {%i0, %i1};", ["b16", "b16"], "b32", lambda a, b: b << 16 | a, count=4)
    f.map("mov.b64 %o0, {%i0, %i1};", ["b32", "b32"], "b64", lambda a, b: b << 32 | a, count=4)
    f.map("mov.b64 %o0, {%i0, %i1, %i2, %i3};", ["b16"] * 4, "b64", lambda a, b, c, d: d << 48 | c << 32 | b << 16 | a, count=4)
    f.map("mov.b32 {%o0, %o1}, %i0;", ["b32"], ["b16", "b16"], lambda a: [a & 0xffff, a >> 16], count=4)
    f.map("mov.b64 {%o0, %o1}, %i0;", ["b64"], ["b32", "b32"], lambda a: [a & 0xffffffff, a >> 32], count=4)
    f.map("mov.b128 %q0, {%i0, %i1};\nmov.b128 %q1, %q0;\nmov.b128 {%o0, %o1}, %q1;", ["b64", "b64"], ["b64", "b64"], lambda a, b: [a, b], count=4)
    one = [(0x8899aabbccddeeff,), (0x0123456789abcdef,)]
    for space in ("shared", "global", "local"):
        base = f"{space}_bytes" if space == "local" else f"{space}_bytes"
        place = "mov.u32 %t0, %tid.x;\nmul.wide.u32 %u0, %t0, 64;\nmov.u64 %u1, " + base + ";\nadd.u64 %u0, %u0, %u1;\n"
        for generic in (False, True):
            where = place + (f"cvta.{space}.u64 %u0, %u0;\n" if generic else "")
            at = "" if generic else "." + space
            for ty in ("u8", "s8", "b8", "u16", "s16", "b16", "u32", "s32", "b32", "u64", "s64", "b64"):
                bits = int(ty[1:])
                for out in (16, 32, 64):
                    if out < bits:
                        continue
                    value = lambda a: signed(a, bits) if ty[0] == "s" else a & (1 << bits) - 1
                    f.map(f"{where}st{at}.b64 [%u0+8], %i0;\nld{at}.{ty} %o0, [%u0+8];", ["b64"], f"b{out}", value, one)
            for count, bits in ((2, 8), (4, 8), (2, 16), (4, 16), (2, 32), (4, 32), (2, 64)):
                regs = {8: "b16", 16: "b16", 32: "b32", 64: "b64"}[bits]
                names = lambda letter: "{" + ", ".join(f"%{letter}{i}" for i in range(count)) + "}"
                f.map(f"{where}st{at}.v{count}.b{bits} [%u0+16], {names('i')};\nld{at}.v{count}.b{bits} {names('o')}, [%u0+16];",
                      [regs] * count, [regs] * count, lambda *v: [x & (1 << bits) - 1 for x in v], count=2)
            # Braces around a single element, as Triton writes them.
            f.map(f"{where}st{at}.b32 [%u0+16], {{%i0}};\nld{at}.b32 {{%o0}}, [%u0+16];", ["b32"], "b32", lambda a: a & 0xffffffff, one)
            f.map(f"{where}st{at}.b32 [%u0], %i0;\nst{at}.b8 [%u0+1], %i1;\nst{at}.b16 [%u0+2], %i1;\nld{at}.b32 %o0, [%u0];",
                  ["b32", "b32"], "b32", lambda a, b: a & 0xff | (b & 0xff) << 8 | (b & 0xffff) << 16, count=3)
        if space == "local":
            continue
        operations = {
            "add": lambda t, a, b: a + b, "min": lambda t, a, b: min(t.value(a), t.value(b)), "max": lambda t, a, b: max(t.value(a), t.value(b)),
        }
        bitwise = {"and": lambda a, b: a & b, "or": lambda a, b: a | b, "xor": lambda a, b: a ^ b, "exch": lambda a, b: b}
        for generic in (False, True):
            where = place + (f"cvta.{space}.u64 %u0, %u0;\n" if generic else "")
            at = "" if generic else "." + space
            def atomic(opcode, bits, function, operands=1, rows=None, red=True):
                r = f"b{bits}"
                sources = ", ".join(f"%i{i + 1}" for i in range(operands))
                rows = rows or f.rows([bits] * (operands + 1), 4)
                f.map(f"{where}st{at}.{r} [%u0], %i0;\natom{at}.{opcode} %o0, [%u0], {sources};\nld{at}.{r} %o1, [%u0];",
                      [r] * (operands + 1), [r, r], lambda a, *b: [a, function(a, *b)], rows)
                if red:
                    f.map(f"{where}st{at}.{r} [%u0], %i0;\nred{at}.{opcode} [%u0], {sources};\nld{at}.{r} %o0, [%u0];",
                          [r] * (operands + 1), r, lambda a, *b: function(a, *b), rows)
            for t, (name, function) in itertools.product(WORDS, operations.items()):
                if name != "add" or t.name != "s64":
                    atomic(f"{name}.{t.name}", t.bits, lambda a, b: function(t, a, b))
            for bits, (name, function) in itertools.product((32, 64), bitwise.items()):
                atomic(f"{name}.b{bits}", bits, function, red=name != "exch")
            atomic("inc.u32", 32, lambda a, b: 0 if a >= b else a + 1)
            atomic("dec.u32", 32, lambda a, b: b if a == 0 or a > b else a - 1)
            for bits in (16, 32, 64):
                rows = [(5, 5, 9), (5, 6, 9), ((1 << bits) - 1, (1 << bits) - 1, 0)]
                atomic(f"cas.b{bits}", bits, lambda a, b, c: c if a == b else a, 2, rows, red=False)
            for fmt in (F64, F32):
                rows = list(zip(samples(fmt, f.random, 6, nan=False), samples(fmt, f.random, 6, nan=False)))
                rows = [row for row in rows if not any(fmt.subnormal(v) for v in row) and compute(fmt, "add", "rn", False, "", row) != fmt.nan]
                atomic(f"add.{fmt.name}", fmt.bits, lambda a, b: compute(fmt, "add", "rn", False, "", (a, b)), 1, rows)
            for fmt in (F16, BF16):
                rows = list(zip(samples(fmt, f.random, 6), samples(fmt, f.random, 6)))
                total = lambda a, b: compute(fmt, "add", "rn", False, "", (a, b))
                atomic(f"add.noftz.{fmt.name}", 16, total, 1, rows)
                words = [(a | c << 16, b | d << 16) for (a, b), (c, d) in zip(rows, rows[1:])]
                atomic(f"add.noftz.{fmt.name}x2", 32, lambda a, b: pairs(fmt, total, a, b), 1, words)
    f.close()


def warp():
    f = File("warp", "Operations between the 32 lanes of a warp.")
    lanes = range(32)
    def form(text, inputs, outputs, values, function):
        f.form(text, inputs, outputs, [(values[i], function(i)) for i in lanes])
    data = [(f.random.getrandbits(32), f.random.getrandbits(5)) for _ in lanes]
    for mode in ("up", "down", "bfly", "idx"):
        for c in (0x1f, 0x181f, 0x0c07, 0) if mode != "up" else (0, 0x1800, 0x1c00):
            def source(i):
                b, segment, limit = data[i][1], c >> 8 & 31, c & 31
                low = i & segment
                high = low | limit & ~segment & 31
                j, ok = {"up": (i - b, i - b >= high), "down": (i + b, i + b <= high), "bfly": (i ^ b, i ^ b <= high),
                         "idx": (low | b & ~segment & 31, (low | b & ~segment & 31) <= high)}[mode]
                return (j if ok else i), int(ok)
            form(f"shfl.sync.{mode}.b32 %o0|%o1, %i0, %i1, {c:#x}, 0xffffffff;", ["b32", "b32"], ["b32", "pred"], data,
                 lambda i: [data[source(i)[0]][0], source(i)[1]])
    flags = [(int(i % 3 == 0),) for i in lanes]
    ballot = sum(p << i for i, (p,) in enumerate(flags))
    form("vote.sync.ballot.b32 %o0, %i0, 0xffffffff;", ["pred"], ["b32"], flags, lambda i: [ballot])
    form("vote.sync.any.pred %o0, !%i0, 0xffffffff;", ["pred"], ["pred"], flags, lambda i: [1])
    form("vote.sync.all.pred %o0, %i0, 0xffffffff;", ["pred"], ["pred"], flags, lambda i: [0])
    form("vote.sync.uni.pred %o0, %i0, 0xffffffff;", ["pred"], ["pred"], flags, lambda i: [0])
    form("vote.sync.uni.pred %o0, %i0, 0xffffffff;", ["pred"], ["pred"], [(0,)] * 32, lambda i: [1])
    # Lanes in two groups.
    half = lambda i: 0x0000ffff if i < 16 else 0xffff0000
    masked = [(p, half(i)) for i, (p,) in enumerate(flags)]
    form("vote.sync.ballot.b32 %o0, %i0, %i1;", ["pred", "b32"], ["b32"], masked, lambda i: [ballot & half(i)])
    few = [(f.random.randrange(4) * 0x100000001,) for _ in lanes]
    for bits in (32, 64):
        form(f"match.any.sync.b{bits} %o0, %i0, 0xffffffff;", [f"b{bits}"], ["b32"], few if bits == 64 else [(v & 0xffffffff,) for v, in few],
             lambda i: [sum(1 << j for j in lanes if few[j] == few[i])])
        form(f"match.all.sync.b{bits} %o0|%o1, %i0, 0xffffffff;", [f"b{bits}"], ["b32", "pred"], [(77,)] * 32, lambda i: [0xffffffff, 1])
        form(f"match.all.sync.b{bits} %o0|%o1, %i0, 0xffffffff;", [f"b{bits}"], ["b32", "pred"], [(i,) for i in lanes], lambda i: [0, 0])
    words = [(v,) for v, _ in data]
    fold = lambda function, values: __import__("functools").reduce(function, values)
    for t in (Int("u32"), Int("s32")):
        for name, function in (("add", lambda a, b: a + b), ("min", min), ("max", max)):
            form(f"redux.sync.{name}.{t.name} %o0, %i0, 0xffffffff;", ["b32"], ["b32"], words, lambda i: [fold(function, [t.value(v) for v, in words])])
    for name, function in (("and", lambda a, b: a & b), ("or", lambda a, b: a | b), ("xor", lambda a, b: a ^ b)):
        form(f"redux.sync.{name}.b32 %o0, %i0, 0xffffffff;", ["b32"], ["b32"], words, lambda i: [fold(function, [v for v, in words])])
    form("activemask.b32 %o0;", [], ["b32"], [()] * 32, lambda i: [0xffffffff])
    form("elect.sync %o0|%o1, 0xffffffff;", [], ["b32", "pred"], [()] * 32, lambda i: [0, int(i == 0)])
    for name, value in (("laneid", lambda i: i), ("lanemask_eq", lambda i: 1 << i), ("lanemask_lt", lambda i: (1 << i) - 1),
                        ("lanemask_le", lambda i: (2 << i) - 1), ("lanemask_gt", lambda i: 0xffffffff & ~((2 << i) - 1)),
                        ("lanemask_ge", lambda i: 0xffffffff & ~((1 << i) - 1)), ("tid.x", lambda i: i), ("ntid.x", lambda i: 32),
                        ("ctaid.x", lambda i: 0), ("nctaid.x", lambda i: 1), ("warpid", lambda i: 0), ("nwarpid", lambda i: 1)):
        form(f"mov.u32 %o0, %{name};", [], ["b32"], [()] * 32, lambda i: [value(i)])
    form("mov.u32 %o0, WARP_SZ;", [], ["b32"], [()] * 32, lambda i: [32])
    form("mov.u64 %o0, %current_graph_exec;", [], ["b64"], [()] * 32, lambda i: [0])
    # Tiles of 8 by 8 halves: the lane's two elements are (lane / 4, lane % 4 * 2) and the one right of it.
    tile = lambda n, row, column: n << 12 | row << 6 | column
    for count, trans in itertools.product((1, 2, 4), (False, True)):
        names = ", ".join(f"%o{i}" for i in range(count))
        text = ("mov.u32 %t0, %tid.x;\nshl.b32 %t1, %t0, 4;\nmov.u32 %t2, shared_bytes;\nadd.u32 %t2, %t2, %t1;\n"
                "st.shared.v4.b32 [%t2], {%i0, %i1, %i2, %i3};\nbar.warp.sync 0xffffffff;\n"
                f"ldmatrix.sync.aligned.m8n8.x{count}{'.trans' if trans else ''}.shared.b16 {{{names}}}, [%t2];")
        rows = [tuple(tile(i // 8, i % 8, 2 * c) | tile(i // 8, i % 8, 2 * c + 1) << 16 for c in range(4)) for i in lanes]
        at = (lambda n, r, c: tile(n, c, r)) if trans else tile
        form(text, ["b32"] * 4, ["b32"] * count, rows,
             lambda i: [at(n, i // 4, i % 4 * 2) | at(n, i // 4, i % 4 * 2 + 1) << 16 for n in range(count)])
        text = ("mov.u32 %t0, %tid.x;\nshl.b32 %t1, %t0, 4;\nmov.u32 %t2, shared_bytes;\nadd.u32 %t2, %t2, %t1;\n"
                f"stmatrix.sync.aligned.m8n8.x{count}{'.trans' if trans else ''}.shared.b16 [%t2], {{{', '.join(f'%i{i}' for i in range(count))}}};\n"
                "bar.warp.sync 0xffffffff;\nld.shared.v4.b32 {%o0, %o1, %o2, %o3}, [%t2];")
        values = [tuple(tile(n, i // 4, i % 4 * 2) | tile(n, i // 4, i % 4 * 2 + 1) << 16 for n in range(count)) for i in lanes]
        form(text, ["b32"] * count, ["b32"] * 4, values,
             lambda i: [at(i // 8, i % 8, 2 * c) | at(i // 8, i % 8, 2 * c + 1) << 16 if i // 8 < count else 0 for c in range(4)])
    values = [(tile(0, i // 4, i % 4 * 2) | tile(0, i // 4, i % 4 * 2 + 1) << 16,) for i in lanes]
    form("movmatrix.sync.aligned.m8n8.trans.b16 %o0, %i0;", ["b32"], ["b32"], values,
         lambda i: [tile(0, i % 4 * 2, i // 4) | tile(0, i % 4 * 2 + 1, i // 4) << 16])
    f.close()

    f = File("block", "Operations of the threads of a block.")
    threads = range(96)
    flags = [(int(i % 5 == 1),) for i in threads]
    count = sum(p for p, in flags)
    for bar in ("bar", "barrier", "barrier.cta"):
        f.form(f"{bar}.red.popc.u32 %o0, 1, %i0;", ["pred"], ["b32"], [(p, [count]) for p in flags])
        f.form(f"{bar}.red.popc.u32 %o0, 1, 96, !%i0;", ["pred"], ["b32"], [(p, [96 - count]) for p in flags])
        f.form(f"{bar}.red.and.pred %o0, 2, %i0;", ["pred"], ["pred"], [(p, [0]) for p in flags])
        f.form(f"{bar}.red.or.pred %o0, 3, %i0;", ["pred"], ["pred"], [(p, [1]) for p in flags])
    # The last warp produces, the others consume.
    text = ("mov.u32 %t0, %tid.x;\nsetp.ge.u32 %p0, %t0, 64;\nmov.u32 %t1, shared_bytes;\nmov.u32 %o0, 0;\n"
            "@!%p0 bra consume;\nmad.lo.u32 %t2, %t0, 4, %t1;\nst.shared.u32 [%t2], %i0;\nbar.arrive 4, 96;\nbra done;\n"
            "consume:\nbar.sync 4, 96;\nand.b32 %t3, %t0, 31;\nmad.lo.u32 %t2, %t3, 4, %t1;\nld.shared.u32 %o0, [%t2+256];\ndone:")
    f.form(text, ["b32"], ["b32"], [((1000 + i,), [1000 + 64 + i % 32 if i < 64 else 0]) for i in threads])
    text = ("mov.u32 %t0, %tid.x;\nmov.u32 %t1, shared_bytes;\nmov.u64 %u3, shared_bytes;\nsetp.eq.u32 %p0, %t0, 0;\n"
            "@%p0 mbarrier.init.shared.b64 [%t1], 96;\nbar.sync 0;\nmad.lo.u32 %t2, %t0, 4, %t1;\nst.shared.u32 [%t2+16], %i0;\n"
            "mbarrier.arrive.shared.b64 %u0, [%t1];\nwait:\nmbarrier.test_wait.shared.b64 %p1, [%t1], %u0;\n@!%p1 bra wait;\n"
            "sub.u32 %t3, 95, %t0;\nmad.lo.u32 %t2, %t3, 4, %t1;\nld.shared.u32 %o0, [%t2+16];\n"
            "cvta.shared.u64 %u3, %u3;\nmbarrier.arrive.b64 %u1, [%u3];\nmbarrier.pending_count.b64 %t4, %u1;\nsetp.le.u32 %p2, %t4, 96;\n"
            "selp.u32 %o1, 1, 0, %p2;\nagain:\nmbarrier.test_wait.parity.b64 %p1, [%u3], 1;\n@!%p1 bra again;")
    f.form(text, ["b32"], ["b32", "b32"], [((7 * i,), [7 * (95 - i), 1]) for i in threads])
    text = ("mov.u32 %t0, %tid.x;\nshl.b32 %t1, %t0, 4;\nmov.u32 %t2, shared_bytes;\nadd.u32 %t2, %t2, %t1;\n"
            "cvt.u64.u32 %u0, %t1;\nmov.u64 %u1, global_bytes;\nadd.u64 %u0, %u0, %u1;\nst.global.v2.b64 [%u0], {%i0, %i1};\n"
            "cp.async.CACHE.shared.global [%t2], [%u0], OPERANDS;\ncp.async.commit_group;\ncp.async.wait_group 0;\nbar.sync 0;\n"
            "ld.shared.v2.b64 {%o0, %o1}, [%t2];")
    rows = f.rows([64, 64], 32)
    mask = lambda value, size: value & (1 << 8 * max(0, min(8, size))) - 1
    for cache, size, source in (("ca", 16, None), ("cg", 16, None), ("ca", 16, 5), ("ca", 8, None), ("ca", 4, None), ("ca", 8, 0)):
        left = size if source is None else source
        operands = f"{size}" if source is None else f"{size}, {source}"
        f.form(text.replace("CACHE", cache).replace("OPERANDS", operands), ["b64", "b64"], ["b64", "b64"],
               [(row, [mask(row[0], left), mask(row[1], left - 8)]) for row in rows])
    text = text.replace("CACHE", "ca").replace("OPERANDS", "16, %p0").replace("cp.async.ca", "setp.ne.u32 %p0, %i2, 0;\ncp.async.ca")
    f.form(text, ["b64", "b64", "b32"], ["b64", "b64"], [((*row, i % 2), [0, 0] if i % 2 else list(row)) for i, row in enumerate(rows)])
    text = ("mov.u32 %t0, %tid.x;\nand.b32 %t0, %t0, 3;\nmad.lo.u32 %t0, %t0, 8, 8;\ncvt.u64.u32 %u6, %t0;\nstacksave.u64 %u7;\n"
            "alloca.u64 %u0, %u6;\nalloca.u64 %u1, 32, 64;\nst.local.b64 [%u0], %i0;\nst.local.b64 [%u1+24], %i1;\n"
            "and.b64 %u2, %u1, 63;\nld.local.b64 %o0, [%u0];\nld.local.b64 %o1, [%u1+24];\nsetp.eq.u64 %p0, %u2, 0;\n"
            "stackrestore.u64 %u7;\nalloca.u64 %u3, 8;\nsetp.eq.and.u64 %p0, %u3, %u0, %p0;\nselp.u32 %o2, 1, 0, %p0;")
    f.form(text, ["b64", "b64"], ["b64", "b64", "b32"], [(row, [*row, 1]) for row in rows])
    text = ("rem.u32 %t0, %i0, 3;\ntargets: .branchtargets one, two, three;\nbrx.idx %t0, targets;\n"
            "one:\nmov.u32 %o0, 11;\nbra end;\ntwo:\nmov.u32 %o0, 22;\nbra end;\nthree:\nmov.u32 %o0, 33;\nend:")
    f.form(text, ["b32"], ["b32"], [((i,), [(11, 22, 33)[i % 3]]) for i in range(40)])
    f.close()


def spread(lane, i, per, rows16, k_step):
    """Row and position along k of element i of a, by the formulas of the PTX ISA for `mma` with m = 8 or 16."""
    group, quad = lane >> 2, lane % 4
    upper = rows16 and i // per % 2 == 1
    block = i // (2 * per) if rows16 else 0
    return group + 8 * upper, quad * per + i % per + block * k_step


class Element:
    """An element type of matrices: its bits, values and what holds it."""

    def __init__(self, name):
        self.name = name
        self.bits = {"f16": 16, "bf16": 16, "tf32": 32, "f32": 32, "f64": 64, "s32": 32, "b1": 1, "e4m3": 8, "e5m2": 8}.get(name) or int(name[1:])
        self.format = {"f16": F16, "bf16": BF16, "tf32": F32, "f32": F32, "f64": F64}.get(name)
        self.per = max(1, 32 // self.bits)
        self.reg = "b64" if self.bits == 64 else "b32"

    def pick(self, rng):
        if self.format:
            return Fraction(rng.randint(-9, 9), 1 if self.bits == 16 else 4)
        if self.name[0] == "e":
            return Fraction(rng.randint(-4, 4), 2)
        if self.name == "b1":
            return rng.getrandbits(1)
        if self.name == "s32":
            return rng.choice((0, -5, 2 ** 31 - 1, -2 ** 31, rng.randint(-2 ** 20, 2 ** 20)))
        low = -(1 << self.bits - 1) if self.name[0] == "s" else 0
        return rng.randint(low, low + (1 << self.bits) - 1)

    def encode(self, value):
        if self.name[0] == "e":
            exact = next(bits for bits in range(0x7c) if eight_value(self.name, bits) == abs(value))
            return exact | (0x80 if value < 0 else 0)
        return self.format.round(value) if self.format else value & (1 << self.bits) - 1


def product(a, b, c, op="mul", sat=False):
    """Of matrices as lists of rows."""
    combine = {"mul": lambda x, y: x * y, "xor": lambda x, y: x ^ y, "and": lambda x, y: x & y}[op]
    rows = [[sum(combine(x, b[k][j]) for k, x in enumerate(row)) + c[i][j] for j in range(len(c[0]))] for i, row in enumerate(a)]
    if sat:
        rows = [[clamp(x, -2 ** 31, 2 ** 31 - 1) for x in row] for row in rows]
    return rows


def matrix(rng, ty, rows, columns):
    return [[ty.pick(rng) for _ in range(columns)] for _ in range(rows)]


def registers(ty, count, element):
    """Registers of a lane from its elements."""
    words = [0] * (-(-count // ty.per))
    for i in range(count):
        words[i // ty.per] |= ty.encode(element(i)) << i % ty.per * ty.bits
    return words


def lane_a(ty, a, lane):
    """Registers of a lane that hold a, of `mma` with m = 8 or 16."""
    element = lambda i: (lambda row, p: a[row][p])(*spread(lane, i, ty.per, len(a) == 16, 4 * ty.per))
    return registers(ty, len(a) * len(a[0]) // 32, element)


def lane_b(ty, b, lane):
    return registers(ty, len(b) * len(b[0]) // 32, lambda i: b[lane % 4 * ty.per + i % ty.per + i // ty.per * 4 * ty.per][lane >> 2])


def lane_c(ty, c, lane):
    return registers(ty, len(c) * len(c[0]) // 32, lambda i: c[(lane >> 2) + i // 2 * 8][lane % 4 * 2 + i % 2])


def mma():
    f = File("mma", "Matrix multiplication in the registers of a warp.")
    lanes = range(32)
    def form(opcode, shape, types, op="mul", sat=False):
        m, n, k = shape
        a_ty, b_ty, c_ty, d_ty = (Element(t) for t in types)
        a, b, c = matrix(f.random, a_ty, m, k), matrix(f.random, b_ty, k, n), matrix(f.random, c_ty, m, n)
        d = product(a, b, c, op, sat)
        if ".rm." in opcode:
            # Whether a sum that is zero is -0 depends on the order.
            c = [[x or Fraction(1) for x in row] for row in c]
            d = product(a, b, c)
            c = [[x + (y == 0) for x, y in zip(*rows)] for rows in zip(c, d)]
            d = product(a, b, c)
        emit(opcode, (a_ty, b_ty, c_ty, d_ty),
             [(lane_a(a_ty, a, l), lane_b(b_ty, b, l), lane_c(c_ty, c, l), lane_c(d_ty, d, l)) for l in lanes])
    def emit(opcode, types, cases, metadata=None, selector=None):
        a_ty, b_ty, c_ty, d_ty = types
        names, index = [], 0
        for part in cases[0][:3]:
            names.append("{" + ", ".join(f"%i{index + n}" for n in range(len(part))) + "}")
            index += len(part)
        result = "{" + ", ".join(f"%o{n}" for n in range(len(cases[0][3]))) + "}"
        inputs = [t.reg for t, part in zip((a_ty, b_ty, c_ty), cases[0]) for _ in part]
        if metadata:
            names += [f"%i{index}", str(selector)]
            inputs.append("b32")
        f.form(f"mma.{opcode} {result}, {', '.join(names)};", inputs, [d_ty.reg] * len(cases[0][3]),
               [([*a, *b, *c, *(metadata or {}).get(l, [])], d) for l, (a, b, c, d) in enumerate(cases)])
    for k in (8, 16):
        for c in ("f16", "f32"):
            form(f"sync.aligned.m16n8k{k}.row.col.{c}.f16.f16.{c}", (16, 8, k), ("f16", "f16", c, c))
        form(f"sync.aligned.m16n8k{k}.row.col.f32.bf16.bf16.f32", (16, 8, k), ("bf16", "bf16", "f32", "f32"))
    for k, x, y, c in itertools.product((16, 32), ("e4m3", "e5m2"), ("e4m3", "e5m2"), ("f16", "f32")):
        form(f"sync.aligned.m16n8k{k}.row.col.{c}.{x}.{y}.{c}", (16, 8, k), (x, y, c, c))
    for k in (4, 8):
        form(f"sync.aligned.m16n8k{k}.row.col.f32.tf32.tf32.f32", (16, 8, k), ("tf32", "tf32", "f32", "f32"))
    for rounding in ("", ".rn", ".rz", ".rm", ".rp"):
        form(f"sync.aligned.m8n8k4.row.col{rounding}.f64.f64.f64.f64", (8, 8, 4), ("f64",) * 4)
    for k in (4, 8, 16):
        form(f"sync.aligned.m16n8k{k}.row.col.f64.f64.f64.f64", (16, 8, k), ("f64",) * 4)
    for bits, shapes in ((8, ((8, 8, 16), (16, 8, 16), (16, 8, 32))), (4, ((8, 8, 32), (16, 8, 32), (16, 8, 64)))):
        for shape, x, y, sat in itertools.product(shapes, "us", "us", ("", ".satfinite")):
            form(f"sync.aligned.m{shape[0]}n8k{shape[2]}.row.col{sat}.s32.{x}{bits}.{y}{bits}.s32", shape, (f"{x}{bits}", f"{y}{bits}", "s32", "s32"), sat=bool(sat))
    for shape, op in itertools.product(((8, 8, 128), (16, 8, 128), (16, 8, 256)), ("xor", "and")):
        form(f"sync.aligned.m{shape[0]}n8k{shape[2]}.row.col.s32.b1.b1.s32.{op}.popc", shape, ("b1", "b1", "s32", "s32"), op)
    # Four multiplications at a time, by lanes 4q to 4q+3 and those 16 above.
    sums = (("f16", "f16"), ("f16", "f32"), ("f32", "f32"))
    for a_layout, b_layout, (c_name, d_name) in itertools.product(("row", "col"), ("row", "col"), sums):
        h, c_ty, d_ty = Element("f16"), Element(c_name), Element(d_name)
        a, b, c = ([matrix(f.random, t, *size) for _ in range(4)] for t, size in ((h, (8, 4)), (h, (4, 8)), (c_ty, (8, 8))))
        d = [product(*parts) for parts in zip(a, b, c)]
        def lane_ab(lane):
            q, up = lane % 16 // 4, 4 * (lane >= 16)
            x = registers(h, 4, lambda i: a[q][lane % 4 + up][i] if a_layout == "row" else a[q][i + up][lane % 4])
            y = registers(h, 4, lambda i: b[q][lane % 4][i + up] if b_layout == "row" else b[q][i][lane % 4 + up])
            return x, y
        def lane_c8(ty, c, lane):
            q, up = lane % 16 // 4, 4 * (lane >= 16)
            if ty.name == "f16":
                return registers(ty, 8, lambda i: c[q][lane % 4 + up][i])
            return registers(ty, 8, lambda i: c[q][(lane & 1) + (i & 2) + up][(i & 4) + (lane & 2) + (i & 1)])
        emit(f"sync.aligned.m8n8k4.{a_layout}.{b_layout}.{d_name}.f16.f16.{c_name}", (h, h, c_ty, d_ty),
             [(*lane_ab(l), lane_c8(c_ty, c, l), lane_c8(d_ty, d, l)) for l in lanes])
    f.close()

    f = File("mma_sp", "Multiplication of a sparse matrix in the registers of a warp.")
    def sparse(opcode, k, types, selector, ordered, sat=False):
        a_ty, b_ty, c_ty, d_ty = (Element(t) for t in types)
        # Elements of a chunk, those that an index is for, and what each lane of a group has: rows above the
        # group's number and chunks from the lowest bit on.
        chunk, unit = {4: (8, 2), 32: (2, 1)}.get(a_ty.bits, (4, 1))
        half = lambda first: [(0, range(first, first + 4)), (8, range(first, first + 4))]
        whole = lambda row, first: [(row, range(first, first + 8))]
        small = {4: [half(0)], 8: [half(0), half(4)]}
        large = {8: [whole(0, 0), whole(8, 0)], 16: [whole(0, 0), whole(8, 0), whole(0, 8), whole(8, 8)]}
        holders = (small if a_ty.bits >= 16 else large)[k // chunk]
        a, kept, indices = [[0] * k for _ in range(16)], [[] for _ in range(16)], [[] for _ in range(16)]
        for row, number in itertools.product(range(16), range(k // chunk)):
            pair = f.random.sample(range(4), 2)
            if a_ty.bits == 32:
                # The two halves of an element.
                pair = f.random.choice(([0, 1], [2, 3]))
            elif ordered:
                pair.sort()
            places = [pair[0] // 2] if a_ty.bits == 32 else [p * unit + j for p in pair for j in range(unit)]
            for place in places:
                kept[row].append(a_ty.pick(f.random))
                a[row][number * chunk + place] = kept[row][-1]
            indices[row].append(pair[0] | pair[1] << 2)
        b, c = matrix(f.random, b_ty, k, 8), matrix(f.random, c_ty, 16, 8)
        d = product(a, b, c, sat=sat)
        metadata = {lane: [f.random.getrandbits(32)] for lane in lanes}
        for group, (lane, parts) in itertools.product(range(8), enumerate(holders)):
            nibbles = [indices[group + row][number] for row, numbers in parts for number in numbers]
            metadata[group * 4 + selector * len(holders) + lane] = [sum(x << 4 * i for i, x in enumerate(nibbles))]
        variant = "sp::ordered_metadata" if ordered else "sp"
        emit(f"{variant}.sync.aligned.m16n8k{k}.row.col{opcode}", (a_ty, b_ty, c_ty, d_ty),
             [(lane_a(a_ty, kept, l), lane_b(b_ty, b, l), lane_c(c_ty, c, l), lane_c(d_ty, d, l)) for l in lanes],
             metadata, selector)
    for ordered in (False, True):
        for selector in range(4):
            c = ("f32", "f16")[selector % 2]
            sparse(f".{c}.f16.f16.{c}", 16, ("f16", "f16", c, c), selector, ordered)
            sparse(".f32.bf16.bf16.f32", 16, ("bf16", "bf16", "f32", "f32"), selector, ordered)
            sparse(".f32.tf32.tf32.f32", 8, ("tf32", "tf32", "f32", "f32"), selector, ordered)
        for selector in range(2):
            for c in ("f16", "f32"):
                sparse(f".{c}.f16.f16.{c}", 32, ("f16", "f16", c, c), selector, ordered)
            sparse(".f32.bf16.bf16.f32", 32, ("bf16", "bf16", "f32", "f32"), selector, ordered)
            sparse(".f32.tf32.tf32.f32", 16, ("tf32", "tf32", "f32", "f32"), selector, ordered)
            for bits, (x, y) in itertools.product((4, 8), itertools.product("us", repeat=2)):
                sat = (x == y) == (selector == 0)
                types, opcode = (f"{x}{bits}", f"{y}{bits}", "s32", "s32"), f"{'.satfinite' if sat else ''}.s32.{x}{bits}.{y}{bits}.s32"
                sparse(opcode, 256 // bits, types, selector, ordered, sat)
                sparse(opcode, 512 // bits, types, 0, ordered, sat)
        for x, y in itertools.product(("e4m3", "e5m2"), repeat=2):
            sparse(f".f32.{x}.{y}.f32", 64, (x, y, "f32", "f32"), 0, ordered)
    f.close()

    f = File("wmma", "Matrices from memory to memory.")
    def memory_bytes(ty, rows, by_row, stride):
        """A matrix in memory, lines of `stride` elements."""
        lines = rows if by_row else [list(column) for column in zip(*rows)]
        bits = 0
        for i, line in enumerate(lines):
            for j, value in enumerate(line):
                bits |= ty.encode(value) << (i * stride + j) * ty.bits
        return bits.to_bytes(len(lines) * stride * ty.bits // 8, "little")
    def wmma(shape, types, layouts, op="", sat=""):
        m, n, k = shape
        a_ty, b_ty, c_ty, d_ty = (Element(t) for t in types)
        a, b, c = matrix(f.random, a_ty, m, k), matrix(f.random, b_ty, k, n), matrix(f.random, c_ty, m, n)
        d = product(a, b, c, op or "mul", bool(sat))
        rows = [layout == "row" for layout in layouts]
        strides = [(y if r else x) for r, (x, y) in zip(rows, ((m, k), (k, n), (m, n), (m, n)))]
        parts = [memory_bytes(t, v, r, l) for t, v, r, l in zip((a_ty, b_ty, c_ty, d_ty), (a, b, c, d), rows, strides)]
        offsets = [0, len(parts[0]), len(parts[0]) + len(parts[1]), len(parts[0]) + len(parts[1]) + len(parts[2])]
        data = b"".join(parts[:3])
        data += bytes(-len(data) % 256)
        words = lambda bytes_, lane: [int.from_bytes(bytes_[lane * per + 8 * i:][:8], "little") for i in range(per // 8)] if (per := len(bytes_) // 32) else []
        result = parts[3] + bytes(-len(parts[3]) % 256)
        name = f"m{m}n{n}k{k}"
        # Registers by the sizes that the PTX ISA lists.
        used = [max(1, x * y // 32 // t.per) for t, (x, y) in zip((a_ty, b_ty, c_ty, d_ty), ((m, k), (k, n), (m, n), (m, n)))]
        if a_ty.name == "f16":
            used[0] = used[1] = 8
        regs = lambda letter, t, n, first=0: "{" + ", ".join(f"%{letter}{first + i}" for i in range(n)) + "}"
        declare = "".join(f".reg .{t.reg} %{letter}<{n}>;\n" for letter, t, n in zip("abcd", (a_ty, b_ty, c_ty, d_ty), used))
        in_per, out_per = len(data) // 256, len(result) // 256
        text = "{\n" + declare + "mov.u32 %t0, %tid.x;\nmov.u64 %u0, global_bytes;\n" + f"mad.wide.u32 %u1, %t0, {in_per * 8}, %u0;\n"
        text += "".join(f"st.global.b64 [%u1+{8 * i}], %i{i};\n" for i in range(in_per)) + "bar.warp.sync 0xffffffff;\n"
        for which, t, n, layout, stride, offset in zip("abc", (a_ty, b_ty, c_ty), used, layouts, strides, offsets):
            text += f"wmma.load.{which}.sync.aligned.{layout}.{name}.global.{t.name} {regs(which, t, n)}, [%u0+{offset}], {stride};\n"
        multiply = {"f16": f"{d_ty.name}.{c_ty.name}"}.get(a_ty.name, f"{d_ty.name}.{a_ty.name}.{b_ty.name}.{c_ty.name}")
        text += (f"wmma.mma{'.' + op + '.popc' if op else ''}.sync.aligned.{layouts[0]}.{layouts[1]}.{name}.{multiply}{sat} "
                 + ", ".join(regs(l, t, n) for l, t, n in zip("dabc", (d_ty, a_ty, b_ty, c_ty), (used[3], *used[:3]))) + ";\n")
        text += f"wmma.store.d.sync.aligned.{layouts[3]}.{name}.global.{d_ty.name} [%u0+{offsets[3]}], {regs('d', d_ty, used[3])}, {strides[3]};\n"
        text += "bar.warp.sync 0xffffffff;\n" + f"mad.wide.u32 %u1, %t0, {out_per * 8}, %u0;\n"
        text += "\n".join(f"ld.global.b64 %o{i}, [%u1+{offsets[3] + 8 * i}];" for i in range(out_per)) + "\n}"
        f.form(text, ["b64"] * in_per, ["b64"] * out_per, [(words(data, l), words(result, l)) for l in range(32)])
    large = ((16, 16, 16), (32, 8, 16), (8, 32, 16))
    every = list(itertools.product(("row", "col"), repeat=2))
    for shape, (x, y) in itertools.product(large, every):
        wmma(shape, ("f16", "f16", "f32", "f32"), (x, y, x, y))
        wmma(shape, ("f16", "f16", "f16", "f16"), (x, y, y, x))
    wmma(large[0], ("f16", "f16", "f16", "f32"), ("row", "col", "row", "row"))
    wmma(large[0], ("f16", "f16", "f32", "f16"), ("row", "col", "row", "row"))
    for shape, name in itertools.product(large, ("u8", "s8")):
        for sat in ("", ".satfinite"):
            wmma(shape, (name, name, "s32", "s32"), ("row", "col", "row", "row"), sat=sat)
        wmma(shape, (name, name, "s32", "s32"), ("col", "row", "col", "row"))
    for shape in large:
        wmma(shape, ("bf16", "bf16", "f32", "f32"), ("row", "col", "row", "col"))
    for x, y in every:
        wmma((16, 16, 8), ("tf32", "tf32", "f32", "f32"), (x, y, x, y))
        wmma((8, 8, 4), ("f64",) * 4, (x, y, y, x))
    for name in ("u4", "s4"):
        wmma((8, 8, 32), (name, name, "s32", "s32"), ("row", "col", "row", "col"))
    for op in ("xor", "and"):
        wmma((8, 8, 128), ("b1", "b1", "s32", "s32"), ("row", "col", "row", "col"), op)
    f.close()


if __name__ == "__main__":
    os.makedirs(FOLDER, exist_ok=True)
    integer()
    comparison()
    floating()
    conversion()
    video()
    memory()
    warp()
    mma()
