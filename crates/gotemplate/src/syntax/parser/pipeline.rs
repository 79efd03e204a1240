//! Pipelines: what stands between the delimiters of an action, and in parentheses.

use std::rc::Rc;

use super::super::ast::{Command, Expression, Operand, Pipeline};
use super::super::lexer::{Spanned, Token};
use super::super::literal;
use super::Parser;
use crate::error::{Error, ErrorKind};
use crate::value::Value;

impl<'s> Parser<'s> {
    /// The string that a token is, if it is one.
    pub(super) fn string(&self, spanned: &Spanned<'_>) -> Result<Option<Value>, Error> {
        match spanned.token {
            Token::Quoted(inner) => match literal::unquote(inner) {
                Some(value) => Ok(Some(value)),
                None => Err(self.error(spanned.offset, "invalid syntax")),
            },
            // Go drops carriage returns from raw strings.
            Token::Raw(inner) if inner.contains('\r') => Ok(Some(Value::string(inner.replace('\r', "")))),
            Token::Raw(inner) => Ok(Some(Value::string(inner))),
            _ => Ok(None),
        }
    }

    /// Reads a pipeline with its end, `)` or `}}`.
    pub(super) fn pipeline(&mut self, end: Token<'s>, context: &'static str) -> Result<Pipeline, Error> {
        self.skip_space();
        let offset = self.offset();
        let (variables, declares) = self.declaration(context == "range")?;
        let mut commands: Vec<Command> = Vec::new();
        loop {
            self.skip_space();
            let spanned = self.spanned();
            match spanned.token {
                token if token == end => {
                    self.next();
                    break;
                }
                token if starts_operand(token) => commands.push(self.command()?),
                _ => return Err(self.unexpected(&spanned, context)),
            }
        }
        if commands.is_empty() {
            return Err(self.error(offset, format!("missing value for {context}")));
        }
        self.check_stages(&commands)?;
        Ok(Pipeline { offset, variables, declares, commands })
    }

    /// Only the first command of a pipeline may be a mere value: nothing can be passed into one.
    fn check_stages(&self, commands: &[Command]) -> Result<(), Error> {
        for (index, Command { first, .. }) in commands.iter().enumerate().skip(1) {
            if matches!(
                first.kind,
                Operand::Bool(_) | Operand::Number(_) | Operand::String(_) | Operand::Nil | Operand::Dot
            ) {
                let message = format!("non executable command in pipeline stage {}", index + 1);
                return Err(self.error(first.offset, message));
            }
        }
        Ok(())
    }

    /// Reads `$x :=`, `$x =` and, for range, `$i, $x :=`, if the pipeline begins so. Whether an assigned variable exists
    /// shows when it is executed.
    fn declaration(&mut self, is_range: bool) -> Result<(Vec<Rc<str>>, bool), Error> {
        let saved = (self.position, self.variables.len());
        let mut names: Vec<Rc<str>> = Vec::new();
        while let Token::Variable(name) = self.peek() {
            let offset = self.offset();
            self.next();
            names.push(Rc::from(name));
            self.variables.push(name);
            self.skip_space();
            match self.peek() {
                Token::Other(',') if is_range && names.len() < 2 => {
                    self.next();
                    self.skip_space();
                    if !matches!(self.peek(), Token::Variable(_)) {
                        return Err(self.error(offset, "range can only initialize variables"));
                    }
                }
                Token::Other(',') => return Err(self.error(offset, "too many declarations")),
                Token::Declare | Token::Assign => {
                    return Ok((names, self.next().token == Token::Declare));
                }
                _ if names.len() > 1 => {
                    return Err(self.error(offset, "expected := or = behind the variables"));
                }
                _ => break,
            }
        }
        self.position = saved.0;
        self.variables.truncate(saved.1);
        Ok((Vec::new(), false))
    }

    /// Reads operands up to the end of the pipeline, or with the pipe that ends the command.
    fn command(&mut self) -> Result<Command, Error> {
        let first = self.operand()?;
        let mut rest = Vec::new();
        loop {
            let spanned = self.spanned();
            match spanned.token {
                Token::Space => {
                    self.skip_space();
                    if starts_operand(self.peek()) {
                        rest.push(self.operand()?);
                    }
                }
                Token::Close | Token::RightParen => break,
                Token::Pipe => {
                    self.next();
                    break;
                }
                _ => return Err(self.unexpected(&spanned, "operand")),
            }
        }
        Ok(Command { first, rest })
    }

    /// Reads a term with the fields behind it.
    fn operand(&mut self) -> Result<Expression, Error> {
        let spanned = self.next();
        let mut end = spanned.end;
        let mut kind = self.term(&spanned)?;
        while let Token::Field(name) = self.peek() {
            end = self.next().end;
            match &mut kind {
                Operand::Field(chain)
                | Operand::Variable(_, chain)
                | Operand::Nested(_, chain)
                | Operand::Function(_, chain) => chain.push(Rc::from(name)),
                _ => return Err(self.error(spanned.offset, format!("unexpected .{name} after term"))),
            }
        }
        // A parenthesis ends behind its pipeline, which was read with it.
        if let Some(last) = self.position.checked_sub(1).and_then(|last| self.tokens.get(last)) {
            end = end.max(last.end);
        }
        Ok(Expression { offset: spanned.offset, end, kind })
    }

    fn term(&mut self, spanned: &Spanned<'s>) -> Result<Operand, Error> {
        if let Some(text) = self.string(spanned)? {
            return Ok(Operand::String(text));
        }
        let offset = spanned.offset;
        Ok(match spanned.token {
            Token::Dot => Operand::Dot,
            Token::Field(name) => Operand::Field(vec![Rc::from(name)]),
            Token::Variable(name) if self.variables.contains(&name) => {
                Operand::Variable(Rc::from(name), Vec::new())
            }
            Token::Variable(name) => {
                return Err(self.error(offset, format!("undefined variable \"${name}\"")));
            }
            Token::Character(inner) => match literal::character(inner) {
                Some(number) => Operand::Number(number),
                None => return Err(self.error(offset, format!("malformed character constant: '{inner}'"))),
            },
            Token::Number(text) => {
                Operand::Number(literal::number(text).map_err(|message| self.error(offset, message))?)
            }
            Token::Identifier("true") => Operand::Bool(true),
            Token::Identifier("false") => Operand::Bool(false),
            Token::Identifier("nil") => Operand::Nil,
            Token::Identifier(name) if is_keyword(name) => return Err(self.unexpected(spanned, "command")),
            Token::Identifier(name) => {
                let unknown = || {
                    let error = self.error(offset, format!("function {name:?} not defined"));
                    error.with_kind(ErrorKind::UnknownFunction)
                };
                Operand::Function((self.resolve)(name).ok_or_else(unknown)?, Vec::new())
            }
            Token::LeftParen => {
                let pipeline =
                    self.nested(|parser| parser.pipeline(Token::RightParen, "parenthesized pipeline"))?;
                Operand::Nested(Box::new(pipeline), Vec::new())
            }
            _ => return Err(self.unexpected(spanned, "operand")),
        })
    }
}

fn is_keyword(name: &str) -> bool {
    matches!(
        name,
        "if" | "with" | "range" | "define" | "block" | "template" | "break" | "continue" | "end" | "else"
    )
}

fn starts_operand(token: Token<'_>) -> bool {
    match token {
        Token::Identifier(name) => !is_keyword(name),
        Token::Field(_)
        | Token::Variable(_)
        | Token::Dot
        | Token::Quoted(_)
        | Token::Raw(_)
        | Token::Number(_)
        | Token::Character(_)
        | Token::LeftParen => true,
        _ => false,
    }
}
