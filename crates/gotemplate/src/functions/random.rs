//! Functions that are random by design: the same for the same seed, an error without one. Those that make keys,
//! certificates and salted hashes are errors that say so: what is predictable must not look like a secret.

use super::Type::{Any, Int, String as Text};
use super::{Answer, Function, count, integer, plain, text, within};
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
    within("bcrypt", &[Text], |_, _| Err(refused("bcrypt", "its salt is random"))),
    within("htpasswd", &[Text, Text], |_, _| Err(refused("htpasswd", "its salt is random"))),
    within("encryptAES", &[Text, Text], |_, _| {
        Err(refused("encryptAES", "its initialization vector is random"))
    }),
    within("genPrivateKey", &[Text], |_, _| Err(refused("genPrivateKey", KEYS))),
    within("genCA", &[Text, Int], |_, _| Err(refused("genCA", KEYS))),
    within("genCAWithKey", &[Text, Int, Text], |_, _| Err(refused("genCAWithKey", KEYS))),
    within("genSelfSignedCert", &[Text, Any, Any, Int], |_, _| Err(refused("genSelfSignedCert", KEYS))),
    within("genSelfSignedCertWithKey", &[Text, Any, Any, Int, Text], |_, _| {
        Err(refused("genSelfSignedCertWithKey", KEYS))
    }),
    within("genSignedCert", &[Text, Any, Any, Int, Any], |_, _| Err(refused("genSignedCert", KEYS))),
    within("genSignedCertWithKey", &[Text, Any, Any, Int, Any, Text], |_, _| {
        Err(refused("genSignedCertWithKey", KEYS))
    }),
    plain("buildCustomCert", &[Text, Text], |_| {
        Err(refused("buildCustomCert", "only certificates made here would need it"))
    }),
    plain("derivePassword", &[Int, Text, Text, Text, Text], |_| {
        Err(refused("derivePassword", "there is no scrypt here"))
    }),
    plain("decryptAES", &[Text, Text], |_| Err(refused("decryptAES", "there is no AES here"))),
];

const KEYS: &str = "it makes keys or certificates, which are random";

fn refused(name: &str, why: &str) -> Failure {
    format!("{name} is not supported: {why}").into()
}

impl Executor<'_> {
    /// The next random number, by the generator `SplitMix64`.
    fn random(&mut self) -> Result<u64, Failure> {
        let state = self.budget.random_state(self.environment.seed).ok_or(
            "it is random by design, and no seed was given: the same input shall give the same output",
        )?;
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Ok(mixed ^ (mixed >> 31))
    }

    /// A random number below a limit.
    fn below(&mut self, limit: usize) -> Result<usize, Failure> {
        let limit = u64::try_from(limit.max(1)).unwrap_or(u64::MAX);
        Ok(usize::try_from(self.random()? % limit).unwrap_or_default())
    }
}

fn characters(executor: &mut Executor<'_>, arguments: &[Value], wanted: fn(char) -> bool) -> Answer {
    let alphabet: Vec<char> = (' '..='~').filter(|c| wanted(*c)).collect();
    let mut text = String::new();
    for _ in 0..count(arguments, 0)? {
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
    let mut bytes = Vec::new();
    for _ in 0..count(arguments, 0)? {
        bytes.push(u8::try_from(executor.random()? & 0xff).unwrap_or_default());
    }
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
    let (high, low) = (executor.random()?, executor.random()?);
    let text = format!("{high:016x}{low:016x}");
    let variant = ["8", "9", "a", "b"].get(executor.below(4)?).copied().unwrap_or("8");
    Ok(Value::string(format!(
        "{}-{}-4{}-{variant}{}-{}",
        &text[..8],
        &text[8..12],
        &text[13..16],
        &text[17..20],
        &text[20..]
    )))
}
