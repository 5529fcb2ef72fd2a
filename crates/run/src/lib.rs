//! From graph and weights to results.
