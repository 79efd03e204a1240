//! Passwords, salted hashes and ciphers. What is salted starts at the seed, as all that is random.

use aes::Aes256;
use aes::cipher::block_padding::{NoPadding, Pkcs7};
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::Type::{String as Text, Uint32};
use super::{Answer, Function, bytes, integer, plain, text, within};
use crate::encoding;
use crate::exec::{Executor, Failure};
use crate::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    within("derivePassword", &[Uint32, Text, Text, Text, Text], derive_password),
    plain("sha1sum", &[Text], |a| Ok(Value::string(encoding::hexadecimal(&Sha1::digest(bytes(a, 0)))))),
    within("bcrypt", &[Text], |e, a| Ok(Value::string(hashed(e, bytes(a, 0))?))),
    within("htpasswd", &[Text, Text], htpasswd),
    within("encryptAES", &[Text, Text], encrypt),
    within("decryptAES", &[Text, Text], |_, a| decrypt(bytes(a, 0), bytes(a, 1))),
];

/// What a slow hash counts as: they are slow by design.
const SLOW: u64 = 50_000;

/// The kinds of passwords, each with the forms that it can have.
const FORMS: [(&str, &[&str]); 6] = [
    ("maximum", &["anoxxxxxxxxxxxxxxxxx", "axxxxxxxxxxxxxxxxxno"]),
    (
        "long",
        &[
            "CvcvnoCvcvCvcv",
            "CvcvCvcvnoCvcv",
            "CvcvCvcvCvcvno",
            "CvccnoCvcvCvcv",
            "CvccCvcvnoCvcv",
            "CvccCvcvCvcvno",
            "CvcvnoCvccCvcv",
            "CvcvCvccnoCvcv",
            "CvcvCvccCvcvno",
            "CvcvnoCvcvCvcc",
            "CvcvCvcvnoCvcc",
            "CvcvCvcvCvccno",
            "CvccnoCvccCvcv",
            "CvccCvccnoCvcv",
            "CvccCvccCvcvno",
            "CvcvnoCvccCvcc",
            "CvcvCvccnoCvcc",
            "CvcvCvccCvccno",
            "CvccnoCvcvCvcc",
            "CvccCvcvnoCvcc",
            "CvccCvcvCvccno",
        ],
    ),
    ("medium", &["CvcnoCvc", "CvcCvcno"]),
    ("short", &["Cvcn"]),
    ("basic", &["aaanaaan", "aannaaan", "aaannaaa"]),
    ("pin", &["nnnn"]),
];

/// The characters that a letter of a form stands for.
fn alphabet(letter: char) -> &'static [u8] {
    match letter {
        'V' => b"AEIOU",
        'C' => b"BCDFGHJKLMNPQRSTVWXYZ",
        'v' => b"aeiou",
        'c' => b"bcdfghjklmnpqrstvwxyz",
        'a' => b"AEIOUaeiouBCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz",
        'n' => b"0123456789",
        'o' => b"@&%?,=[]_:-+*$#!'^~;()/.",
        _ => b"AEIOUaeiouBCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz0123456789!@#$%^&*()",
    }
}

/// The algorithm "Master Password": a key from the master password and the user, and from it a password per site.
fn derive_password(executor: &mut Executor<'_>, arguments: &[Value]) -> Answer {
    let kind = text(arguments, 1);
    let Some((_, forms)) = FORMS.iter().find(|(name, _)| *name == kind) else {
        return Ok(Value::string(format!("cannot find password template {kind}")));
    };
    executor.budget.steps(SLOW)?;
    let (password, user, site) = (bytes(arguments, 2), bytes(arguments, 3), bytes(arguments, 4));
    let counter = u32::try_from(integer(arguments, 0)).unwrap_or_default();
    let seed = site_seed(password, user, site, counter)
        .map_err(|reason| format!("failed to derive password: {reason}"))?;
    let (first, rest) = seed.split_first().ok_or("the seed of a password is empty")?;
    let form = forms[usize::from(*first) % forms.len()];
    let derived: String = form
        .chars()
        .zip(rest)
        .map(|(letter, byte)| {
            let characters = alphabet(letter);
            char::from(characters[usize::from(*byte) % characters.len()])
        })
        .collect();
    Ok(Value::string(derived))
}

fn site_seed(password: &[u8], user: &[u8], site: &[u8], counter: u32) -> Result<Vec<u8>, String> {
    const PREFIX: &[u8] = b"com.lyndir.masterpassword";
    let sized = |text: &[u8]| {
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes();
        [PREFIX, &length, text].concat()
    };
    let parameters = scrypt::Params::new(15, 8, 2).map_err(|error| error.to_string())?;
    let mut key = [0; 64];
    scrypt::scrypt(password, &sized(user), &parameters, &mut key).map_err(|error| error.to_string())?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).map_err(|error| error.to_string())?;
    mac.update(&sized(site));
    mac.update(&counter.to_be_bytes());
    Ok(mac.finalize().into_bytes().to_vec())
}

/// A bcrypt hash, or a sentence, as in Sprig.
fn hashed(executor: &mut Executor<'_>, password: &[u8]) -> Result<String, Failure> {
    /// Go's default.
    const COST: u32 = 10;
    const LONGEST: usize = 72;
    if password.len() > LONGEST {
        return Ok(
            "failed to encrypt string with bcrypt: bcrypt: password length exceeds 72 bytes".to_owned()
        );
    }
    executor.budget.steps(SLOW)?;
    let salt: [u8; 16] = executor.random_bytes()?;
    // The terminator belongs to the key, unless there is no room for it.
    let key: Vec<u8> = password.iter().copied().chain([0]).take(LONGEST).collect();
    let hash = bcrypt::bcrypt(COST, salt, &key);
    Ok(format!("$2a${COST}${}{}", encoding::bcrypt64(&salt), encoding::bcrypt64(&hash[..23])))
}

fn htpasswd(executor: &mut Executor<'_>, arguments: &[Value]) -> Answer {
    let user = text(arguments, 0);
    if user.contains(':') {
        return Ok(Value::string(format!("invalid username: {user}")));
    }
    Ok(Value::string(format!("{user}:{}", hashed(executor, bytes(arguments, 1))?)))
}

/// A password is the key as it is, cut or filled up with zeros.
fn key(password: &[u8]) -> [u8; 32] {
    let mut key = [0; 32];
    key.iter_mut().zip(password).for_each(|(byte, given)| *byte = *given);
    key
}

/// AES-256 in CBC mode, the initialization vector first.
fn encrypt(executor: &mut Executor<'_>, arguments: &[Value]) -> Answer {
    let plain = bytes(arguments, 1);
    if plain.is_empty() {
        return Ok(Value::string(""));
    }
    let vector: [u8; 16] = executor.random_bytes()?;
    let cipher = cbc::Encryptor::<Aes256>::new(&key(bytes(arguments, 0)).into(), &vector.into());
    let encrypted = cipher.encrypt_padded_vec::<Pkcs7>(plain);
    Ok(Value::string(encoding::base64(&[&vector[..], &encrypted].concat())))
}

/// The last byte determines the padding, right or wrong, as in Sprig.
fn decrypt(password: &[u8], text: &[u8]) -> Answer {
    if text.is_empty() {
        return Ok(Value::string(""));
    }
    let encrypted = encoding::from_base64(text)?;
    let (vector, blocks) = encrypted.split_first_chunk::<16>().ok_or("slice bounds out of range")?;
    let cipher = cbc::Decryptor::<Aes256>::new(&key(password).into(), &(*vector).into());
    let decrypted =
        cipher.decrypt_padded_vec::<NoPadding>(blocks).map_err(|_| "crypto/cipher: input not full blocks")?;
    let padding = decrypted.last().copied().map(usize::from).ok_or("index out of range [-1]")?;
    let length = decrypted.len().checked_sub(padding).ok_or("slice bounds out of range")?;
    Ok(Value::text(decrypted[..length].to_vec()))
}
