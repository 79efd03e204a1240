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
    Template { offset: usize, end: usize, name: Rc<str>, argument: Option<Pipeline> },
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
    pub offset: usize,
    pub variables: Vec<Rc<str>>,
    /// Whether the variables are declared (`:=`) or assigned (`=`).
    pub declares: bool,
    pub commands: Vec<Command>,
}

/// A function or method with its arguments, or a single operand.
#[derive(Debug)]
pub(crate) struct Command {
    pub first: Expression,
    pub rest: Vec<Expression>,
}

/// An operand with its place in the source.
#[derive(Debug)]
pub(crate) struct Expression {
    pub offset: usize,
    pub end: usize,
    pub kind: Operand,
}

/// A function, by its position in the table that the resolver of names found it in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FunctionId {
    BuiltIn(usize),
    /// Of the program.
    Added(usize),
}

/// What an operand is.
#[derive(Debug)]
pub(crate) enum Operand {
    Bool(bool),
    String(Value),
    Number(Number),
    Nil,
    Dot,
    /// `.a.b`, relative to the dot.
    Field(Vec<Rc<str>>),
    /// `$x.a.b`; the root is the variable with the empty name.
    Variable(Rc<str>, Vec<Rc<str>>),
    /// A function, and fields of what it gives without arguments.
    Function(FunctionId, Vec<Rc<str>>),
    /// `(pipeline).a.b`
    Nested(Box<Pipeline>, Vec<Rc<str>>),
}

/// A number, which has every type that can hold it until it is used.
#[derive(Debug, Clone)]
pub(crate) struct Number {
    /// As an `int`, if it is whole.
    pub integer: Option<i64>,
    /// As an unsigned integer, likewise.
    pub unsigned: Option<u64>,
    /// As a float, if it is not imaginary.
    pub float: Option<f64>,
    /// The value where any type will do; `None` for an integer that is too large for an `int`.
    pub ideal: Option<Value>,
}
