//! How a command ends when it does not end well.

use std::process::ExitCode;

/// Why a command stopped.
pub enum Failure {
    /// Wrong usage or bad input: exit code 2, with the reason.
    Bad(String),
    /// Some inputs failed and were reported; the rest is done: exit code 1.
    #[expect(dead_code, reason = "for commands that take many inputs, such as classify")]
    Some,
    /// Whoever read our output has closed it: nothing left to say.
    ClosedPipe,
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::Bad(error.to_string())
    }
}

impl Failure {
    /// Wrong usage or bad input.
    pub fn bad(reason: impl Into<String>) -> Failure {
        Failure::Bad(reason.into())
    }

    /// Says why, and gives the exit code.
    pub fn report(self) -> ExitCode {
        match self {
            Failure::Bad(reason) => {
                eprintln!("error: {reason}");
                ExitCode::from(2)
            }
            Failure::Some => ExitCode::from(1),
            Failure::ClosedPipe => ExitCode::SUCCESS,
        }
    }
}
