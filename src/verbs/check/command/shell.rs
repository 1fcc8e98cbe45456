//! A command's text as a POSIX shell splits it (Shell Command Language, 2.3),
//! as far as that decides what its exit code is.

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Word(String),
    Operator(&'static str),
}

impl Token {
    pub(super) fn text(&self) -> &str {
        match self {
            Token::Word(word) => word,
            Token::Operator(operator) => operator,
        }
    }

    /// Whether the next command begins behind it whatever the last answered.
    pub(super) fn ends(&self) -> bool {
        ENDS.contains(&self.text()) && matches!(self, Token::Operator(_))
    }
}

/// What ends one command, and lets the next begin whatever it answered.
pub(super) const ENDS: [&str; 2] = [";", "\n"];

/// Longer operators first.
const OPERATORS: [&str; 10] = ["||", "&&", ";", "|", "&", "\n", "(", ")", "`", "$("];

/// Words and operators; comments, and redirections, which change no exit code,
/// left out.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        if let Some(operator) = OPERATORS
            .iter()
            .find(|operator| rest.starts_with(**operator))
        {
            tokens.extend(word.take().map(Token::Word));
            tokens.push(Token::Operator(operator));
            rest = &rest[operator.len()..];
            continue;
        }
        let mut chars = rest.chars();
        chars.next();
        match next {
            '#' if word.is_none() => {
                rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
                continue;
            }
            ' ' | '\t' => tokens.extend(word.take().map(Token::Word)),
            '>' | '<' => {
                // A number in front says which descriptor.
                let number = |word: &String| word.bytes().all(|b| b.is_ascii_digit());
                tokens.extend(word.take().filter(|word| !number(word)).map(Token::Word));
                rest = skip_target(chars.as_str());
                continue;
            }
            '\'' => {
                let (quoted, after) = split(chars.as_str(), '\'');
                word.get_or_insert_default().push_str(quoted);
                rest = after;
                continue;
            }
            '"' => {
                let (quoted, after) = split(chars.as_str(), '"');
                word.get_or_insert_default().push_str(quoted);
                rest = after;
                continue;
            }
            '\\' => word.get_or_insert_default().extend(chars.next()),
            other => word.get_or_insert_default().push(other),
        }
        rest = chars.as_str();
    }
    tokens.extend(word.map(Token::Word));
    tokens
}

fn split(text: &str, end: char) -> (&str, &str) {
    text.split_once(end).unwrap_or((text, ""))
}

/// What follows a redirection's file, or its `&1`.
fn skip_target(text: &str) -> &str {
    let text = text.trim_start_matches(['>', '&', '|']).trim_start();
    let end = text.find(|c: char| " \t\n;|&<>".contains(c));
    &text[end.unwrap_or(text.len())..]
}
