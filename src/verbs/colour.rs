//! Colours for people at a terminal, and for nobody else
//! (<https://no-color.org>).

use std::{
    env,
    fmt::{self, Display},
    io::IsTerminal,
};

use clap::builder::styling::{AnsiColor, Style};

/// What something looks like.
#[derive(Debug, Clone, Copy)]
pub(super) enum Look {
    Good,
    Warning,
    Critical,
}

/// Whether stdout is to have colours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Colours(bool);

impl Colours {
    pub(super) fn of_stdout() -> Self {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        let dumb = set("TERM").is_some_and(|term| term == "dumb");
        Colours(std::io::stdout().is_terminal() && set("NO_COLOR").is_none() && !dumb)
    }

    pub(super) fn paint<T: Display>(self, look: Look, what: T) -> Painted<T> {
        let style = match look {
            Look::Good => AnsiColor::Green.on_default(),
            Look::Warning => AnsiColor::Yellow.on_default(),
            Look::Critical => AnsiColor::Red.on_default().bold(),
        };
        Painted {
            style: self.0.then_some(style),
            what,
        }
    }
}

/// Something with its colour, if any.
pub(super) struct Painted<T> {
    style: Option<Style>,
    what: T,
}

impl<T: Display> Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.style {
            Some(style) => write!(f, "{style}{}{style:#}", self.what),
            None => self.what.fmt(f),
        }
    }
}
