//! MobileNets as data: the graph, the papers' tables, weights files and counting. No speed here; see `mobilenet-run`.

pub mod arch;
pub mod count;
pub mod error;
pub mod fold;
pub mod graph;
pub mod names;
pub mod preprocessing;
pub mod recognise;
pub mod tensor;
pub mod weights;

pub use error::Error;
pub use graph::{Activation, Graph, NodeId, Op, Padding, Shape, Shapes, Window};
pub use preprocessing::Preprocessing;
pub use tensor::{DType, Data, Params, Tensor};
