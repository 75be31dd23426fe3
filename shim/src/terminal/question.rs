//! Questions and their answers.
//!
//! The end of the input is no answer. The functions take the streams, so that they do not depend
//! on a terminal.

use std::io::{self, BufRead, IsTerminal, Write};

/// How often a question is asked before there is no answer.
pub(crate) const TRIES: usize = 3;

/// The answer to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Yes: the default of questions about convenience.
    Yes,
    /// No: the default of questions about money and deletion.
    No,
}

impl Answer {
    /// Reads an answer; an empty one is the default. `None` if it is neither yes nor no.
    fn parse(text: &str, default: Self) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "" => Some(default),
            "y" | "yes" => Some(Self::Yes),
            "n" | "no" => Some(Self::No),
            _ => None,
        }
    }

    /// The choices as shown, the default in capitals.
    const fn choices(default: Self) -> &'static str {
        match default {
            Self::Yes => "[Y/n]",
            Self::No => "[y/N]",
        }
    }
}

/// Whether questions can be asked: standard input and standard error are terminals.
pub(crate) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks for yes or no. An empty line gives the default; three lines that are neither, the
/// end of the input and an error give none.
pub(super) fn yes_or_no(
    mut input: impl BufRead,
    mut output: impl Write,
    question: &str,
    default: Answer,
) -> Option<Answer> {
    for _ in 0..TRIES {
        let asked = write!(output, "{question} {} ", Answer::choices(default));
        let mut line = String::new();
        match asked.and_then(|()| output.flush()).and_then(|()| input.read_line(&mut line)) {
            Ok(0) | Err(_) => return None,
            Ok(_) => {}
        }
        match Answer::parse(line.trim(), default) {
            Some(answer) => return Some(answer),
            None => drop(writeln!(output, "please answer y or n")),
        }
    }
    None
}

/// Asks for a text. An empty line gives the default; the end of the input and an error give none.
pub(super) fn text(
    mut input: impl BufRead,
    mut output: impl Write,
    noun: &str,
    default: &str,
) -> Option<String> {
    let mut line = String::new();
    let asked = write!(output, "{noun} [{default}]: ").and_then(|()| output.flush());
    match asked.and_then(|()| input.read_line(&mut line)) {
        Ok(0) | Err(_) => None,
        Ok(_) if line.trim().is_empty() => Some(default.to_owned()),
        Ok(_) => Some(line.trim().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(input: &str, default: Answer) -> (Option<Answer>, String) {
        let mut output = Vec::new();
        let answer = yes_or_no(input.as_bytes(), &mut output, "Delete it?", default);
        (answer, String::from_utf8(output).unwrap())
    }

    #[test]
    fn an_empty_line_is_the_default_and_the_end_of_input_no_answer() {
        let deleting = "Delete it? [y/N] ".to_owned();
        let harmless = "Delete it? [Y/n] ".to_owned();
        assert_eq!(answer("\n", Answer::No), (Some(Answer::No), deleting.clone()));
        assert_eq!(answer("\n", Answer::Yes), (Some(Answer::Yes), harmless.clone()));
        assert_eq!(answer("YES\n", Answer::No), (Some(Answer::Yes), deleting));
        assert_eq!(answer("n\n", Answer::Yes), (Some(Answer::No), harmless.clone()));
        assert_eq!(answer("", Answer::Yes), (None, harmless));
    }

    #[test]
    fn a_question_is_asked_three_times_at_most() {
        let again = "Delete it? [y/N] please answer y or n\n";
        let once_more = format!("{again}Delete it? [y/N] ");
        assert_eq!(answer("?\ny\n", Answer::No), (Some(Answer::Yes), once_more.clone()));
        assert_eq!(answer("?\nwhat\n2\ny\n", Answer::No), (None, again.repeat(3)));
        assert_eq!(answer("?\n", Answer::No), (None, once_more));
    }

    #[test]
    fn a_text_has_a_default() {
        let ask = |input: &str| {
            let mut output = Vec::new();
            let text = text(input.as_bytes(), &mut output, "server type", "cx53");
            assert_eq!(output, b"server type [cx53]: ");
            text
        };
        assert_eq!(ask(" ccx63 \n").as_deref(), Some("ccx63"));
        assert_eq!(ask("\n").as_deref(), Some("cx53"));
        assert_eq!(ask(""), None);
    }
}
