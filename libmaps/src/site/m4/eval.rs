//! `eval`: integer arithmetic.

/// Nesting of parentheses and signs.
const DEPTH: u32 = 64;

/// Evaluates an expression with the operators of C and `**`, on wrapping 64-bit integers.
pub(super) fn evaluate(text: &[u8]) -> Result<i64, &'static str> {
    let mut parser = Parser {
        text,
        at: 0,
        depth: 0,
    };
    let value = parser.binary(0)?;
    parser.blanks();
    if parser.at < text.len() {
        return Err("expected an operator");
    }
    Ok(value)
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    depth: u32,
}

/// Operators by how tightly they bind, loosest first; longer ones stand before those they start with.
const OPERATORS: &[&[&str]] = &[
    &["||"],
    &["&&"],
    &["|"],
    &["^"],
    &["&"],
    &["==", "!="],
    &["<=", ">=", "<", ">"],
    &["<<", ">>"],
    &["+", "-"],
    &["*", "/", "%"],
];

impl Parser<'_> {
    fn blanks(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    fn operator(&mut self, level: usize) -> Option<&'static str> {
        self.blanks();
        let rest = self.text.get(self.at..)?;
        let found = OPERATORS
            .get(level)?
            .iter()
            .find(|op| rest.starts_with(op.as_bytes()))?;
        // A single character must not be the start of a longer operator of another level.
        let next = rest.get(found.len());
        let clash = match *found {
            "|" => next == Some(&b'|'),
            "&" => next == Some(&b'&'),
            "<" => next == Some(&b'<'),
            ">" => next == Some(&b'>'),
            "*" => next == Some(&b'*'),
            _ => false,
        };
        if clash {
            return None;
        }
        self.at += found.len();
        Some(found)
    }

    fn binary(&mut self, level: usize) -> Result<i64, &'static str> {
        if level >= OPERATORS.len() {
            return self.power();
        }
        let mut left = self.binary(level + 1)?;
        while let Some(operator) = self.operator(level) {
            let right = self.binary(level + 1)?;
            left = apply(operator, left, right)?;
        }
        Ok(left)
    }

    fn power(&mut self) -> Result<i64, &'static str> {
        let base = self.unary()?;
        self.blanks();
        let rest = self.text.get(self.at..).unwrap_or_default();
        if !rest.starts_with(b"**") {
            return Ok(base);
        }
        self.at += 2;
        let exponent = self.nested(Self::power)?;
        let exponent = u32::try_from(exponent).map_err(|_| "a power below 0")?;
        Ok(base.wrapping_pow(exponent))
    }

    fn nested(
        &mut self,
        parse: fn(&mut Self) -> Result<i64, &'static str>,
    ) -> Result<i64, &'static str> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err("nested too deeply");
        }
        let value = parse(self);
        self.depth -= 1;
        value
    }

    fn unary(&mut self) -> Result<i64, &'static str> {
        self.blanks();
        let first = self.text.get(self.at).copied().ok_or("expected a number")?;
        match first {
            b'-' | b'+' | b'!' | b'~' => {
                self.at += 1;
                let value = self.nested(Self::unary)?;
                Ok(match first {
                    b'-' => value.wrapping_neg(),
                    b'!' => i64::from(value == 0),
                    b'~' => !value,
                    _ => value,
                })
            }
            b'(' => {
                self.at += 1;
                let value = self.nested(|parser| parser.binary(0))?;
                self.blanks();
                if self.text.get(self.at) != Some(&b')') {
                    return Err("expected )");
                }
                self.at += 1;
                Ok(value)
            }
            _ => self.number(),
        }
    }

    fn number(&mut self) -> Result<i64, &'static str> {
        let start = self.at;
        while self
            .text
            .get(self.at)
            .is_some_and(u8::is_ascii_alphanumeric)
        {
            self.at += 1;
        }
        let word = self
            .text
            .get(start..self.at)
            .and_then(|w| std::str::from_utf8(w).ok());
        let word = word.filter(|w| !w.is_empty()).ok_or("expected a number")?;
        let (digits, radix) = match word.strip_prefix("0x").or(word.strip_prefix("0X")) {
            Some(hex) => (hex, 16),
            None if word.len() > 1 && word.starts_with('0') => (word, 8),
            None => (word, 10),
        };
        i64::from_str_radix(digits, radix).map_err(|_| "expected a number")
    }
}

fn apply(operator: &str, left: i64, right: i64) -> Result<i64, &'static str> {
    let shift = u32::try_from(right.rem_euclid(64)).unwrap_or(0);
    Ok(match operator {
        "||" => i64::from(left != 0 || right != 0),
        "&&" => i64::from(left != 0 && right != 0),
        "|" => left | right,
        "^" => left ^ right,
        "&" => left & right,
        "==" => i64::from(left == right),
        "!=" => i64::from(left != right),
        "<=" => i64::from(left <= right),
        ">=" => i64::from(left >= right),
        "<" => i64::from(left < right),
        ">" => i64::from(left > right),
        "<<" => left.wrapping_shl(shift),
        ">>" => left.wrapping_shr(shift),
        "+" => left.wrapping_add(right),
        "-" => left.wrapping_sub(right),
        "*" => left.wrapping_mul(right),
        "/" | "%" if right == 0 => return Err("a division by 0"),
        "/" => left.wrapping_div(right),
        _ => left.wrapping_rem(right),
    })
}
