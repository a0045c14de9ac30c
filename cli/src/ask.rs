//! Questions to the person at the terminal. What nobody can answer is not assumed.

use std::io::{self, IsTerminal as _, Write as _};

use crate::failure::{Exit, Failure};

/// Asks for the word `yes`. With `yes` already given on the command line, asks nothing.
///
/// `question` says what will be touched.
pub(crate) async fn confirm(question: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::with(Exit::Declined, format!("{question}: nobody is at a terminal to say yes"))
            .hint("pass --yes if that is what you want"));
    }
    let prompt = format!("{question}? type yes: ");
    let answer = blocking(move || {
        eprint!("{prompt}");
        io::stderr().flush()?;
        let mut line = String::new();
        io::stdin().read_line(&mut line)?;
        Ok(line)
    })
    .await?;
    if answer.trim() == "yes" { Ok(()) } else { Err(Failure::with(Exit::Declined, "not done: the answer was not yes")) }
}

/// Asks for a line; `None` when nobody is there to type it.
pub(crate) async fn line(question: &str) -> Result<Option<String>, Failure> {
    if !io::stdin().is_terminal() {
        return Ok(None);
    }
    let question = question.to_owned();
    blocking(move || {
        eprint!("{question}");
        io::stderr().flush()?;
        let mut line = String::new();
        io::stdin().read_line(&mut line)?;
        Ok(line)
    })
    .await
    .map(Some)
}

/// Asks for a passphrase without echo; `None` when nobody is there to type it.
pub(crate) async fn passphrase(prompt: &str) -> Result<Option<String>, Failure> {
    if !io::stdin().is_terminal() {
        return Ok(None);
    }
    let prompt = prompt.to_owned();
    blocking(move || rpassword::prompt_password(prompt)).await.map(Some)
}

async fn blocking<T: Send + 'static>(ask: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(ask).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(Failure::new(format!("cannot read from the terminal: {error}"))),
        Err(error) => Err(Failure::new(format!("cannot read from the terminal: {error}"))),
    }
}
