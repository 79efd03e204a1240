//! The functions that templates can call: Go's own, Sprig's and Helm's.
//!
//! A function declares its parameters as in Go; arguments are checked against them before it is called, so it can rely on
//! their number and types. It returns a value or a message; the place of the call is added where it is executed.

#![expect(clippy::unnecessary_wraps, reason = "all functions have one signature, even if some never fail")]

mod case;
#[cfg(feature = "crypto")]
mod certificates;
mod collections;
mod compare;
#[cfg(feature = "dates")]
mod dates;
mod dicts;
mod encode;
mod lists;
mod logic;
mod numbers;
mod optional;
mod paths;
#[cfg(feature = "regex")]
mod patterns;
#[cfg(feature = "random")]
mod random;
mod reflection;
#[cfg(feature = "crypto")]
mod secrets;
mod strings;
mod structured;
mod template;
#[cfg(feature = "toml")]
mod toml;
#[cfg(feature = "urls")]
mod urls;
mod versions;
#[cfg(feature = "case")]
mod words;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::OnceLock;

use crate::encoding;
use crate::exec::{Executor, Failure};
use crate::value::{Map, Value};

#[cfg(feature = "dates")]
pub(crate) use dates::method as time_method;
pub use optional::feature_of;

/// What a function answers.
pub(crate) type Answer = Result<Value, Failure>;

/// The type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Any,
    String,
    Int,
    Float,
    /// No value that templates can hold is of this type; only literals fit.
    #[cfg_attr(not(feature = "crypto"), allow(dead_code, reason = "no other function has such a parameter"))]
    Uint32,
    Bool,
    Map,
    #[cfg_attr(not(feature = "dates"), allow(dead_code, reason = "no other function has such a parameter"))]
    Time,
}

/// How a function is called.
#[derive(Clone, Copy)]
pub(crate) enum Run {
    /// With nothing but its arguments.
    Plain(fn(&[Value]) -> Answer),
    /// With the executor, to execute templates or to see the world.
    Within(fn(&mut Executor<'_>, &[Value]) -> Answer),
    /// `or` and `and`: the first argument of that truth decides.
    Decide(bool),
    /// Not at all: this build is without the named cargo feature.
    Missing(&'static str),
}

/// A function by its name.
#[derive(Clone, Copy)]
pub(crate) struct Function {
    pub name: &'static str,
    fixed: &'static [Type],
    /// The type of all further arguments, if there may be some.
    rest: Option<Type>,
    pub run: Run,
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// A function of a fixed number of arguments.
const fn plain(name: &'static str, fixed: &'static [Type], run: fn(&[Value]) -> Answer) -> Function {
    Function { name, fixed, rest: None, run: Run::Plain(run) }
}

/// A function of any number of further arguments.
const fn variadic(
    name: &'static str,
    fixed: &'static [Type],
    rest: Type,
    run: fn(&[Value]) -> Answer,
) -> Function {
    Function { name, fixed, rest: Some(rest), run: Run::Plain(run) }
}

/// A function that needs more than its arguments.
const fn within(
    name: &'static str,
    fixed: &'static [Type],
    run: fn(&mut Executor<'_>, &[Value]) -> Answer,
) -> Function {
    Function { name, fixed, rest: None, run: Run::Within(run) }
}

/// How often, at worst, a regular expression of the smallest limit reads each byte of a text.
const PATTERN_READS: usize = 256;

impl Function {
    /// Whether what a call costs has no relation to its arguments.
    pub(crate) fn is_expensive(&self) -> bool {
        match self.name {
            "sha1sum" => false,
            "uniq" | "mustUniq" => true,
            name => feature_of(name) == Some("crypto"),
        }
    }

    /// How often a call reads each byte of an argument, at worst.
    pub(crate) fn reads(&self, argument: &Value) -> usize {
        match feature_of(self.name) {
            _ if self.passes_through(argument) => 0,
            Some("regex") => PATTERN_READS,
            _ => 1,
        }
    }

    /// Whether a call passes an argument on, or examines only its surface, without reading all of its contents.
    fn passes_through(&self, argument: &Value) -> bool {
        matches!(argument, Value::List(_) | Value::Map(_))
            && matches!(
                self.name,
                "include"
                    | "tpl"
                    | "dict"
                    | "list"
                    | "tuple"
                    | "set"
                    | "unset"
                    | "get"
                    | "hasKey"
                    | "index"
                    | "dig"
                    | "default"
                    | "coalesce"
                    | "ternary"
                    | "empty"
                    | "not"
                    | "required"
                    | "len"
                    | "kindOf"
                    | "kindIs"
                    | "typeOf"
                    | "typeIs"
                    | "typeIsLike"
                    | "any"
                    | "all"
            )
    }

    /// The type of the argument at a position.
    pub(crate) fn parameter(&self, index: usize) -> Type {
        self.fixed.get(index).copied().or(self.rest).unwrap_or(Type::Any)
    }

    pub(crate) fn check_count(&self, given: usize) -> Result<(), Failure> {
        let (name, wanted) = (self.name, self.fixed.len());
        match self.rest {
            None if given != wanted => {
                Err(format!("wrong number of args for {name}: want {wanted} got {given}").into())
            }
            Some(_) if given < wanted => {
                Err(format!("wrong number of args for {name}: want at least {wanted} got {given}").into())
            }
            _ => Ok(()),
        }
    }
}

impl Type {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Any => "interface {}",
            Self::String => "string",
            Self::Int => "int",
            Self::Float => "float64",
            Self::Uint32 => "uint32",
            Self::Bool => "bool",
            Self::Map => "map[string]interface {}",
            Self::Time => "time.Time",
        }
    }

    /// The value, if it is of this type.
    pub(crate) fn check(self, value: Value) -> Answer {
        use crate::value::MapType;
        let fits = match (self, &value) {
            (Self::Any, Value::NilElement) => return Ok(Value::Nil),
            (Self::String | Self::Int | Self::Float | Self::Uint32 | Self::Bool | Self::Time, Value::Nil) => {
                return Err(format!("invalid value; expected {}", self.name()).into());
            }
            (Self::String, value) => value.as_bytes().is_some(),
            (Self::Map, Value::Nil) => return Ok(Value::Map(Map::nil(MapType::Any))),
            // What is passed is of the parameter's type from then on.
            (Self::Map, Value::Map(map)) if map.map_type() == MapType::Values => {
                return Ok(Value::Map(map.with_map_type(MapType::Any)));
            }
            (Self::Any, _)
            | (Self::Int, Value::Int(_))
            | (Self::Float, Value::Float(_))
            | (Self::Bool, Value::Bool(_))
            | (Self::Time, Value::Time(_)) => true,
            (Self::Map, Value::Map(map)) => map.map_type() != MapType::String,
            _ => false,
        };
        if fits {
            return Ok(value);
        }
        Err(format!("wrong type for value; expected {}; got {}", self.name(), value.type_name()).into())
    }
}

/// The position of the built-in function of a name.
pub(crate) fn find(name: &str) -> Option<usize> {
    built_in().by_name.get(name).copied()
}

/// The built-in function at a position.
pub(crate) fn get(index: usize) -> Option<&'static Function> {
    built_in().functions.get(index)
}

struct BuiltIn {
    functions: Vec<Function>,
    by_name: HashMap<&'static str, usize>,
}

fn built_in() -> &'static BuiltIn {
    static BUILT_IN: OnceLock<BuiltIn> = OnceLock::new();
    BUILT_IN.get_or_init(|| {
        let mut functions: Vec<Function> = TABLES.iter().copied().flatten().copied().collect();
        optional::add_missing(&mut functions);
        let by_name = functions.iter().enumerate().map(|(index, function)| (function.name, index)).collect();
        BuiltIn { functions, by_name }
    })
}

static TABLES: &[&[Function]] = &[
    case::FUNCTIONS,
    #[cfg(feature = "crypto")]
    certificates::FUNCTIONS,
    collections::FUNCTIONS,
    compare::FUNCTIONS,
    #[cfg(feature = "dates")]
    dates::FUNCTIONS,
    dicts::FUNCTIONS,
    encode::FUNCTIONS,
    lists::FUNCTIONS,
    logic::FUNCTIONS,
    numbers::FUNCTIONS,
    paths::FUNCTIONS,
    #[cfg(feature = "regex")]
    patterns::FUNCTIONS,
    #[cfg(feature = "random")]
    random::FUNCTIONS,
    reflection::FUNCTIONS,
    #[cfg(feature = "crypto")]
    secrets::FUNCTIONS,
    strings::FUNCTIONS,
    structured::FUNCTIONS,
    template::FUNCTIONS,
    #[cfg(feature = "toml")]
    toml::FUNCTIONS,
    #[cfg(feature = "urls")]
    urls::FUNCTIONS,
    versions::FUNCTIONS,
    #[cfg(feature = "case")]
    words::FUNCTIONS,
];

/// Largest text that one call makes; checked before it is made.
const LARGEST_TEXT: usize = 16 << 20;

fn check_length(bytes: usize) -> Result<(), Failure> {
    if bytes > LARGEST_TEXT {
        return Err(Failure::limit("the text is larger than any manifest should be"));
    }
    Ok(())
}

/// The argument at a position; nil when there is none.
fn any(arguments: &[Value], index: usize) -> Value {
    arguments.get(index).cloned().unwrap_or_default()
}

/// A string argument; invalid bytes are replaced.
fn text(arguments: &[Value], index: usize) -> Cow<'_, str> {
    crate::encoding::lossy(bytes(arguments, index))
}

/// A string argument as Go has it.
fn bytes(arguments: &[Value], index: usize) -> &[u8] {
    arguments.get(index).and_then(Value::as_bytes).unwrap_or_default()
}

/// The result of a function that treats texts as bytes: invalid bytes are kept.
fn preserving_bytes<const N: usize>(
    texts: [&[u8]; N],
    run: impl FnOnce([&str; N]) -> Vec<String>,
) -> Vec<Value> {
    let marked = texts.map(encoding::marked);
    let is_marked = marked.iter().any(|text| matches!(text, Cow::Owned(_)));
    let made = run(std::array::from_fn(|index| &*marked[index]));
    made.iter().map(|text| Value::text(encoding::unmarked(text, is_marked))).collect()
}

/// The same for a function that makes one text.
fn preserving_bytes_of_one<const N: usize>(
    texts: [&[u8]; N],
    run: impl FnOnce([&str; N]) -> String,
) -> Value {
    preserving_bytes(texts, |texts| vec![run(texts)]).pop().unwrap_or_default()
}

/// An integer argument.
fn integer(arguments: &[Value], index: usize) -> i64 {
    arguments.get(index).and_then(Value::as_integer).unwrap_or_default()
}

/// A map argument; nil is an empty map to a reader.
fn map(arguments: &[Value], index: usize) -> Map {
    arguments.get(index).and_then(Value::as_map).cloned().unwrap_or_default()
}

/// The arguments from a position on.
fn from(arguments: &[Value], index: usize) -> &[Value] {
    arguments.get(index..).unwrap_or_default()
}

/// A count of characters or elements to make, which must not be negative.
fn count(arguments: &[Value], index: usize) -> Result<usize, Failure> {
    let number = integer(arguments, index);
    let count = usize::try_from(number).map_err(|_| Failure::from(format!("negative count: {number}")))?;
    check_length(count)?;
    Ok(count)
}
