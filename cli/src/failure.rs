//! How a command ends when it does not end well.

use std::process::ExitCode;

/// Why a command stopped.
pub enum Failure {
    /// Wrong usage or bad input: exit code 2, with the reason.
    Bad(String),
    /// Bad input that has been reported already: exit code 2.
    Reported,
    /// Some inputs failed and were reported; the rest is done: exit code 1.
    Some,
    /// Ended by Ctrl-C, in good order: exit code 130, as shells have it.
    Interrupted,
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
                note!("error: {reason}");
                ExitCode::from(2)
            }
            Failure::Reported => ExitCode::from(2),
            Failure::Some => ExitCode::from(1),
            Failure::Interrupted => ExitCode::from(130),
            Failure::ClosedPipe => ExitCode::SUCCESS,
        }
    }
}
