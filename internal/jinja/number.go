package jinja

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// normal is n as an int where it fits.
func normal(n *big.Int) Value {
	if n.IsInt64() {
		return int(n.Int64())
	}
	return n
}

// toBig is v as a big whole number, if it is one.
func toBig(v Value) (*big.Int, bool) {
	if n, ok := asInt(v); ok {
		return big.NewInt(int64(n)), true
	}
	n, ok := v.(*big.Int)
	return n, ok
}

var errTooLarge = errors.New("a number is too large for a float")

// toFloat is v as a float64, if it is a number.
func toFloat(v Value) (f float64, ok bool, err error) {
	if f, ok := v.(float64); ok {
		return f, true, nil
	}
	n, ok := toBig(v)
	if !ok {
		return 0, false, nil
	}
	f, _ = new(big.Float).SetInt(n).Float64()
	if math.IsInf(f, 0) {
		return 0, true, errTooLarge
	}
	return f, true, nil
}

// arithmetic returns x op y; ok is false if x or y is not a number.
func arithmetic(op string, x, y Value) (v Value, ok bool, err error) {
	a, aWhole := toBig(x)
	b, bWhole := toBig(y)
	if aWhole && bWhole && op != "/" && (op != "**" || b.Sign() >= 0) {
		v, err = wholeArithmetic(op, a, b)
		return v, true, err
	}
	if aWhole && bWhole && op == "/" && b.Sign() != 0 && max(a.BitLen(), b.BitLen()) > 53 {
		f, _ := new(big.Rat).SetFrac(a, b).Float64()
		if math.IsInf(f, 0) {
			return nil, true, errTooLarge
		}
		return f, true, nil
	}
	f, ok, err := toFloat(x)
	g, ok2, err2 := toFloat(y)
	if !ok || !ok2 {
		return nil, false, nil
	}
	if err := errors.Join(err, err2); err != nil {
		return nil, true, errTooLarge
	}
	v, err = floatArithmetic(op, f, g)
	return v, true, err
}

var errByZero = errors.New("division by zero")

func wholeArithmetic(op string, a, b *big.Int) (Value, error) {
	n := new(big.Int)
	switch op {
	case "+":
		n.Add(a, b)
	case "-":
		n.Sub(a, b)
	case "*":
		n.Mul(a, b)
	case "//", "%":
		if b.Sign() == 0 {
			return nil, errByZero
		}
		quotient, rest := new(big.Int).QuoRem(a, b, new(big.Int))
		if rest.Sign() != 0 && rest.Sign() != b.Sign() { // round down
			quotient.Sub(quotient, big.NewInt(1))
			rest.Add(rest, b)
		}
		if n = quotient; op == "%" {
			n = rest
		}
	case "**":
		if a.BitLen() > 1 && (!b.IsInt64() || b.Int64() > int64(maxBits/(a.BitLen()-1))) {
			return nil, limitf("it makes a number of more than %d bits", maxBits)
		}
		if a.BitLen() <= 1 {
			b = new(big.Int).And(b, big.NewInt(1)) // of 0, 1 and -1
			if a.Sign() == 0 && b.Sign() == 0 {
				return 1, nil
			}
		}
		n.Exp(a, b, nil)
	}
	if n.BitLen() > maxBits {
		return nil, limitf("it makes a number of more than %d bits", maxBits)
	}
	return normal(n), nil
}

func floatArithmetic(op string, f, g float64) (Value, error) {
	if g == 0 && (op == "/" || op == "//" || op == "%") || f == 0 && g < 0 && op == "**" {
		return nil, errByZero
	}
	switch op {
	case "+":
		return f + g, nil
	case "-":
		return f - g, nil
	case "*":
		return f * g, nil
	case "/":
		return f / g, nil
	case "//":
		quotient, _ := floatDivMod(f, g)
		return quotient, nil
	case "%":
		_, rest := floatDivMod(f, g)
		return rest, nil
	}
	if f < 0 && g != math.Trunc(g) && !math.IsInf(f, 0) {
		return nil, errors.New("a negative number to a power that is not whole is not supported")
	}
	p := math.Pow(f, g)
	if math.IsInf(p, 0) && !math.IsInf(f, 0) && !math.IsInf(g, 0) {
		return nil, errTooLarge
	}
	return p, nil
}

// floatDivMod is Python's divmod: the rest has the sign of g.
func floatDivMod(f, g float64) (quotient, rest float64) {
	rest = math.Mod(f, g)
	quotient = (f - rest) / g
	switch {
	case rest != 0 && (g < 0) != (rest < 0):
		rest += g
		quotient--
	case rest == 0:
		rest = math.Copysign(0, g)
	}
	if quotient == 0 {
		return math.Copysign(0, f/g), rest
	}
	floor := math.Floor(quotient)
	if quotient-floor > 0.5 {
		floor++
	}
	return floor, rest
}

// intText is str of a whole number. Python refuses to write more than 4,300 digits.
func intText(n *big.Int) (string, error) {
	if n.BitLen() > 4300*4 {
		return "", errors.New("a number has more than 4300 digits")
	}
	s := n.String()
	if len(strings.TrimPrefix(s, "-")) > 4300 {
		return "", errors.New("a number has more than 4300 digits")
	}
	return s, nil
}

// floatText is repr of a float: the shortest text that reads as the same number.
func floatText(f float64) string {
	switch {
	case math.IsNaN(f):
		return "nan"
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	}
	s := strconv.FormatFloat(f, 'e', -1, 64)
	mantissa, exponent, _ := strings.Cut(s, "e")
	if e, _ := strconv.Atoi(exponent); e < -4 || e >= 16 {
		return mantissa + "e" + exponent
	}
	s = strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// round is Python's round(v, digits): half to even, of the exact value.
func round(v Value, digits int) (Value, error) {
	if n, ok := toBig(v); ok {
		if digits >= 0 {
			return normal(n), nil
		}
		if -digits > 2*maxBits {
			return 0, nil
		}
		unit := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(-digits)), nil)
		quotient, rest := new(big.Int).DivMod(n, unit, new(big.Int))
		twice := rest.Lsh(rest, 1).Cmp(unit)
		if twice > 0 || twice == 0 && quotient.Bit(0) == 1 {
			quotient.Add(quotient, big.NewInt(1))
		}
		return normal(quotient.Mul(quotient, unit)), nil
	}
	f, ok := v.(float64)
	switch {
	case !ok:
		return nil, fmt.Errorf("%s cannot be rounded", typeName(v))
	case math.IsNaN(f) || math.IsInf(f, 0) || digits > 340:
		return f, nil
	case digits < -310:
		return math.Copysign(0, f), nil
	case digits >= 0:
		rounded, _ := strconv.ParseFloat(strconv.FormatFloat(f, 'f', digits, 64), 64)
		return rounded, nil
	}
	unit := new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(-digits)), nil))
	exact := new(big.Rat).Quo(new(big.Rat).SetFloat64(math.Abs(f)), unit)
	twice := new(big.Int).Mul(exact.Num(), big.NewInt(2))
	quotient, rest := new(big.Int).DivMod(twice.Add(twice, exact.Denom()),
		new(big.Int).Mul(exact.Denom(), big.NewInt(2)), new(big.Int))
	if rest.Sign() == 0 && quotient.Bit(0) == 1 {
		quotient.Sub(quotient, big.NewInt(1))
	}
	rounded, _ := unit.Mul(unit, new(big.Rat).SetInt(quotient)).Float64()
	if math.IsInf(rounded, 0) {
		return nil, errTooLarge
	}
	return math.Copysign(rounded, f), nil
}

// truncated is f without its fraction, as a whole number.
func truncated(f float64) (Value, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil, fmt.Errorf("%s is not a whole number", floatText(f))
	}
	n, _ := big.NewFloat(math.Trunc(f)).Int(nil)
	return normal(n), nil
}
