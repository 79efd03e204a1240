//! Keys and certificates: made by the environment, if it can.

use super::Type::{Any, Int, String as Text};
use super::{Answer, Function, bytes, within};
use crate::encoding::from_base64;
use crate::exec::Executor;
use crate::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    within("genPrivateKey", &[Text], |e, a| made(e, "genPrivateKey", a)),
    within("genCA", &[Text, Int], |e, a| made(e, "genCA", a)),
    within("genCAWithKey", &[Text, Int, Text], |e, a| made(e, "genCAWithKey", a)),
    within("genSelfSignedCert", &[Text, Any, Any, Int], |e, a| made(e, "genSelfSignedCert", a)),
    within("genSelfSignedCertWithKey", &[Text, Any, Any, Int, Text], |e, a| {
        made(e, "genSelfSignedCertWithKey", a)
    }),
    within("genSignedCert", &[Text, Any, Any, Int, Any], |e, a| made(e, "genSignedCert", a)),
    within("genSignedCertWithKey", &[Text, Any, Any, Int, Any, Text], |e, a| {
        made(e, "genSignedCertWithKey", a)
    }),
    within("buildCustomCert", &[Text, Text], custom),
];

fn made(executor: &mut Executor<'_>, function: &str, arguments: &[Value]) -> Answer {
    let Some(make) = executor.environment.certificates else {
        return Err("the program does not provide keys and certificates".into());
    };
    make(function, arguments).map_err(|error| error.to_string().into())
}

fn custom(executor: &mut Executor<'_>, arguments: &[Value]) -> Answer {
    let decoded = |index, what| {
        from_base64(bytes(arguments, index))
            .map(Value::text)
            .map_err(|_| format!("unable to decode base64 {what}"))
    };
    let arguments = [decoded(0, "certificate")?, decoded(1, "private key")?];
    made(executor, "buildCustomCert", &arguments)
}
