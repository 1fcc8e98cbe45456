//! What a shell makes of `archive_command` and `restore_command`: whether
//! walkeep's exit code reaches PostgreSQL as it is. PostgreSQL reads every
//! answer of the shell (`archive_command`: 0 is archived; `restore_command`: 1
//! to 125 is "no such file"), so what stands around walkeep decides.

/// Which of the two commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Archive,
    Restore,
}

/// What a command does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It runs walkeep, whose answer comes through.
    Walkeep(Invocation),
    /// It does not run walkeep.
    Other,
    /// It runs walkeep, and changes its answer: by what.
    Changes(String),
    /// It runs walkeep by way of something else, which may change the answer:
    /// by what.
    Through(String),
    /// It runs walkeep with other arguments than these.
    Arguments(&'static str),
}

/// How walkeep is run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Invocation {
    /// The program, as it is written.
    pub(super) program: String,
    /// `--config`.
    pub(super) config: Option<String>,
    /// `--cluster`.
    pub(super) cluster: Option<String>,
}

/// Reads a command as a POSIX shell does, as far as that decides.
pub(super) fn judge(kind: Kind, text: &str) -> Verdict {
    let tokens = tokens(text);
    let is_walkeep = |token: &Token| matches!(token, Token::Word(word) if word.rsplit('/').next() == Some("walkeep"));
    let Some(at) = tokens.iter().position(is_walkeep) else {
        return if text.contains("walkeep") {
            Verdict::Through(first_word(&tokens))
        } else {
            Verdict::Other
        };
    };
    if let Some(changes) = changing_operator(kind, &tokens, at) {
        return Verdict::Changes(changes);
    }
    if tokens.contains(&Token::Operator("&&")) {
        return Verdict::Through("&&".to_owned());
    }
    // What ends before walkeep begins changes nothing of its answer.
    let ends = |token: &Token| ENDS.iter().any(|end| *token == Token::Operator(end));
    let begin = tokens[..at].iter().rposition(ends).map_or(0, |end| end + 1);
    let mut before = tokens[begin..at].iter();
    if let Some(Token::Word(wrapper)) = before.find(|token| !passes_through(token)) {
        return Verdict::Through(wrapper.clone());
    }
    let words = tokens[at..].iter().map_while(|token| match token {
        Token::Word(word) => Some(word.as_str()),
        Token::Operator(_) => None,
    });
    arguments(kind, words)
}

fn arguments<'a>(kind: Kind, mut words: impl Iterator<Item = &'a str>) -> Verdict {
    let mut invocation = Invocation {
        program: words.next().unwrap_or_default().to_owned(),
        ..Invocation::default()
    };
    let mut positional = Vec::new();
    while let Some(word) = words.next() {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(value)),
            _ => (word, None),
        };
        let mut value = || value.or_else(|| words.next()).map(str::to_owned);
        match name {
            "--config" => invocation.config = value(),
            "--cluster" => invocation.cluster = value(),
            "--plan" if kind == Kind::Restore => drop(value()),
            option if option.starts_with('-') => {}
            argument => positional.push(argument),
        }
    }
    let expected: (&[&str], _) = match kind {
        Kind::Archive => (&["wal", "push", "%p"], "wal push %p"),
        Kind::Restore => (&["wal", "fetch", "%f", "%p"], "wal fetch %f %p"),
    };
    if positional == expected.0 {
        Verdict::Walkeep(invocation)
    } else {
        Verdict::Arguments(expected.1)
    }
}

/// What stands round walkeep and makes its answer another one.
fn changing_operator(kind: Kind, tokens: &[Token], at: usize) -> Option<String> {
    for (index, token) in tokens.iter().enumerate() {
        let Token::Operator(operator) = token else {
            continue;
        };
        // `a && walkeep` and `walkeep && b` fail where walkeep fails; what
        // ends before walkeep begins decides nothing either.
        if *operator == "&&" || (ENDS.contains(operator) && index < at) {
            continue;
        }
        let next = tokens.get(index + 1);
        let after: Vec<&str> = tokens[index + 1..].iter().map(Token::text).collect();
        if ENDS.contains(operator) && next.is_none() {
            continue;
        }
        // A failure that stays a failure is one for archive_command; for
        // restore_command it becomes "no such file".
        let fails = match after.as_slice() {
            ["false"] => true,
            ["exit", code] => code.parse().is_ok_and(|code: u8| (1..=125).contains(&code)),
            _ => false,
        };
        if kind == Kind::Archive && *operator == "||" && fails {
            continue;
        }
        return Some(
            format!("{operator} {}", after.join(" "))
                .trim_end()
                .to_owned(),
        );
    }
    None
}

/// Assignments, and programs that only become what they run.
fn passes_through(token: &Token) -> bool {
    match token {
        Token::Operator(_) => true,
        Token::Word(word) => {
            matches!(word.rsplit('/').next(), Some("env" | "exec"))
                || word.split_once('=').is_some_and(|(name, _)| {
                    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
                })
        }
    }
}

fn first_word(tokens: &[Token]) -> String {
    tokens
        .first()
        .map(Token::text)
        .unwrap_or_default()
        .to_owned()
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Operator(&'static str),
}

impl Token {
    fn text(&self) -> &str {
        match self {
            Token::Word(word) => word,
            Token::Operator(operator) => operator,
        }
    }
}

/// What ends one command, and lets the next begin whatever it answered.
const ENDS: [&str; 2] = [";", "\n"];

/// Longer operators first.
const OPERATORS: [&str; 10] = ["||", "&&", ";", "|", "&", "\n", "(", ")", "`", "$("];

/// Words and operators; redirections, which change no exit code, left out.
fn tokens(text: &str) -> Vec<Token> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(text: &str) -> Verdict {
        judge(Kind::Archive, text)
    }

    fn restore(text: &str) -> Verdict {
        judge(Kind::Restore, text)
    }

    #[test]
    fn walkeep_is_seen_with_its_configuration() {
        for text in [
            "/usr/bin/walkeep --config '/a b/c.toml' wal push %p",
            "exec /usr/bin/walkeep wal push --config=\"/a b/c.toml\" %p",
            "LANG=C /usr/bin/walkeep --config /a\\ b/c.toml -v wal push \"%p\" 2>>/tmp/log",
            "/usr/bin/walkeep --config '/a b/c.toml' wal push %p >/dev/null 2>&1;",
            "cd /; /usr/bin/walkeep --config '/a b/c.toml' wal push %p",
        ] {
            let Verdict::Walkeep(found) = archive(text) else {
                panic!("{text}: {:?}", archive(text));
            };
            assert_eq!(found.program, "/usr/bin/walkeep", "{text}");
            assert_eq!(found.config.as_deref(), Some("/a b/c.toml"), "{text}");
        }
        let fetch = restore("walkeep --cluster two wal fetch %f %p --plan /x/plan.json");
        let Verdict::Walkeep(found) = fetch else {
            panic!("{fetch:?}");
        };
        assert_eq!(found.cluster.as_deref(), Some("two"));
    }

    #[test]
    fn what_changes_the_answer_is_named() {
        for (text, by) in [
            ("walkeep wal push %p || true", "|| true"),
            ("walkeep wal push %p || exit 0", "|| exit 0"),
            ("walkeep wal push %p; exit 0", "; exit 0"),
            ("walkeep wal push %p | logger -t wal", "| logger -t wal"),
            ("walkeep wal push %p &", "&"),
            ("walkeep wal push %p ||cp %p /x/%f", "|| cp %p /x/%f"),
        ] {
            assert_eq!(archive(text), Verdict::Changes(by.to_owned()), "{text}");
        }
        for (text, by) in [
            ("walkeep wal fetch %f %p || exit 1", "|| exit 1"),
            ("walkeep wal fetch %f %p || false", "|| false"),
            ("walkeep wal fetch %f %p; test $? -eq 0", "; test $? -eq 0"),
        ] {
            assert_eq!(restore(text), Verdict::Changes(by.to_owned()), "{text}");
        }
        for fails in ["|| exit 1", "|| false"] {
            let text = format!("walkeep wal push %p {fails}");
            assert!(matches!(archive(&text), Verdict::Walkeep(_)), "{text}");
        }
    }

    #[test]
    fn what_may_change_it_is_named_and_others_are_told_apart() {
        let through = |by: &str| Verdict::Through(by.to_owned());
        assert_eq!(
            archive("timeout 60 walkeep wal push %p"),
            through("timeout")
        );
        assert_eq!(archive("sh -c 'walkeep wal push %p'"), through("sh"));
        assert_eq!(archive("test -f x && walkeep wal push %p"), through("&&"));
        assert_eq!(archive("cp %p /archive/%f"), Verdict::Other);
        assert_eq!(archive(""), Verdict::Other);
        assert_eq!(
            archive("walkeep wal push %f"),
            Verdict::Arguments("wal push %p")
        );
        assert_eq!(
            restore("walkeep wal fetch %p %f"),
            Verdict::Arguments("wal fetch %f %p")
        );
    }
}
