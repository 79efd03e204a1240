//! Types.

use super::Type::{Any, String as Text};
use super::{Function, any, plain, text};
use crate::value::{Value, same};

pub(super) const FUNCTIONS: &[Function] = &[
    plain("kindOf", &[Any], |a| Ok(Value::string(any(a, 0).kind()))),
    plain("kindIs", &[Text, Any], |a| Ok(Value::Bool(text(a, 0) == any(a, 1).kind()))),
    plain("typeOf", &[Any], |a| Ok(Value::string(any(a, 0).type_name()))),
    plain("typeIs", &[Text, Any], |a| Ok(Value::Bool(text(a, 0) == any(a, 1).type_name()))),
    plain("typeIsLike", &[Text, Any], |a| {
        let name = any(a, 1).type_name();
        Ok(Value::Bool(text(a, 0) == name || name.strip_prefix('*') == Some(&text(a, 0))))
    }),
    plain("deepEqual", &[Any, Any], |a| Ok(Value::Bool(same(&any(a, 0), &any(a, 1))?))),
];
