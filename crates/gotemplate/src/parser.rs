//! Builds the syntax tree, by the grammar of Go's `text/template/parse`.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::ast::{Branch, Command, Expression, Node, Nodes, Operand, Pipeline};
use crate::error::Error;
use crate::lexer::{Spanned, Token, tokenize};
use crate::value::Value;

/// Deepest nesting of blocks and parentheses; Go has none, but our stack ends.
const DEPTH_LIMIT: usize = 300;

/// The templates that one source defines, itself under its own name.
pub(crate) type Definitions = BTreeMap<Rc<str>, Nodes>;

/// Parses a source; `is_function` tells which identifiers are functions.
pub(crate) fn parse(
    name: &str,
    source: &str,
    is_function: &dyn Fn(&str) -> bool,
) -> Result<Definitions, Error> {
    let mut parser = Parser {
        file: name,
        source,
        tokens: tokenize(name, source)?,
        position: 0,
        is_function,
        variables: vec![Rc::from("")],
        definitions: Definitions::new(),
        loops: 0,
        depth: 0,
    };
    let (nodes, end) = parser.block()?;
    if let Some((keyword, offset)) = end {
        return Err(parser.error(offset, format!("unexpected {{{{{keyword}}}}}")));
    }
    parser.definitions.insert(Rc::from(name), nodes);
    Ok(parser.definitions)
}

struct Parser<'s> {
    file: &'s str,
    source: &'s str,
    tokens: Vec<Spanned>,
    position: usize,
    is_function: &'s dyn Fn(&str) -> bool,
    /// Variables in scope, innermost last.
    variables: Vec<Rc<str>>,
    definitions: Definitions,
    loops: usize,
    depth: usize,
}

/// The keyword that ended a block, with its place; `None` at the end of the source.
type BlockEnd = Option<(String, usize)>;

/// What a statement adds to a block.
enum Statement {
    Node(Node),
    Nothing,
    Ends(String, usize),
}

impl Parser<'_> {
    fn error(&self, offset: usize, message: impl Into<String>) -> Error {
        Error::at(self.file, self.source, offset, "", message)
    }

    fn peek(&self) -> &Token {
        self.tokens.get(self.position).map_or(&Token::End, |spanned| &spanned.token)
    }

    fn next(&mut self) -> Spanned {
        let end = || Spanned { token: Token::End, offset: self.source.len(), end: self.source.len() };
        let taken = self.tokens.get(self.position).cloned().unwrap_or_else(end);
        self.position += 1;
        taken
    }

    fn offset(&self) -> usize {
        self.tokens.get(self.position).map_or(self.source.len(), |spanned| spanned.offset)
    }

    fn skip_space(&mut self) {
        while *self.peek() == Token::Space {
            self.next();
        }
    }

    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        let offset = self.offset();
        if self.depth >= DEPTH_LIMIT {
            return Err(self.error(offset, format!("nested more than {DEPTH_LIMIT} levels deep")));
        }
        self.depth += 1;
        let result = parse(self);
        self.depth -= 1;
        result
    }

    /// Reads nodes up to `end`, `else` or the end of the source.
    fn block(&mut self) -> Result<(Nodes, BlockEnd), Error> {
        let mut nodes = Nodes::new();
        loop {
            let spanned = self.next();
            match spanned.token {
                Token::End => return Ok((nodes, None)),
                Token::Text(text) => nodes.push(Node::Text(Rc::from(text))),
                _ => match self.nested(Self::statement)? {
                    Statement::Node(node) => nodes.push(node),
                    Statement::Nothing => {}
                    Statement::Ends(keyword, offset) => return Ok((nodes, Some((keyword, offset)))),
                },
            }
        }
    }

    /// Reads one action behind its opening delimiter.
    fn statement(&mut self) -> Result<Statement, Error> {
        self.skip_space();
        let offset = self.offset();
        let Token::Identifier(keyword) = self.peek().clone() else { return self.action() };
        match keyword.as_str() {
            "if" => Ok(Statement::Node(Node::If(self.branch("if")?))),
            "with" => Ok(Statement::Node(Node::With(self.branch("with")?))),
            "range" => Ok(Statement::Node(Node::Range(self.branch("range")?))),
            "define" => self.define(),
            "block" => self.block_statement(),
            "template" => self.template(),
            "break" | "continue" if !(self.is_function)(&keyword) => self.jump(&keyword),
            "end" => {
                self.next();
                self.close()?;
                Ok(Statement::Ends(keyword, offset))
            }
            "else" => {
                self.next();
                // What follows `else` is read by the branch it belongs to.
                Ok(Statement::Ends(keyword, offset))
            }
            _ => self.action(),
        }
    }

    fn action(&mut self) -> Result<Statement, Error> {
        let pipeline = self.pipeline(&Token::Close, false)?;
        Ok(Statement::Node(Node::Action(pipeline)))
    }

    fn close(&mut self) -> Result<(), Error> {
        self.skip_space();
        let spanned = self.next();
        match spanned.token {
            Token::Close => Ok(()),
            token => Err(self.error(spanned.offset, format!("unexpected {}", describe(&token)))),
        }
    }

    fn jump(&mut self, keyword: &str) -> Result<Statement, Error> {
        let offset = self.offset();
        self.next();
        self.close()?;
        if self.loops == 0 {
            return Err(self.error(offset, format!("{{{{{keyword}}}}} outside {{{{range}}}}")));
        }
        Ok(Statement::Node(if keyword == "break" { Node::Break } else { Node::Continue }))
    }

    /// Reads a control structure from its keyword to its `end`.
    fn branch(&mut self, keyword: &'static str) -> Result<Branch, Error> {
        let opened = self.offset();
        self.next();
        let scope = self.variables.len();
        let pipeline = self.pipeline(&Token::Close, keyword == "range")?;
        self.loops += usize::from(keyword == "range");
        let (then, end) = self.block()?;
        self.loops -= usize::from(keyword == "range");
        let otherwise = match end {
            None => {
                return Err(self.error(opened, format!("unclosed {{{{{keyword}}}}}: {{{{end}}}} is missing")));
            }
            Some((word, _)) if word == "end" => Nodes::new(),
            Some(_) => self.otherwise(keyword, opened)?,
        };
        self.variables.truncate(scope);
        Ok(Branch { pipeline, then, otherwise })
    }

    /// Reads behind `else`: a further condition of the same kind, or the other block.
    fn otherwise(&mut self, keyword: &'static str, opened: usize) -> Result<Nodes, Error> {
        self.skip_space();
        if let Token::Identifier(word) = self.peek().clone()
            && word == keyword
            && keyword != "range"
        {
            let branch = self.nested(|parser| parser.branch(keyword))?;
            return Ok(vec![if keyword == "if" { Node::If(branch) } else { Node::With(branch) }]);
        }
        self.close()?;
        match self.block()? {
            (nodes, Some((word, _))) if word == "end" => Ok(nodes),
            (_, Some((_, offset))) => Err(self.error(offset, "expected end; found {{else}}")),
            (_, None) => {
                Err(self.error(opened, format!("unclosed {{{{{keyword}}}}}: {{{{end}}}} is missing")))
            }
        }
    }

    fn define(&mut self) -> Result<Statement, Error> {
        let opened = self.offset();
        self.next();
        let name = self.name("define")?;
        self.close()?;
        let nodes = self.body(opened, "define")?;
        self.add_definition(name, nodes);
        Ok(Statement::Nothing)
    }

    fn block_statement(&mut self) -> Result<Statement, Error> {
        let opened = self.offset();
        self.next();
        let name = self.name("block")?;
        let argument = self.pipeline(&Token::Close, false)?;
        let nodes = self.body(opened, "block")?;
        self.add_definition(name.clone(), nodes);
        Ok(Statement::Node(Node::Template { offset: opened, name, argument: Some(argument) }))
    }

    /// A body has no access to the variables around it.
    fn body(&mut self, opened: usize, keyword: &str) -> Result<Nodes, Error> {
        let outer = std::mem::replace(&mut self.variables, vec![Rc::from("")]);
        let loops = std::mem::take(&mut self.loops);
        let (nodes, end) = self.block()?;
        self.variables = outer;
        self.loops = loops;
        match end {
            Some((word, _)) if word == "end" => Ok(nodes),
            Some((word, offset)) => {
                Err(self.error(offset, format!("unexpected {{{{{word}}}}} in {keyword} clause")))
            }
            None => Err(self.error(opened, format!("unclosed {{{{{keyword}}}}}: {{{{end}}}} is missing"))),
        }
    }

    /// Of two definitions in one source, an empty one does not replace the other.
    fn add_definition(&mut self, name: Rc<str>, nodes: Nodes) {
        if !is_empty(&nodes) || !self.definitions.contains_key(&name) {
            self.definitions.insert(name, nodes);
        }
    }

    fn template(&mut self) -> Result<Statement, Error> {
        let offset = self.offset();
        self.next();
        let name = self.name("template")?;
        self.skip_space();
        let argument = if *self.peek() == Token::Close {
            self.next();
            None
        } else {
            Some(self.pipeline(&Token::Close, false)?)
        };
        Ok(Statement::Node(Node::Template { offset, name, argument }))
    }

    fn name(&mut self, keyword: &str) -> Result<Rc<str>, Error> {
        self.skip_space();
        let spanned = self.next();
        match spanned.token {
            Token::String(name) => Ok(Rc::from(name)),
            token => {
                Err(self
                    .error(spanned.offset, format!("unexpected {} in {keyword} clause", describe(&token))))
            }
        }
    }

    /// Reads a pipeline with its end, `)` or `}}`.
    fn pipeline(&mut self, end: &Token, is_range: bool) -> Result<Pipeline, Error> {
        let opened = self.offset();
        let (variables, declares) = self.declaration(is_range)?;
        let mut commands = Vec::new();
        loop {
            self.skip_space();
            let spanned_offset = self.offset();
            match self.peek().clone() {
                token if token == *end => {
                    self.next();
                    break;
                }
                Token::Pipe if !commands.is_empty() => {
                    self.next();
                    commands.push(self.command()?);
                }
                _ if commands.is_empty() => commands.push(self.command()?),
                token => {
                    return Err(
                        self.error(spanned_offset, format!("unexpected {} in pipeline", describe(&token)))
                    );
                }
            }
        }
        if commands.is_empty() {
            return Err(self.error(opened, "missing value for command"));
        }
        self.check_stages(&commands)?;
        if declares {
            self.variables.extend(variables.iter().cloned());
        }
        Ok(Pipeline { variables, declares, commands })
    }

    /// Only the first command of a pipeline may be a mere value: nothing can be passed into one.
    fn check_stages(&self, commands: &[Command]) -> Result<(), Error> {
        for (index, command) in commands.iter().enumerate().skip(1) {
            if let Some(first) = command.arguments.first()
                && matches!(first.kind, Operand::Literal(_) | Operand::Nil | Operand::Dot)
            {
                return Err(self
                    .error(first.offset, format!("non executable command in pipeline stage {}", index + 1)));
            }
        }
        Ok(())
    }

    /// Reads `$x :=`, `$x =` and, for range, `$i, $x :=`, if the pipeline begins so.
    fn declaration(&mut self, is_range: bool) -> Result<(Vec<Rc<str>>, bool), Error> {
        self.skip_space();
        let saved = self.position;
        let mut names: Vec<Rc<str>> = Vec::new();
        while let Token::Variable(name) = self.peek().clone() {
            let offset = self.offset();
            self.next();
            names.push(Rc::from(name));
            self.skip_space();
            match self.peek() {
                Token::Comma if is_range && names.len() < 2 => {
                    self.next();
                    self.skip_space();
                }
                Token::Comma => return Err(self.error(offset, "too many declarations")),
                Token::Declare | Token::Assign => {
                    let declares = self.next().token == Token::Declare;
                    if !declares && let Some(name) = names.iter().find(|name| !self.variables.contains(name))
                    {
                        return Err(self.error(offset, format!("undefined variable \"${name}\"")));
                    }
                    return Ok((names, declares));
                }
                _ => break,
            }
        }
        self.position = saved;
        Ok((Vec::new(), false))
    }

    /// Reads operands up to a pipe or the end of the pipeline.
    fn command(&mut self) -> Result<Command, Error> {
        let mut arguments: Vec<Expression> = Vec::new();
        let mut separated = true;
        loop {
            let offset = self.offset();
            match self.peek().clone() {
                Token::Space => {
                    self.next();
                    separated = true;
                }
                Token::Pipe | Token::Close | Token::RightParen | Token::End => break,
                token if !separated => {
                    return Err(self.error(offset, format!("unexpected {} in operand", describe(&token))));
                }
                _ => {
                    arguments.push(self.operand()?);
                    separated = false;
                }
            }
        }
        if arguments.is_empty() {
            let offset = self.offset();
            return Err(self.error(offset, "missing value for command"));
        }
        Ok(Command { arguments })
    }

    /// Reads a term with the fields behind it.
    fn operand(&mut self) -> Result<Expression, Error> {
        let spanned = self.next();
        let (offset, mut end) = (spanned.offset, spanned.end);
        let mut kind = match spanned.token {
            Token::Dot => Operand::Dot,
            Token::Field(name) => Operand::Field(vec![Rc::from(name)]),
            Token::Variable(name) => {
                let name: Rc<str> = Rc::from(name);
                if !self.variables.contains(&name) {
                    return Err(self.error(offset, format!("undefined variable \"${name}\"")));
                }
                Operand::Variable(name, Vec::new())
            }
            Token::String(text) => Operand::Literal(Value::string(text)),
            Token::Char(c) => Operand::Literal(Value::Int(i64::from(u32::from(c)))),
            Token::Number(text) => Operand::Literal(
                number(&text).ok_or_else(|| self.error(offset, format!("bad number syntax: {text:?}")))?,
            ),
            Token::Identifier(name) => match name.as_str() {
                "true" => Operand::Literal(Value::Bool(true)),
                "false" => Operand::Literal(Value::Bool(false)),
                "nil" => Operand::Nil,
                _ if (self.is_function)(&name) => Operand::Function(Rc::from(name)),
                _ => return Err(self.error(offset, format!("function {name:?} not defined"))),
            },
            Token::LeftParen => {
                let pipeline = self.nested(|parser| parser.pipeline(&Token::RightParen, false))?;
                Operand::Nested(Box::new(pipeline), Vec::new())
            }
            token => return Err(self.error(offset, format!("unexpected {}", describe(&token)))),
        };
        while let Token::Field(name) = self.peek().clone() {
            end = self.next().end;
            let name = Rc::from(name);
            match &mut kind {
                Operand::Field(chain) | Operand::Variable(_, chain) | Operand::Nested(_, chain) => {
                    chain.push(name);
                }
                Operand::Dot => kind = Operand::Field(vec![name]),
                Operand::Literal(_) | Operand::Nil | Operand::Function(_) => {
                    return Err(self.error(offset, format!("unexpected .{name} after term")));
                }
            }
        }
        Ok(Expression { offset, end, kind })
    }
}

/// Whether nodes print nothing but white space; Go lets such a definition not replace another.
pub(crate) fn is_empty(nodes: &Nodes) -> bool {
    nodes.iter().all(|node| matches!(node, Node::Text(text) if text.trim().is_empty()))
}

/// Go's number syntax: integers with base prefixes and underscores, else floats.
fn number(text: &str) -> Option<Value> {
    let plain = text.replace('_', "");
    let (sign, digits) = match plain.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, plain.strip_prefix('+').unwrap_or(&plain)),
    };
    let lower = digits.to_ascii_lowercase();
    let integer = match lower.get(..2) {
        Some("0x") => i64::from_str_radix(lower.get(2..)?, 16).ok(),
        Some("0o") => i64::from_str_radix(lower.get(2..)?, 8).ok(),
        Some("0b") => i64::from_str_radix(lower.get(2..)?, 2).ok(),
        _ if lower.len() > 1 && lower.starts_with('0') && lower.chars().all(|c| c.is_digit(8)) => {
            i64::from_str_radix(&lower, 8).ok()
        }
        _ => lower.parse().ok(),
    };
    match integer {
        Some(integer) => Some(Value::Int(sign * integer)),
        None => plain.parse().ok().filter(|float: &f64| float.is_finite()).map(|float| {
            // A float without fraction is usable as an integer, as Go's ideal constants are.
            Value::Float(float)
        }),
    }
}

fn describe(token: &Token) -> String {
    match token {
        Token::Open => "\"{{\"".into(),
        Token::Close => "\"}}\"".into(),
        Token::Identifier(name) => format!("<{name}>"),
        Token::Field(name) => format!("<.{name}>"),
        Token::Variable(name) => format!("<${name}>"),
        Token::Dot => "<.>".into(),
        Token::String(text) | Token::Number(text) => format!("{text:?}"),
        Token::Char(c) => format!("{c:?}"),
        Token::Pipe => "\"|\"".into(),
        Token::Comma => "\",\"".into(),
        Token::LeftParen => "\"(\"".into(),
        Token::RightParen => "\")\"".into(),
        Token::Declare => "\":=\"".into(),
        Token::Assign => "\"=\"".into(),
        Token::Space => "white space".into(),
        Token::Text(_) => "text".into(),
        Token::End => "end of file".into(),
    }
}
