//! Makes the keys and certificates that charts ask for, with the randomness of the operating system.
//!
//! They are what Sprig makes: RSA keys of 2048 bits, certificates for servers and clients.

use gotemplate::{CallResult, Object, Value};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize, SanType,
};
use std::fmt::Display;
use std::net::IpAddr;
use std::rc::Rc;
use time::{Duration, OffsetDateTime};

type Made<T> = Result<T, String>;

/// What [`gotemplate::Environment::with_certificates`] needs.
pub fn make(function: &str, arguments: &[Value]) -> CallResult {
    Ok(made(function, arguments)?)
}

fn made(function: &str, arguments: &[Value]) -> Made<Value> {
    let key = |position: usize| match arguments.get(position) {
        Some(text) => parsed_key(text.as_str().unwrap_or_default()),
        None => KeyPair::generate_for(&PKCS_RSA_SHA256).map_err(certificate_error),
    };
    match function {
        "genPrivateKey" => private_key(text(arguments, 0)).map(Value::string),
        "buildCustomCert" => custom(text(arguments, 0), text(arguments, 1)),
        "genCA" | "genCAWithKey" => authority(arguments, &key(2)?),
        "genSelfSignedCert" | "genSelfSignedCertWithKey" => {
            let key = key(4)?;
            let made = server(arguments)?.self_signed(&key).map_err(certificate_error)?;
            certificate(&made.pem(), &key)
        }
        "genSignedCert" | "genSignedCertWithKey" => {
            let key = key(5)?;
            let made =
                server(arguments)?.signed_by(&key, &issuer(arguments.get(4))?).map_err(certificate_error)?;
            certificate(&made.pem(), &key)
        }
        _ => Err(format!("{function} is not known")),
    }
}

fn certificate_error(error: impl Display) -> String {
    format!("error creating certificate: {error}")
}

fn text(arguments: &[Value], position: usize) -> &str {
    arguments.get(position).and_then(Value::as_str).unwrap_or_default()
}

fn days(arguments: &[Value], position: usize) -> i64 {
    arguments.get(position).and_then(Value::as_integer).unwrap_or_default()
}

/// What all certificates have.
fn parameters(name: &str, days: i64) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.not_before = OffsetDateTime::now_utc();
    parameters.not_after = parameters.not_before.saturating_add(Duration::days(days));
    parameters.key_usages = vec![KeyUsagePurpose::KeyEncipherment, KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    parameters
}

fn authority(arguments: &[Value], key: &KeyPair) -> Made<Value> {
    let mut parameters = parameters(text(arguments, 0), days(arguments, 1));
    parameters.key_usages.push(KeyUsagePurpose::KeyCertSign);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    certificate(&parameters.self_signed(key).map_err(certificate_error)?.pem(), key)
}

fn server(arguments: &[Value]) -> Made<CertificateParams> {
    let mut parameters = parameters(text(arguments, 0), days(arguments, 3));
    parameters.is_ca = IsCa::ExplicitNoCa;
    for address in texts(arguments.get(1), "ip")? {
        let address: IpAddr = address.parse().map_err(|_| format!("error parsing ip: {address}"))?;
        parameters.subject_alt_names.push(SanType::IpAddress(address));
    }
    for name in texts(arguments.get(2), "alternate dns name")? {
        parameters.subject_alt_names.push(SanType::DnsName(name.try_into().map_err(certificate_error)?));
    }
    Ok(parameters)
}

/// The texts of a list; nil is an empty one.
fn texts(list: Option<&Value>, what: &str) -> Made<Vec<String>> {
    let one = |value: &Value| {
        value
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| format!("error processing {what}: it is not a string"))
    };
    match list {
        None | Some(Value::Nil | Value::NilElement) => Ok(Vec::new()),
        Some(Value::List(list)) => list.values().iter().map(one).collect(),
        Some(other) => {
            Err(format!("wrong type for value; expected []interface {{}}; got {}", other.type_name()))
        }
    }
}

/// Who signs: a certificate that was made here.
fn issuer(value: Option<&Value>) -> Made<Issuer<'static, KeyPair>> {
    let Some(Value::Object(signer)) = value.filter(|value| value.type_name() == Certificate::TYPE) else {
        return Err(format!("wrong type for value; expected {}", Certificate::TYPE));
    };
    let field = |name| signer.field(name).as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
    Issuer::from_ca_cert_pem(&field("Cert"), parsed_key(&field("Key"))?).map_err(certificate_error)
}

fn parsed_key(pem: &str) -> Made<KeyPair> {
    KeyPair::from_pem(pem).map_err(|error| format!("parsing private key: {error}"))
}

/// A certificate and its key that the user has already.
fn custom(cert: &str, key: &str) -> Made<Value> {
    let parsed = parsed_key(key).map_err(|error| format!("error parsing private key: {error}"))?;
    Issuer::from_ca_cert_pem(cert, parsed).map_err(|error| format!("error parsing certificate: {error}"))?;
    Ok(Value::Object(Rc::new(Certificate { cert: cert.to_owned(), key: key.to_owned() })))
}

fn certificate(cert: &str, key: &KeyPair) -> Made<Value> {
    Ok(Value::Object(Rc::new(Certificate { cert: unix_lines(cert), key: key_pem(key)? })))
}

fn private_key(kind: &str) -> Made<String> {
    let key = match kind {
        "" | "rsa" => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_4096),
        "ecdsa" => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
        "ed25519" => KeyPair::generate_for(&PKCS_ED25519),
        "dsa" => return Err("keys for DSA are not made here: nothing should use them any more".to_owned()),
        other => return Ok(format!("Unknown type {other}")),
    };
    key_pem(&key.map_err(certificate_error)?)
}

fn unix_lines(text: &str) -> String {
    text.replace("\r\n", "\n")
}

/// A key in the form that Go writes for its kind.
fn key_pem(key: &KeyPair) -> Made<String> {
    let der = key.serialized_der();
    let algorithm = key.algorithm();
    if algorithm == &PKCS_RSA_SHA256 {
        return Ok(pem("RSA PRIVATE KEY", without_envelope(der)));
    }
    if algorithm == &PKCS_ECDSA_P256_SHA256 {
        let is_sec1 = der.starts_with(&SEC1);
        let made = if is_sec1 { Ok(der.to_vec()) } else { elliptic(der, key.public_key_raw()) };
        return made.map(|der| pem("EC PRIVATE KEY", &der));
    }
    Ok(pem("PRIVATE KEY", der))
}

/// An RSA key as PKCS#1, which PKCS#8 holds behind a version, an algorithm and a length: 26 bytes for keys of this size.
fn without_envelope(der: &[u8]) -> &[u8] {
    const ALGORITHM: u8 = 0x30;
    if der.get(7) == Some(&ALGORITHM) { der.get(26..).unwrap_or_default() } else { der }
}

/// How a key of the curve P-256 begins as SEC 1: a version and a private key of 32 bytes.
const SEC1: [u8; 7] = [0x30, 0x77, 0x02, 0x01, 0x01, 0x04, 0x20];

/// A key of the curve P-256 as SEC 1, which has parts of fixed length: version, private key, curve, public key.
fn elliptic(pkcs8: &[u8], public: &[u8]) -> Made<Vec<u8>> {
    const CURVE: [u8; 12] = [0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    const PUBLIC: [u8; 5] = [0xa1, 0x44, 0x03, 0x42, 0x00];
    let private = pkcs8.get(36..68).ok_or("the key has an unknown form")?;
    Ok([&SEC1, private, &CURVE, &PUBLIC, public].concat())
}

fn pem(label: &str, der: &[u8]) -> String {
    // Bytes are Base64 in JSON.
    let encoded = Value::Bytes(Rc::from(der)).to_json().unwrap_or_default();
    let encoded = encoded.as_str().unwrap_or_default();
    let lines: Vec<&str> =
        encoded.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// A certificate with its key, as templates see it.
struct Certificate {
    cert: String,
    key: String,
}

impl Certificate {
    const TYPE: &str = "sprig.certificate";
}

impl Object for Certificate {
    fn type_name(&self) -> &'static str {
        Self::TYPE
    }

    fn kind(&self) -> &'static str {
        "struct"
    }

    fn field(&self, name: &str) -> Option<Value> {
        match name {
            "Cert" => Some(Value::string(&self.cert)),
            "Key" => Some(Value::string(&self.key)),
            _ => None,
        }
    }

    fn call(&self, _: &str, _: &[Value]) -> Option<CallResult> {
        None
    }

    fn print(&self) -> String {
        format!("{{{} {}}}", self.cert, self.key)
    }

    fn data(&self) -> Option<Value> {
        let fields = ["Cert", "Key"].into_iter();
        Some(Value::Map(fields.filter_map(|name| Some((Rc::from(name), self.field(name)?))).collect()))
    }
}
