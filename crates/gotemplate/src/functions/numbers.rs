//! Sprig's arithmetic.

use super::Type::{Any, Float, Int, String as Text};
use super::{Answer, Function, any, from, integer, plain, text, variadic};
use crate::exec::Failure;
use crate::format;
use crate::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    plain("atoi", &[Text], |a| Ok(Value::Int(decimal(&text(a, 0)).unwrap_or(0)))),
    plain("int", &[Any], |a| Ok(Value::Int(to_integer(&any(a, 0))))),
    plain("int64", &[Any], |a| Ok(Value::Int64(to_integer(&any(a, 0))))),
    plain("float64", &[Any], |a| Ok(Value::Float(to_float(&any(a, 0))))),
    plain("toDecimal", &[Any], to_decimal),
    plain("add1", &[Any], |a| Ok(Value::Int64(to_integer(&any(a, 0)).wrapping_add(1)))),
    variadic("add", &[], Any, |a| Ok(Value::Int64(a.iter().map(to_integer).fold(0, i64::wrapping_add)))),
    plain("sub", &[Any, Any], |a| {
        Ok(Value::Int64(to_integer(&any(a, 0)).wrapping_sub(to_integer(&any(a, 1)))))
    }),
    plain("div", &[Any, Any], |a| divided(a, i64::wrapping_div)),
    plain("mod", &[Any, Any], |a| divided(a, i64::wrapping_rem)),
    variadic("mul", &[Any], Any, |a| Ok(Value::Int64(a.iter().map(to_integer).fold(1, i64::wrapping_mul)))),
    plain("add1f", &[Any], |a| decimals(&[any(a, 0), Value::Int(1)], Operation::Add)),
    variadic("addf", &[], Any, |a| decimals(a, Operation::Add)),
    variadic("subf", &[Any], Any, |a| decimals(a, Operation::Subtract)),
    variadic("mulf", &[Any], Any, |a| decimals(a, Operation::Multiply)),
    variadic("divf", &[Any], Any, |a| decimals(a, Operation::Divide)),
    variadic("max", &[Any], Any, |a| Ok(Value::Int64(a.iter().map(to_integer).max().unwrap_or_default()))),
    variadic("biggest", &[Any], Any, |a| {
        Ok(Value::Int64(a.iter().map(to_integer).max().unwrap_or_default()))
    }),
    variadic("min", &[Any], Any, |a| Ok(Value::Int64(a.iter().map(to_integer).min().unwrap_or_default()))),
    variadic("maxf", &[Any], Any, |a| Ok(Value::Float(extreme(a, f64::max)))),
    variadic("minf", &[Any], Any, |a| Ok(Value::Float(extreme(a, f64::min)))),
    plain("ceil", &[Any], |a| Ok(Value::Float(to_float(&any(a, 0)).ceil()))),
    plain("floor", &[Any], |a| Ok(Value::Float(to_float(&any(a, 0)).floor()))),
    variadic("round", &[Any, Int], Float, round),
];

/// A number in base ten.
fn decimal(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

/// A number as an integer, by the Go library `cast`: texts in any base, floats cut, all else 0.
pub(super) fn to_integer(value: &Value) -> i64 {
    match value {
        Value::Bool(value) => i64::from(*value),
        #[allow(clippy::cast_possible_truncation)]
        // Go cuts as well; out of range it gives the smallest number.
        Value::Float(number) => {
            const LIMIT: f64 = 9_223_372_036_854_775_808.0;
            if *number >= -LIMIT && *number < LIMIT { *number as i64 } else { i64::MIN }
        }
        Value::String(text) => crate::syntax::integer(without_zero_decimals(text))
            .and_then(|number| i64::try_from(number).ok())
            .unwrap_or(0),
        Value::Duration(_) => 0,
        other => other.as_integer().unwrap_or(0),
    }
}

/// `1.00` is `1`.
fn without_zero_decimals(text: &str) -> &str {
    match text.rsplit_once('.') {
        Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|byte| byte == b'0') => whole,
        _ => text,
    }
}

/// A number as a float, likewise.
pub(super) fn to_float(value: &Value) -> f64 {
    match value {
        Value::Bool(value) => f64::from(u8::from(*value)),
        Value::Float(number) => *number,
        Value::String(text) => parse_float(text).unwrap_or(0.0),
        Value::Duration(_) => 0.0,
        #[allow(clippy::cast_precision_loss)] // Go converts in the same way.
        other => other.as_integer().unwrap_or(0) as f64,
    }
}

/// `strconv.ParseFloat`.
pub(super) fn parse_float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text).to_ascii_lowercase();
    match unsigned.as_str() {
        "inf" | "infinity" | "nan" => return text.to_ascii_lowercase().parse().ok(),
        _ if unsigned.starts_with("0x") => return None,
        _ => {}
    }
    let is_number = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    is_number.then(|| text.parse().ok().filter(|float: &f64| float.is_finite()))?
}

/// A text as an octal number.
fn to_decimal(arguments: &[Value]) -> Answer {
    let text = format::sprint(arguments)?;
    let text = crate::encoding::lossy(&text);
    let digits = text.strip_prefix(['+', '-']).unwrap_or(&text);
    let is_octal = !digits.is_empty() && digits.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    Ok(Value::Int64(if is_octal { i64::from_str_radix(&text, 8).unwrap_or(0) } else { 0 }))
}

fn divided(arguments: &[Value], operation: fn(i64, i64) -> i64) -> Answer {
    match to_integer(&any(arguments, 1)) {
        0 => Err("runtime error: integer divide by zero".into()),
        divisor => Ok(Value::Int64(operation(to_integer(&any(arguments, 0)), divisor))),
    }
}

fn extreme(arguments: &[Value], choose: fn(f64, f64) -> f64) -> f64 {
    let mut numbers = arguments.iter().map(to_float);
    let first = numbers.next().unwrap_or_default();
    numbers.fold(first, |a, b| if a.is_nan() || b.is_nan() { f64::NAN } else { choose(a, b) })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
}

/// A decimal number: digits and the power of ten that they are multiplied with.
#[derive(Debug, Clone, Copy)]
struct Decimal {
    digits: i128,
    exponent: i32,
}

/// Sprig counts in decimals, so that 0.1 and 0.2 are 0.3. Where the digits do not suffice, floats take over.
fn decimals(arguments: &[Value], operation: Operation) -> Answer {
    let mut numbers = arguments.iter().map(to_float);
    let Some(mut result) = numbers.next() else { return Ok(Value::Float(0.0)) };
    if !result.is_finite() {
        return Err(not_finite(result));
    }
    let mut exact = Decimal::of(result);
    for number in numbers {
        if !number.is_finite() {
            return Err(not_finite(number));
        }
        if operation == Operation::Divide && number == 0.0 {
            return Err("decimal division by 0".into());
        }
        result = match operation {
            Operation::Add => result + number,
            Operation::Subtract => result - number,
            Operation::Multiply => result * number,
            // Quotients have sixteen decimals.
            Operation::Divide => format!("{:.16}", result / number).parse().unwrap_or(0.0) + 0.0,
        };
        exact = exact.zip(Decimal::of(number)).and_then(|(a, b)| a.apply(b, operation));
    }
    Ok(Value::Float(exact.and_then(Decimal::float).unwrap_or(result)))
}

fn not_finite(number: f64) -> Failure {
    format!("Cannot create a Decimal from {}", format::float(number)).into()
}

impl Decimal {
    /// The decimal that a float is printed as.
    fn of(number: f64) -> Option<Self> {
        let text = format!("{number:e}");
        let (mantissa, exponent) = text.split_once('e')?;
        let fraction = mantissa.split_once('.').map_or(0, |(_, fraction)| fraction.len());
        let digits = mantissa.replace('.', "").parse().ok()?;
        let exponent = exponent.parse::<i32>().ok()? - i32::try_from(fraction).ok()?;
        Some(Self { digits, exponent })
    }

    fn float(self) -> Option<f64> {
        format!("{}e{}", self.digits, self.exponent).parse().ok()
    }

    /// The same number with a lower exponent.
    fn lowered(self, exponent: i32) -> Option<i128> {
        let power = u32::try_from(self.exponent - exponent).ok()?;
        self.digits.checked_mul(10i128.checked_pow(power)?)
    }

    fn apply(self, other: Self, operation: Operation) -> Option<Self> {
        let exponent = self.exponent.min(other.exponent);
        match operation {
            Operation::Add => {
                let digits = self.lowered(exponent)?.checked_add(other.lowered(exponent)?)?;
                Some(Self { digits, exponent })
            }
            Operation::Subtract => {
                let digits = self.lowered(exponent)?.checked_sub(other.lowered(exponent)?)?;
                Some(Self { digits, exponent })
            }
            Operation::Multiply => {
                let digits = self.digits.checked_mul(other.digits)?;
                Some(Self { digits, exponent: self.exponent + other.exponent })
            }
            Operation::Divide => self.divided(other),
        }
    }

    /// A quotient is rounded to sixteen decimals.
    fn divided(self, other: Self) -> Option<Self> {
        const DECIMALS: i32 = 16;
        let shift = self.exponent - other.exponent + DECIMALS;
        let (mut numerator, mut denominator) = (self.digits, other.digits);
        let power = 10i128.checked_pow(shift.unsigned_abs())?;
        if shift >= 0 {
            numerator = numerator.checked_mul(power)?;
        } else {
            denominator = denominator.checked_mul(power)?;
        }
        let (quotient, remainder) = (numerator / denominator, numerator % denominator);
        let rounds_up = remainder.checked_abs()?.checked_mul(2)? >= denominator.checked_abs()?;
        let away = if (numerator < 0) == (denominator < 0) { 1 } else { -1 };
        Some(Self { digits: quotient + if rounds_up { away } else { 0 }, exponent: -DECIMALS })
    }
}

/// Rounds to a number of places; it rounds up from a half unless another part is given.
fn round(arguments: &[Value]) -> Answer {
    let half = from(arguments, 2).first().map_or(0.5, to_float);
    let places = i32::try_from(integer(arguments, 1)).unwrap_or(i32::MAX);
    let power = 10f64.powi(places);
    let digits = power * to_float(&any(arguments, 0));
    let rounded = if digits.fract() >= half { digits.ceil() } else { digits.floor() };
    Ok(Value::Float(rounded / power))
}
