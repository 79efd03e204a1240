//! Builds the syntax tree.

mod pipeline;

use std::collections::BTreeMap;
use std::rc::Rc;

use super::ast::{Branch, FunctionId, Node, Nodes};
use super::lexer::{Spanned, Token, tokenize};
use crate::error::{Error, ErrorKind};
use crate::value::Value;

/// Deepest nesting of blocks and parentheses; Go has none, but our stack ends.
const DEPTH_LIMIT: usize = 100;

/// The templates that one source defines, itself under its own name.
pub(crate) type Definitions = BTreeMap<Rc<str>, Nodes>;

/// Finds the function of a name.
pub(crate) type Resolve<'r> = &'r dyn Fn(&str) -> Option<FunctionId>;

/// Parses a source whose names of functions `resolve` knows.
pub(crate) fn parse(name: &str, source: &str, resolve: Resolve<'_>) -> Result<Definitions, Error> {
    let mut parser = Parser {
        file: name,
        source,
        resolve,
        tokens: tokenize(name, source)?,
        position: 0,
        variables: vec![""],
        definitions: Definitions::new(),
        loops: 0,
        depth: 0,
    };
    let (nodes, end) = parser.block(true)?;
    if let Some((keyword, offset)) = end {
        return Err(parser.error(offset, format!("unexpected {{{{{keyword}}}}}")));
    }
    parser.add_definition(Rc::from(name), nodes, 0)?;
    Ok(parser.definitions)
}

struct Parser<'s> {
    file: &'s str,
    source: &'s str,
    resolve: Resolve<'s>,
    tokens: Vec<Spanned<'s>>,
    position: usize,
    /// Variables in scope, innermost last.
    variables: Vec<&'s str>,
    definitions: Definitions,
    loops: usize,
    depth: usize,
}

/// The keyword that ended a block, with its place; `None` at the end of the source.
type BlockEnd<'s> = Option<(&'s str, usize)>;

/// What a statement adds to a block.
enum Statement<'s> {
    Node(Node),
    Nothing,
    Ends(&'s str, usize),
}

impl<'s> Parser<'s> {
    fn error(&self, offset: usize, message: impl Into<String>) -> Error {
        Error::at(self.file, self.source, offset, "", message)
    }

    fn unexpected(&self, spanned: &Spanned<'_>, context: &str) -> Error {
        self.error(spanned.offset, format!("unexpected {} in {context}", describe(spanned.token)))
    }

    fn spanned(&self) -> Spanned<'s> {
        let end = Spanned { token: Token::End, offset: self.source.len(), end: self.source.len() };
        self.tokens.get(self.position).copied().unwrap_or(end)
    }

    fn peek(&self) -> Token<'s> {
        self.spanned().token
    }

    fn next(&mut self) -> Spanned<'s> {
        let taken = self.spanned();
        self.position += 1;
        taken
    }

    fn offset(&self) -> usize {
        self.spanned().offset
    }

    fn skip_space(&mut self) {
        while self.peek() == Token::Space {
            self.position += 1;
        }
    }

    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        let offset = self.offset();
        if self.depth >= DEPTH_LIMIT {
            let error = self.error(offset, format!("nested more than {DEPTH_LIMIT} levels deep"));
            return Err(error.with_kind(ErrorKind::LimitExceeded));
        }
        self.depth += 1;
        let result = parse(self);
        self.depth -= 1;
        result
    }

    /// Reads nodes up to `end`, `else` or the end of the source. Only there, definitions may stand.
    fn block(&mut self, is_top: bool) -> Result<(Nodes, BlockEnd<'s>), Error> {
        let mut nodes = Nodes::new();
        loop {
            let spanned = self.next();
            match spanned.token {
                Token::End => return Ok((nodes, None)),
                Token::Text(text) => nodes.push(Node::Text(Rc::from(text))),
                _ => match self.nested(|parser| parser.statement(is_top))? {
                    Statement::Node(node) => nodes.push(node),
                    Statement::Nothing => {}
                    Statement::Ends(keyword, offset) => return Ok((nodes, Some((keyword, offset)))),
                },
            }
        }
    }

    /// Reads one action behind its opening delimiter.
    fn statement(&mut self, is_top: bool) -> Result<Statement<'s>, Error> {
        self.skip_space();
        let offset = self.offset();
        let Token::Identifier(keyword) = self.peek() else { return self.action() };
        match keyword {
            "if" => Ok(Statement::Node(Node::If(self.branch("if")?))),
            "with" => Ok(Statement::Node(Node::With(self.branch("with")?))),
            "range" => Ok(Statement::Node(Node::Range(self.branch("range")?))),
            "define" if is_top => self.define(),
            "define" => Err(self.unexpected(&self.spanned(), "command")),
            "block" => self.block_statement(),
            "template" => self.template(),
            "break" | "continue" => self.jump(keyword),
            "end" => {
                self.next();
                self.close("end")?;
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

    fn action(&mut self) -> Result<Statement<'s>, Error> {
        let pipeline = self.pipeline(Token::Close, "command")?;
        Ok(Statement::Node(Node::Action(pipeline)))
    }

    fn close(&mut self, context: &str) -> Result<(), Error> {
        self.skip_space();
        let spanned = self.next();
        if spanned.token == Token::Close { Ok(()) } else { Err(self.unexpected(&spanned, context)) }
    }

    fn jump(&mut self, keyword: &str) -> Result<Statement<'s>, Error> {
        let offset = self.offset();
        self.next();
        self.close(keyword)?;
        if self.loops == 0 {
            return Err(self.error(offset, format!("{{{{{keyword}}}}} outside {{{{range}}}}")));
        }
        Ok(Statement::Node(if keyword == "break" { Node::Break } else { Node::Continue }))
    }

    fn unclosed(&self, opened: usize, keyword: &str) -> Error {
        self.error(opened, format!("unclosed {{{{{keyword}}}}}: {{{{end}}}} is missing"))
    }

    /// Reads a control structure from its keyword to its `end`.
    fn branch(&mut self, keyword: &'static str) -> Result<Branch, Error> {
        let opened = self.offset();
        self.next();
        let scope = self.variables.len();
        let pipeline = self.pipeline(Token::Close, keyword)?;
        self.loops += usize::from(keyword == "range");
        let (then, end) = self.block(false)?;
        self.loops -= usize::from(keyword == "range");
        let otherwise = match end {
            None => return Err(self.unclosed(opened, keyword)),
            Some(("end", _)) => Nodes::new(),
            Some(_) => self.otherwise(keyword, opened)?,
        };
        self.variables.truncate(scope);
        Ok(Branch { pipeline, then, otherwise })
    }

    /// Reads behind `else`: a further condition of the same kind, or the other block.
    fn otherwise(&mut self, keyword: &'static str, opened: usize) -> Result<Nodes, Error> {
        self.skip_space();
        if self.peek() == Token::Identifier(keyword) && keyword != "range" {
            let branch = self.nested(|parser| parser.branch(keyword))?;
            return Ok(vec![if keyword == "if" { Node::If(branch) } else { Node::With(branch) }]);
        }
        self.close("else")?;
        match self.block(false)? {
            (nodes, Some(("end", _))) => Ok(nodes),
            (_, Some((_, offset))) => Err(self.error(offset, "expected end; found {{else}}")),
            (_, None) => Err(self.unclosed(opened, keyword)),
        }
    }

    fn define(&mut self) -> Result<Statement<'s>, Error> {
        let opened = self.offset();
        self.next();
        let name = self.name("define clause")?;
        self.close("define clause")?;
        let nodes = self.body(opened, "define")?;
        self.add_definition(name, nodes, opened)?;
        Ok(Statement::Nothing)
    }

    fn block_statement(&mut self) -> Result<Statement<'s>, Error> {
        let opened = self.offset();
        self.next();
        let name = self.name("block clause")?;
        let argument = self.pipeline(Token::Close, "block clause")?;
        let end = self.closed_at();
        let nodes = self.body(opened, "block")?;
        self.add_definition(name.clone(), nodes, opened)?;
        Ok(Statement::Node(Node::Template { offset: opened, end, name, argument: Some(argument) }))
    }

    /// A body has no access to the variables and loops around it.
    fn body(&mut self, opened: usize, keyword: &str) -> Result<Nodes, Error> {
        let outer = std::mem::replace(&mut self.variables, vec![""]);
        let loops = std::mem::take(&mut self.loops);
        let (nodes, end) = self.block(false)?;
        self.variables = outer;
        self.loops = loops;
        match end {
            Some(("end", _)) => Ok(nodes),
            Some((word, offset)) => {
                Err(self.error(offset, format!("unexpected {{{{{word}}}}} in {keyword} clause")))
            }
            None => Err(self.unclosed(opened, keyword)),
        }
    }

    /// Of two definitions in one source, one must be empty; it does not replace the other.
    fn add_definition(&mut self, name: Rc<str>, nodes: Nodes, offset: usize) -> Result<(), Error> {
        match self.definitions.get(&name) {
            Some(known) if !is_empty(known) => {
                if !is_empty(&nodes) {
                    return Err(self.error(offset, format!("multiple definition of template {name:?}")));
                }
            }
            _ => drop(self.definitions.insert(name, nodes)),
        }
        Ok(())
    }

    fn template(&mut self) -> Result<Statement<'s>, Error> {
        let offset = self.offset();
        self.next();
        let name = self.name("template clause")?;
        self.skip_space();
        let argument = if self.peek() == Token::Close {
            self.next();
            None
        } else {
            Some(self.pipeline(Token::Close, "template clause")?)
        };
        Ok(Statement::Node(Node::Template { offset, end: self.closed_at(), name, argument }))
    }

    /// Where the delimiter stands that was read last.
    fn closed_at(&self) -> usize {
        self.position.checked_sub(1).and_then(|last| self.tokens.get(last)).map_or(0, |token| token.offset)
    }

    fn name(&mut self, context: &str) -> Result<Rc<str>, Error> {
        self.skip_space();
        let spanned = self.next();
        match self.string(&spanned)? {
            Some(Value::String(name)) => Ok(name),
            Some(_) => Err(self.error(spanned.offset, "the name of a template must be UTF-8")),
            None => Err(self.unexpected(&spanned, context)),
        }
    }
}

/// Whether nodes print nothing but white space; Go lets such a definition not replace another.
pub(crate) fn is_empty(nodes: &Nodes) -> bool {
    nodes.iter().all(|node| matches!(node, Node::Text(text) if text.trim().is_empty()))
}

fn describe(token: Token<'_>) -> String {
    match token {
        Token::Open => "\"{{\"".into(),
        Token::Close => "\"}}\"".into(),
        Token::Identifier(name) => format!("<{name}>"),
        Token::Field(name) => format!("<.{name}>"),
        Token::Variable(name) => format!("<${name}>"),
        Token::Dot => "<.>".into(),
        Token::Quoted(text) | Token::Raw(text) | Token::Number(text) => format!("{text:?}"),
        Token::Character(inner) => format!("'{inner}'"),
        Token::Pipe => "\"|\"".into(),
        Token::LeftParen => "\"(\"".into(),
        Token::RightParen => "\")\"".into(),
        Token::Declare => "\":=\"".into(),
        Token::Assign => "\"=\"".into(),
        Token::Space => "white space".into(),
        Token::Other(c) => format!("{:?}", c.to_string()),
        Token::Text(_) => "text".into(),
        Token::End => "end of file".into(),
    }
}
