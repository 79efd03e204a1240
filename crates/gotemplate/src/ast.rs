//! The syntax tree of a template.

use std::rc::Rc;

use crate::value::Value;

/// Nodes in order.
pub(crate) type Nodes = Vec<Node>;

/// A part of a template.
#[derive(Debug)]
pub(crate) enum Node {
    Text(Rc<str>),
    Action(Pipeline),
    If(Branch),
    With(Branch),
    Range(Branch),
    Template { offset: usize, name: Rc<str>, argument: Option<Pipeline> },
    Break,
    Continue,
}

/// A condition with what follows if it holds, and if not.
#[derive(Debug)]
pub(crate) struct Branch {
    pub pipeline: Pipeline,
    pub then: Nodes,
    pub otherwise: Nodes,
}

/// Commands whose results feed the next one, and the variables that take the last result.
#[derive(Debug)]
pub(crate) struct Pipeline {
    pub variables: Vec<Rc<str>>,
    /// Whether the variables are declared (`:=`) or assigned (`=`).
    pub declares: bool,
    pub commands: Vec<Command>,
}

/// A function or method with its arguments, or a single operand.
#[derive(Debug)]
pub(crate) struct Command {
    pub arguments: Vec<Expression>,
}

/// An operand with its place in the source.
#[derive(Debug)]
pub(crate) struct Expression {
    pub offset: usize,
    pub end: usize,
    pub kind: Operand,
}

/// What an operand is.
#[derive(Debug)]
pub(crate) enum Operand {
    Literal(Value),
    Nil,
    Dot,
    /// `.a.b`, relative to the dot.
    Field(Vec<Rc<str>>),
    /// `$x.a.b`; the root is the variable with the empty name.
    Variable(Rc<str>, Vec<Rc<str>>),
    Function(Rc<str>),
    /// `(pipeline).a.b`
    Nested(Box<Pipeline>, Vec<Rc<str>>),
}
