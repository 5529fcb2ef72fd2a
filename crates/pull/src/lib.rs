//! Published weights of MobileNets: which there are, fetching them, checking them, finding them again.
//!
//! Nothing here touches the network but [`pull`].
//!
//! ```no_run
//! use std::ops::ControlFlow;
//! use mobilenet_pull::{Name, Options, Store, pull};
//!
//! let name: Name = "torchvision/mobilenet_v2".parse()?;
//! let mut watch = |_: mobilenet_pull::Progress| ControlFlow::Continue(());
//! let pulled = pull(&name, &Store::from_env()?, None, &Options::from_env()?, &mut watch)?;
//! println!("{} bytes at {}", pulled.card.bytes, pulled.path.display());
//! # Ok::<(), mobilenet_pull::Error>(())
//! ```

pub mod catalogue;
mod client;
mod config;
mod digest;
mod download;
pub mod error;
mod mirror;
pub mod name;
mod part;
mod pulling;
pub mod store;

pub use catalogue::{Entry, Reads, Source};
pub use error::Error;
pub use mobilenet_net::Card;
pub use name::Name;
pub use pulling::{MIRROR, Options, Progress, Pulled, check, pull};
pub use store::{Store, Stored};
