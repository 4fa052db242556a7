//! Colour, and the line that says what is going on; both only on a terminal.

use std::io::{self, IsTerminal, Write};

use crate::output;

/// How to write on this terminal, or on what is none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    has_colour: bool,
    is_terminal: bool,
}

impl Paint {
    pub(crate) fn of_stdout() -> Self {
        Self {
            has_colour: output::is_colourful(&io::stdout()),
            is_terminal: io::stdout().is_terminal(),
        }
    }

    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        Self {
            has_colour: false,
            is_terminal: false,
        }
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.has_colour && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.into()
        }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    pub(crate) fn cyan(self, text: &str) -> String {
        self.with("36", text)
    }

    pub(crate) fn green(self, text: &str) -> String {
        self.with("32", text)
    }

    pub(crate) fn yellow(self, text: &str) -> String {
        self.with("33", text)
    }

    /// Begins a part: a heading and what else there is to know, with a blank line around them.
    pub(crate) fn heading(self, title: &str, more: &str) -> io::Result<()> {
        output::line("")?;
        output::line(format!(" {}  {}", self.bold(title), self.dim(more)))?;
        output::line("")
    }

    /// Replaces the last such line; an empty text takes it away.
    pub(crate) fn progress(self, text: &str) -> io::Result<()> {
        if !self.is_terminal {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        let shown = if text.is_empty() {
            String::new()
        } else {
            self.dim(&format!(" … {text}"))
        };
        write!(out, "\r\x1b[K{shown}")?;
        out.flush()
    }
}
