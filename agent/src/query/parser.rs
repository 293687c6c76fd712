//! Words into an expression.

use super::{
    Expression, QueryError, Wanted,
    lexer::{self, Kind, Token},
    members::{self, Member},
    value::{Comparison, Operand, Test, nearest},
};

/// Deepest nesting: a question comes from a command line, and the stack is finite.
const DEEPEST: usize = 100;

/// Reads a question; what it asks for goes to `wanted`.
pub(super) fn parse(text: &str, wanted: &mut Wanted) -> Result<Expression, QueryError> {
    let tokens = lexer::words(text)?;
    let end = text.chars().count();
    let mut parser = Parser { tokens: &tokens, next: 0, end, wanted };
    let expression = parser.question(0)?;
    match parser.peek() {
        None => Ok(expression),
        Some(token) => Err(error(token, "a question ends before this; join two by \"and\" or \"or\"")),
    }
}

struct Parser<'a> {
    tokens: &'a [Token],
    next: usize,
    /// Characters of the question.
    end: usize,
    wanted: &'a mut Wanted,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.next)
    }

    fn take(&mut self) -> Option<&'a Token> {
        let token = self.peek();
        self.next += usize::from(token.is_some());
        token
    }

    /// Whether the next word is this keyword; it is taken then.
    fn takes(&mut self, keyword: &str) -> bool {
        let is = self.peek().is_some_and(|token| matches!(&token.kind, Kind::Word(word) if word.eq_ignore_ascii_case(keyword)));
        self.next += usize::from(is);
        is
    }

    fn missing(&self, what: &str) -> QueryError {
        QueryError::new(self.end, 1, what)
    }

    fn question(&mut self, depth: usize) -> Result<Expression, QueryError> {
        let mut all = vec![self.alternative(depth)?];
        while self.takes("or") {
            all.push(self.alternative(depth)?);
        }
        Ok(single(all, Expression::Any))
    }

    fn alternative(&mut self, depth: usize) -> Result<Expression, QueryError> {
        let mut all = vec![self.condition(depth)?];
        while self.takes("and") {
            all.push(self.condition(depth)?);
        }
        Ok(single(all, Expression::All))
    }

    fn condition(&mut self, depth: usize) -> Result<Expression, QueryError> {
        if depth > DEEPEST {
            return Err(self.missing("the question is nested too deep"));
        }
        if self.takes("not") {
            return Ok(Expression::Not(Box::new(self.condition(depth + 1)?)));
        }
        let Some(token) = self.take() else {
            return Err(self.missing("a member is missing here, such as cause or peer"));
        };
        match &token.kind {
            Kind::Open => {
                let inner = self.question(depth + 1)?;
                match self.take() {
                    Some(Token { kind: Kind::Close, .. }) => Ok(inner),
                    Some(other) => Err(error(other, "a \")\" is missing before this")),
                    None => Err(self.missing("a \")\" is missing here")),
                }
            }
            Kind::Word(name) => {
                let Some(member) = members::find(name) else { return Err(error(token, no_member(name))) };
                self.comparison(&member)
            }
            Kind::Quoted(name) => Err(error(token, format!("a member is not put in quotes: {name}"))),
            Kind::Operator(_) | Kind::Close | Kind::Comma => Err(error(token, "a member is missing before this, such as cause or peer")),
        }
    }

    fn comparison(&mut self, member: &Member) -> Result<Expression, QueryError> {
        let before = self.next;
        let not = self.takes("not");
        let test = if self.takes("in") {
            let operands = self.list(member)?;
            if not { Test::NotIn(operands) } else { Test::In(operands) }
        } else if not {
            // It belongs to whatever follows.
            self.next = before;
            Test::Present
        } else if self.takes("contains") {
            Test::Contains(self.value()?.0.to_owned())
        } else if let Some(Token { kind: Kind::Operator(operator), .. }) = self.peek() {
            self.next += 1;
            let operand = self.operand(member, Operand::read)?;
            Test::Is(Comparison::of(operator), operand)
        } else {
            Test::Present
        };
        Ok(Expression::Compare { place: self.wanted.place(member.path), test })
    }

    fn list(&mut self, member: &Member) -> Result<Vec<Operand>, QueryError> {
        if !self.peek().is_some_and(|token| token.kind == Kind::Open) {
            return Ok(vec![self.operand(member, Operand::read_element)?]);
        }
        self.next += 1;
        let mut operands = Vec::new();
        loop {
            operands.push(self.operand(member, Operand::read_element)?);
            match self.take() {
                Some(Token { kind: Kind::Comma, .. }) => {}
                Some(Token { kind: Kind::Close, .. }) => return Ok(operands),
                Some(other) => return Err(error(other, "a \",\" or a \")\" is missing before this")),
                None => return Err(self.missing("a \")\" is missing here")),
            }
        }
    }

    fn operand(
        &mut self,
        member: &Member,
        read: impl Fn(&str, bool, &str, &members::Kind) -> Result<Operand, String>,
    ) -> Result<Operand, QueryError> {
        let (text, quoted, token) = self.value()?;
        read(text, quoted, member.path, member.kind).map_err(|what| error(token, what))
    }

    fn value(&mut self) -> Result<(&'a str, bool, &'a Token), QueryError> {
        match self.take() {
            Some(token @ Token { kind: Kind::Word(text), .. }) => Ok((text, false, token)),
            Some(token @ Token { kind: Kind::Quoted(text), .. }) => Ok((text, true, token)),
            Some(other) => Err(error(other, "a value is missing before this")),
            None => Err(self.missing("a value is missing here")),
        }
    }
}

fn error(token: &Token, what: impl Into<String>) -> QueryError {
    QueryError::new(token.at, token.length, what)
}

fn single(mut all: Vec<Expression>, many: fn(Vec<Expression>) -> Expression) -> Expression {
    match (all.pop(), all.is_empty()) {
        (Some(only), true) => only,
        (Some(last), false) => {
            all.push(last);
            many(all)
        }
        (None, _) => many(all),
    }
}

fn no_member(name: &str) -> String {
    match nearest(name, members::names()) {
        Some(near) => format!("no member is called {name:?}; the nearest is {near:?}"),
        None => format!("no member is called {name:?}; see docs/events.md, or ask for cause, origin, peer, process or severity"),
    }
}
