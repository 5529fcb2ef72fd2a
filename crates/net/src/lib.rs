//! MobileNets as data: the graph, the papers' tables, weights files and counting. No speed here; see `mobilenet-run`.

mod activation;
pub mod arch;
pub mod count;
pub mod error;
pub mod file;
pub mod fold;
pub mod graph;
pub mod init;
mod layout;
pub mod load;
pub mod names;
pub mod preprocessing;
pub mod recognise;
pub mod tensor;
pub mod weights;

pub use error::Error;
pub use graph::{Activation, Graph, NodeId, Op, Padding, Shape, Shapes, Window};
pub use load::{Loaded, load};
pub use names::Origin;
pub use preprocessing::Preprocessing;
pub use recognise::{Overrides, Recognised};
pub use tensor::{DType, Data, Params, Tensor};
