//! Questions and their answers.
//!
//! A question that is not answered is answered no, or with the default where a text is asked
//! for. The functions take the streams, so that they do not depend on a terminal.

use std::io::{self, BufRead, IsTerminal, Write};

/// How often a question is asked before the answer is no.
const TRIES: usize = 3;

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
/// end of the input and an error give no.
pub(super) fn yes_or_no(
    mut input: impl BufRead,
    mut output: impl Write,
    question: &str,
    default: Answer,
) -> Answer {
    for _ in 0..TRIES {
        let asked = write!(output, "{question} {} ", Answer::choices(default));
        let mut line = String::new();
        match asked.and_then(|()| output.flush()).and_then(|()| input.read_line(&mut line)) {
            Ok(0) | Err(_) => return Answer::No,
            Ok(_) => {}
        }
        match Answer::parse(line.trim(), default) {
            Some(answer) => return answer,
            None => drop(writeln!(output, "please answer y or n")),
        }
    }
    Answer::No
}

/// Asks for a text. An empty line, the end of the input and an error give the default.
pub(super) fn text(
    mut input: impl BufRead,
    mut output: impl Write,
    noun: &str,
    default: &str,
) -> String {
    let mut line = String::new();
    let asked = write!(output, "{noun} [{default}]: ").and_then(|()| output.flush());
    if asked.and_then(|()| input.read_line(&mut line)).is_err() {
        return default.to_owned();
    }
    Some(line.trim()).filter(|answer| !answer.is_empty()).unwrap_or(default).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(input: &str, default: Answer) -> (Answer, String) {
        let mut output = Vec::new();
        let answer = yes_or_no(input.as_bytes(), &mut output, "Delete it?", default);
        (answer, String::from_utf8(output).unwrap())
    }

    #[test]
    fn an_empty_line_is_the_default_and_the_end_of_input_is_no() {
        let deleting = "Delete it? [y/N] ".to_owned();
        let harmless = "Delete it? [Y/n] ".to_owned();
        assert_eq!(answer("\n", Answer::No), (Answer::No, deleting.clone()));
        assert_eq!(answer("\n", Answer::Yes), (Answer::Yes, harmless.clone()));
        assert_eq!(answer("YES\n", Answer::No), (Answer::Yes, deleting));
        assert_eq!(answer("n\n", Answer::Yes), (Answer::No, harmless.clone()));
        assert_eq!(answer("", Answer::Yes), (Answer::No, harmless));
    }

    #[test]
    fn a_question_is_asked_three_times_at_most() {
        let again = "Delete it? [y/N] please answer y or n\n";
        let once_more = format!("{again}Delete it? [y/N] ");
        assert_eq!(answer("?\ny\n", Answer::No), (Answer::Yes, once_more.clone()));
        assert_eq!(answer("?\nwhat\n2\ny\n", Answer::No), (Answer::No, again.repeat(3)));
        assert_eq!(answer("?\n", Answer::No), (Answer::No, once_more));
    }

    #[test]
    fn a_text_has_a_default() {
        let ask = |input: &str| {
            let mut output = Vec::new();
            let text = text(input.as_bytes(), &mut output, "server type", "cx53");
            assert_eq!(output, b"server type [cx53]: ");
            text
        };
        assert_eq!(ask(" ccx63 \n"), "ccx63");
        assert_eq!(ask("\n"), "cx53");
        assert_eq!(ask(""), "cx53");
    }
}
