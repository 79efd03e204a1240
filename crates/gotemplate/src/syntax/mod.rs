//! The syntax of templates: from text to tokens, and from tokens to a tree, by the rules of Go's `text/template/parse`.

pub(crate) mod ast;
mod lexer;
mod literal;
mod parser;

pub(crate) use literal::integer;
pub(crate) use parser::{is_empty, parse};
