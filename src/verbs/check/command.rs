//! What a shell makes of `archive_command` and `restore_command`: whether
//! walkeep's exit code reaches PostgreSQL as it is. PostgreSQL reads every
//! answer of the shell (`archive_command`: 0 is archived; `restore_command`: 1
//! to 125 is "no such file"), so what stands around walkeep decides.

mod shell;

use shell::{ENDS, Token, tokens};

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
        return quoted(kind, text, &tokens);
    };
    if let Some(verdict) = leaves_before(kind, &tokens[..at]) {
        return verdict;
    }
    // What ends before walkeep begins changes nothing of its answer.
    let begin = tokens[..at].iter().rposition(Token::ends);
    let begin = begin.map_or(0, |end| end + 1);
    if let Some(changes) = changing_operator(kind, &tokens[begin..], at - begin) {
        return Verdict::Changes(changes);
    }
    if tokens[begin..].contains(&Token::Operator("&&")) {
        return Verdict::Through("&&".to_owned());
    }
    let mut before = tokens[begin..at].iter();
    match before.find(|token| !passes_through(token)).map(Token::text) {
        None => {}
        Some("!") => return Verdict::Changes("!".to_owned()),
        Some(word) if RUN_NOTHING.contains(&word) => return Verdict::Other,
        Some(wrapper) => return Verdict::Through(wrapper.to_owned()),
    }
    let words = tokens[at..].iter().map_while(|token| match token {
        Token::Word(word) => Some(word.as_str()),
        Token::Operator(_) => None,
    });
    arguments(kind, words)
}

/// A command that does not run walkeep itself, but may name it to what it
/// runs, as in `sh -c 'walkeep …'`.
fn quoted(kind: Kind, text: &str, tokens: &[Token]) -> Verdict {
    let names = |token: &&Token| token.text().contains("walkeep");
    let Some(quoted) = tokens.iter().find(names).map(Token::text) else {
        return Verdict::Other;
    };
    if quoted.len() < text.len()
        && let Verdict::Changes(changes) = judge(kind, quoted)
    {
        return Verdict::Changes(changes);
    }
    match tokens.first().map(Token::text) {
        Some(word) if RUN_NOTHING.contains(&word) => Verdict::Other,
        first => Verdict::Through(first.unwrap_or_default().to_owned()),
    }
}

/// What among the commands before walkeep may end the shell without it.
fn leaves_before(kind: Kind, before: &[Token]) -> Option<Verdict> {
    let commands = before.split(|token| matches!(token, Token::Operator(_)));
    let mut commands: Vec<&[Token]> = commands.collect();
    // The last one is walkeep's own.
    commands.pop();
    commands.into_iter().find_map(|command| {
        let words = command.iter().map(Token::text);
        let words: Vec<&str> = words.skip_while(|word| leads_in(word)).collect();
        match words.as_slice() {
            // PostgreSQL keeps the file and asks again.
            ["exit" | "return", code] if kind == Kind::Archive && fails(code) => None,
            ["exit" | "return" | "trap", ..] | ["exec", _, ..] => {
                Some(Verdict::Changes(words.join(" ")))
            }
            [shell @ ("eval" | "." | "source"), ..] => Some(Verdict::Through((*shell).to_owned())),
            _ => None,
        }
    })
}

/// Whether an exit code says "no", and nothing worse.
fn fails(code: &str) -> bool {
    code.parse().is_ok_and(|code: u8| (1..=125).contains(&code))
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
        // `a && walkeep` and `walkeep && b` fail where walkeep fails.
        if *operator == "&&" {
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
            ["exit", code] => fails(code),
            _ => false,
        };
        if kind == Kind::Archive && *operator == "||" && index > at && fails {
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
            matches!(word.rsplit('/').next(), Some("env" | "exec")) || is_assignment(word)
        }
    }
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    })
}

/// What may stand before a command's name.
fn leads_in(word: &str) -> bool {
    const WORDS: [&str; 9] = [
        "if", "then", "elif", "else", "while", "until", "do", "!", "{",
    ];
    WORDS.contains(&word) || is_assignment(word)
}

/// What takes words, and runs none of them.
const RUN_NOTHING: [&str; 9] = [
    "true", "false", ":", "echo", "printf", "test", "[", "exit", "return",
];

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
            "/usr/bin/walkeep --config '/a b/c.toml' wal push %p # || true",
            "test -d /a || exit 1; /usr/bin/walkeep --config '/a b/c.toml' wal push %p",
            "exec 2>>/log#1; /usr/bin/walkeep --config '/a b/c.toml' wal push %p",
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
            ("exit 0; walkeep wal push %p", "exit 0"),
            ("exit; walkeep wal push %p", "exit"),
            ("test -e /x/%f && exit 0; walkeep wal push %p", "exit 0"),
            (
                "if test -e /x/%f; then exit 0; fi\nwalkeep wal push %p",
                "exit 0",
            ),
            ("exec cp %p /x/%f; walkeep wal push %p", "exec cp %p /x/%f"),
            (
                "trap 'exit 0' EXIT; walkeep wal push %p",
                "trap exit 0 EXIT",
            ),
            ("true || walkeep wal push %p", "|| walkeep wal push %p"),
            ("! walkeep wal push %p", "!"),
            ("sh -c 'walkeep wal push %p || true'", "|| true"),
        ] {
            assert_eq!(archive(text), Verdict::Changes(by.to_owned()), "{text}");
        }
        for (text, by) in [
            ("walkeep wal fetch %f %p || exit 1", "|| exit 1"),
            ("walkeep wal fetch %f %p || false", "|| false"),
            ("test -d /a || exit 1; walkeep wal fetch %f %p", "exit 1"),
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
        assert_eq!(archive(". /x/y; walkeep wal push %p"), through("."));
        for other in [
            "cp %p /archive/%f",
            "true # walkeep wal push %p",
            "# walkeep wal push %p",
            "echo walkeep wal push %p",
            "echo 'walkeep wal push %p'",
        ] {
            assert_eq!(archive(other), Verdict::Other, "{other}");
        }
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
