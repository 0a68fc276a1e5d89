//! How things are shown: JSON or for people, how much, and in which colours.

use std::io::IsTerminal as _;

/// What colour says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::cli) enum Tone {
    #[default]
    Plain,
    Good,
    Warning,
    Bad,
    /// Of less interest.
    Faint,
    /// A heading.
    Strong,
}

/// Colours, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) struct Paint(bool);

impl Paint {
    /// Colours are for terminals that nobody has told otherwise (`NO_COLOR`, `TERM=dumb`).
    pub(in crate::cli) fn of_process() -> Self {
        let said = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        Self::chosen(
            std::io::stdout().is_terminal(),
            said("NO_COLOR").is_some(),
            said("TERM").is_some_and(|term| term == "dumb"),
        )
    }

    fn chosen(terminal: bool, no_color: bool, dumb: bool) -> Self {
        Self(terminal && !no_color && !dumb)
    }

    /// None at all.
    #[cfg(test)]
    pub(in crate::cli) fn none() -> Self {
        Self(false)
    }

    /// A text in its tone.
    pub(in crate::cli) fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Plain => "",
            Tone::Good => "32",
            Tone::Warning => "33",
            Tone::Bad => "31",
            Tone::Faint => "2",
            Tone::Strong => "1",
        };
        if self.0 && !code.is_empty() && !text.is_empty() {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    People,
    Quiet,
    Json,
}

/// How this command shows what it has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) struct Output {
    form: Form,
    pub(in crate::cli) paint: Paint,
}

impl Output {
    pub(in crate::cli) fn of_process(json: bool, quiet: bool) -> Self {
        let form = match (json, quiet) {
            (true, _) => Form::Json,
            (false, true) => Form::Quiet,
            (false, false) => Form::People,
        };
        Self { form, paint: Paint::of_process() }
    }

    pub(in crate::cli) fn is_json(self) -> bool {
        self.form == Form::Json
    }

    pub(in crate::cli) fn is_quiet(self) -> bool {
        self.form == Form::Quiet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_that_nobody_told_otherwise() {
        assert_eq!(Paint::chosen(true, false, false).paint(Tone::Bad, "x"), "\u{1b}[31mx\u{1b}[0m");
        for paint in
            [Paint::chosen(false, false, false), Paint::chosen(true, true, false), Paint::chosen(true, false, true)]
        {
            assert_eq!(paint.paint(Tone::Bad, "x"), "x");
        }
        assert_eq!(Paint::chosen(true, false, false).paint(Tone::Plain, "x"), "x");
    }
}
