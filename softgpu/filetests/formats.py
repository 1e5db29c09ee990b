"""Binary floating-point formats on fractions, for generate.py.

Values are fractions, or "nan", "inf", "-inf" and "-0".
"""
import math
from fractions import Fraction


class Format:
    """A binary format: bits to values and back. Values are fractions, or "nan", "inf", "-inf", "-0"."""

    def __init__(self, name, mantissa, exponent):
        self.name, self.mantissa, self.exponent = name, mantissa, exponent
        self.bits = 1 + mantissa + exponent
        self.reg = f"b{self.bits}"
        self.bias = (1 << exponent - 1) - 1
        self.sign, self.top = 1 << self.bits - 1, ((1 << exponent) - 1) << mantissa
        self.nan = self.sign - 1
        self.largest = self.top - 1

    def value(self, bits):
        field, fraction = (bits & self.top) >> self.mantissa, bits & ((1 << self.mantissa) - 1)
        negative = bits & self.sign
        if field == self.top >> self.mantissa:
            return "nan" if fraction else ("-inf" if negative else "inf")
        if field == 0:
            magnitude = Fraction(fraction) * Fraction(2) ** (1 - self.bias - self.mantissa)
        else:
            magnitude = (Fraction(fraction) / (1 << self.mantissa) + 1) * Fraction(2) ** (field - self.bias)
        if magnitude == 0:
            return "-0" if negative else Fraction(0)
        return -magnitude if negative else magnitude

    def round(self, value, mode="rn"):
        """The bits of a value, rounded."""
        if value == "nan":
            return self.nan
        if value in ("inf", "-inf"):
            return self.top | (self.sign if value == "-inf" else 0)
        if value == "-0":
            return self.sign
        if value == 0:
            return 0
        sign = self.sign if value < 0 else 0
        magnitude = abs(value)
        exponent = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
        if Fraction(2) ** exponent > magnitude:
            exponent -= 1
        exponent = max(exponent, 1 - self.bias)
        scaled = magnitude / Fraction(2) ** (exponent - self.mantissa)
        kept, rest = scaled.numerator // scaled.denominator, scaled - scaled.numerator // scaled.denominator
        up = {"rn": rest > Fraction(1, 2) or rest == Fraction(1, 2) and kept & 1, "rna": rest >= Fraction(1, 2),
              "rz": False, "rm": bool(sign) and rest > 0, "rp": not sign and rest > 0}[mode]
        result = ((exponent - 1 + self.bias) << self.mantissa) + kept + up
        if result >= self.top:
            away = mode in ("rn", "rna") or (mode == "rm" and sign) or (mode == "rp" and not sign)
            result = self.top if away else self.largest
        return sign | result

    def subnormal(self, bits):
        return bits & self.top == 0 and bits & (self.sign - 1) != 0

    def flush(self, bits):
        return bits & self.sign if self.subnormal(bits) else bits


F16, BF16 = Format("f16", 10, 5), Format("bf16", 7, 8)
F32, F64 = Format("f32", 23, 8), Format("f64", 52, 11)
TF32 = Format("tf32", 10, 8)


def negative(x):
    return x in ("-inf", "-0") or not isinstance(x, str) and x < 0


def neg(x):
    return {"nan": "nan", "inf": "-inf", "-inf": "inf", "-0": Fraction(0)}.get(x) if isinstance(x, str) else (
        "-0" if x == 0 else -x)


def number(x):
    return Fraction(0) if x == "-0" else x


def add(x, y, mode):
    if "nan" in (x, y) or {x, y} == {"inf", "-inf"}:
        return "nan"
    for special in (x, y):
        if special in ("inf", "-inf"):
            return special
    if number(x) == 0 and number(y) == 0:
        both = x == "-0", y == "-0"
        return "-0" if all(both) or (any(both) and mode == "rm") else Fraction(0)
    total = number(x) + number(y)
    return total if total else ("-0" if mode == "rm" else Fraction(0))


def mul(x, y):
    if "nan" in (x, y):
        return "nan"
    sign = negative(x) != negative(y)
    infinite = [v in ("inf", "-inf") for v in (x, y)]
    if any(infinite):
        other = y if infinite[0] else x
        if not isinstance(other, str) and other == 0 or other == "-0":
            return "nan"
        return "-inf" if sign else "inf"
    product = number(x) * number(y)
    return product if product else ("-0" if sign else Fraction(0))


def div(x, y):
    if "nan" in (x, y):
        return "nan"
    sign = negative(x) != negative(y)
    infinite = [v in ("inf", "-inf") for v in (x, y)]
    if all(infinite) or number(x) == 0 and number(y) == 0:
        return "nan"
    if infinite[0] or number(y) == 0:
        return "-inf" if sign else "inf"
    if infinite[1] or number(x) == 0:
        return "-0" if sign else Fraction(0)
    return number(x) / number(y)


def root(x):
    """Square root, exact or with enough bits and a sticky one."""
    if x in ("nan", "inf", "-0"):
        return x
    if negative(x):
        return "nan"
    if x == 0:
        return x
    shift = 700
    scaled = (x * Fraction(4) ** shift)
    whole = scaled.numerator // scaled.denominator
    low = math.isqrt(whole)
    exact = low * low == whole and scaled.denominator == 1
    return Fraction(2 * low + (0 if exact else 1), 2) / Fraction(2) ** shift


def minmax(x, y, largest, propagate):
    if "nan" in (x, y):
        return "nan" if propagate else (y if x == "nan" else x)
    order = lambda v: {"inf": Fraction(10) ** 400, "-inf": -Fraction(10) ** 400}.get(v, number(v)) if isinstance(v, str) else v
    if order(x) == order(y):
        # -0 is below +0.
        return (y if negative(x) else x) if largest else (x if negative(x) else y)
    return (x if order(x) > order(y) else y) if largest else (x if order(x) < order(y) else y)
