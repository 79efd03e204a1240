//! Functions that are random by design: the same for the same seed, an error without one.

use chacha20::ChaCha20Rng;
use chacha20::rand_core::Rng as _;

use super::Type::{Int, String as Text};
use super::{Answer, Function, count, integer, text, within};
use crate::exec::{Executor, Failure};
use crate::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    within("randAlphaNum", &[Int], |e, a| characters(e, a, |c| c.is_ascii_alphanumeric())),
    within("randAlpha", &[Int], |e, a| characters(e, a, |c| c.is_ascii_alphabetic())),
    within("randNumeric", &[Int], |e, a| characters(e, a, |c| c.is_ascii_digit())),
    within("randAscii", &[Int], |e, a| characters(e, a, |c| (' '..='~').contains(&c))),
    within("randInt", &[Int, Int], random_integer),
    within("randBytes", &[Int], random_bytes),
    within("shuffle", &[Text], shuffle),
    within("uuidv4", &[], uuid),
];

impl Executor<'_> {
    /// Where random numbers come from, if a seed was given.
    pub(super) fn random(&mut self) -> Result<&mut ChaCha20Rng, Failure> {
        self.budget
            .random(self.environment.seed)
            .ok_or_else(|| "the program does not provide a seed for randomness".into())
    }

    pub(super) fn random_bytes<const N: usize>(&mut self) -> Result<[u8; N], Failure> {
        let mut bytes = [0; N];
        self.random()?.fill_bytes(&mut bytes);
        Ok(bytes)
    }

    /// A random number below a limit.
    fn below(&mut self, limit: usize) -> Result<usize, Failure> {
        let limit = u64::try_from(limit.max(1)).unwrap_or(u64::MAX);
        Ok(usize::try_from(self.random()?.next_u64() % limit).unwrap_or_default())
    }
}

fn characters(executor: &mut Executor<'_>, arguments: &[Value], wanted: fn(char) -> bool) -> Answer {
    let alphabet: Vec<char> = (' '..='~').filter(|c| wanted(*c)).collect();
    let mut text = String::new();
    // A length below zero gives nothing, as in Sprig, which drops the error.
    for _ in 0..count(arguments, 0).unwrap_or(0) {
        text.extend(alphabet.get(executor.below(alphabet.len())?));
    }
    Ok(Value::string(text))
}

fn random_integer(executor: &mut Executor<'_>, arguments: &[Value]) -> Answer {
    let (least, most) = (integer(arguments, 0), integer(arguments, 1));
    match most.checked_sub(least).and_then(|range| usize::try_from(range).ok()).filter(|range| *range > 0) {
        Some(range) => Ok(Value::Int(least + i64::try_from(executor.below(range)?).unwrap_or_default())),
        None => Err("invalid argument to Intn".into()),
    }
}

fn random_bytes(executor: &mut Executor<'_>, arguments: &[Value]) -> Answer {
    let mut bytes = vec![0; count(arguments, 0)?];
    executor.random()?.fill_bytes(&mut bytes);
    Ok(Value::string(crate::encoding::base64(&bytes)))
}

fn shuffle(executor: &mut Executor<'_>, arguments: &[Value]) -> Answer {
    let mut chars: Vec<char> = text(arguments, 0).chars().collect();
    for last in (1..chars.len()).rev() {
        let other = executor.below(last + 1)?;
        chars.swap(last, other);
    }
    Ok(Value::string(chars.into_iter().collect::<String>()))
}

fn uuid(executor: &mut Executor<'_>, _: &[Value]) -> Answer {
    let mut bytes: [u8; 16] = executor.random_bytes()?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits = crate::encoding::hexadecimal(&bytes);
    let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
    Ok(Value::string(parts.join("-")))
}
