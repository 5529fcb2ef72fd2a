//! An arena that is kept while batches stay as large.

use crate::error::Error;

/// An arena for images, height and width, once one was asked for.
pub(crate) struct Kept<A>(Option<([usize; 3], A)>);

impl<A> Kept<A> {
    /// None yet.
    pub fn none() -> Kept<A> {
        Kept(None)
    }

    /// The arena of this size: the last one, or a new one in its place, whose memory is given back first.
    ///
    /// # Errors
    /// What `make` says.
    pub fn of<E: Into<Error>>(
        &mut self,
        size: [usize; 3],
        make: impl FnOnce([usize; 3]) -> Result<A, E>,
    ) -> Result<&mut A, Error> {
        if self.0.as_ref().is_none_or(|(of, _)| *of != size) {
            self.0 = None;
            self.0 = Some((size, make(size).map_err(Into::into)?));
        }
        let Some((_, arena)) = &mut self.0 else { unreachable!("made above") };
        Ok(arena)
    }
}
