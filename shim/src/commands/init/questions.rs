//! The questions of `init`. A wrong answer is said and asked for again, three times in all; the
//! end of the input ends the dialogue, and nothing is written.

use std::io::BufRead;

use burst_hcloud::Token;

use crate::environment;
use crate::error::{Error, ErrorKind};
use crate::settings::{Settings, parse_token};
use crate::terminal::{Answer, TRIES, Terminal, can_ask};

/// The variable of a token.
const TOKEN_VARIABLE: &str = "HCLOUD_TOKEN";

/// The question about `dead_man_switch`.
const DEAD_MAN_SWITCH: &str = "May a server delete itself when this machine is off or gone? For \
     this its agent holds your token, in memory alone (`dead_man_switch`).";

/// A token that is set already, and the place.
pub(super) struct SetToken {
    token: Token,
    place: String,
}

impl SetToken {
    /// That of the user config, else that of the environment.
    pub(super) fn find(settings: &Settings, user_file: &str) -> Option<Self> {
        if let Some(token) = settings.hetzner_token.clone() {
            return Some(Self { token, place: format!("`{user_file}`") });
        }
        let token = in_environment()?;
        Some(Self { token, place: format!("`{TOKEN_VARIABLE}`") })
    }
}

/// The token in the environment, if it is one.
fn in_environment() -> Option<Token> {
    parse_token(&environment::text(TOKEN_VARIABLE)?, TOKEN_VARIABLE).ok()
}

/// Says that the environment has another token, which wins.
pub(super) fn warn_of_environment(terminal: &Terminal, written: &Token) {
    if in_environment().is_some_and(|token| token.reveal() != written.reveal()) {
        terminal.warn(&format!(
            "`{TOKEN_VARIABLE}` is set here to another token, which wins over the one that was \
             written"
        ));
    }
}

/// Asks for the token on a terminal, else reads it from standard input. An empty line keeps the
/// one that is set. `check` says whether the API takes it.
pub(super) fn token<T>(
    terminal: &Terminal,
    set: Option<&SetToken>,
    check: impl Fn(&Token) -> Result<T, Error>,
) -> Result<(Token, T), Error> {
    let read = || -> Result<(Token, T), Error> {
        let line = read_token(terminal, set)?;
        let token = match set {
            Some(set) if line.trim().is_empty() => {
                terminal.say(&format!("the token of {} is kept", set.place));
                set.token.clone()
            }
            _ => parse_token(&line, "the input")?,
        };
        let checked = check(&token)?;
        Ok((token, checked))
    };
    for _ in 1..TRIES {
        match read() {
            Err(error) if error.kind() == ErrorKind::Token && can_ask() => refuse(terminal, &error),
            done => return done,
        }
    }
    read()
}

fn read_token(terminal: &Terminal, set: Option<&SetToken>) -> Result<String, Error> {
    let line = if can_ask() {
        let keeps = match set {
            Some(set) => format!("; Enter keeps that of {}", set.place),
            None => String::new(),
        };
        terminal.ask_secretly(&format!(
            "Hetzner API token (console: project, Security, API tokens, Read & Write{keeps}): "
        ))
    } else {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).map(|_| line)
    };
    line.map_err(|source| {
        let hint = "type the token, or pass it on standard input: `cargo burst init < FILE`";
        Error::new(ErrorKind::Usage, "cannot read the token", hint).caused_by(&source)
    })
}

/// Asks for names, separated by commas or spaces, until `check` takes them.
pub(super) fn names(
    terminal: &Terminal,
    noun: &str,
    default: &[String],
    check: impl Fn(&[String]) -> Result<(), Error>,
) -> Result<Vec<String>, Error> {
    let ask = || -> Result<Result<Vec<String>, Error>, Error> {
        let answer = terminal.ask_for(noun, &default.join(", ")).ok_or_else(ended)?;
        let names = Some(split(&answer)).filter(|names| !names.is_empty());
        let names = names.unwrap_or_else(|| default.to_vec());
        Ok(check(&names).map(|()| names))
    };
    for _ in 1..TRIES {
        match ask()? {
            Ok(names) => return Ok(names),
            Err(error) => refuse(terminal, &error),
        }
    }
    ask()?
}

/// Asks about `dead_man_switch`.
pub(super) fn dead_man_switch(terminal: &Terminal, default: bool) -> Result<bool, Error> {
    let default = if default { Answer::Yes } else { Answer::No };
    let answer = terminal.answer(DEAD_MAN_SWITCH, default).ok_or_else(ended)?;
    Ok(answer == Answer::Yes)
}

fn split(answer: &str) -> Vec<String> {
    let names = answer.split([',', ' ']).filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

fn refuse(terminal: &Terminal, error: &Error) {
    terminal.warn(&format!("{}: {}", error.one_line(), error.hint()));
}

fn ended() -> Error {
    Error::new(
        ErrorKind::Usage,
        "the dialogue has ended without an answer: nothing was written",
        "run `cargo burst init` again, or choose with `--server-type` and `--region`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_separated_by_commas_or_spaces() {
        assert_eq!(split("cx53, cpx62 ,cpx52  x"), ["cx53", "cpx62", "cpx52", "x"]);
        assert_eq!(split(" , "), Vec::<String>::new());
    }
}
