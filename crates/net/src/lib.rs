//! MobileNets as data: the graph, the papers' tables, weights files and counting. No speed here; see `mobilenet-run`.

mod activation;
pub mod arch;
pub mod built_in;
pub mod card;
pub mod count;
pub mod error;
pub mod exemplars;
pub mod file;
pub mod fold;
pub mod golden;
pub mod graph;
pub mod hash;
pub mod init;
mod layout;
pub mod load;
pub mod model_file;
pub mod names;
pub mod preprocessing;
pub mod recognise;
mod strided;
pub mod tensor;
pub mod weights;

pub use card::Card;
pub use error::Error;
pub use golden::Golden;
pub use graph::{Activation, Graph, NodeId, Op, Padding, Shape, Shapes, Window};
pub use load::{Loaded, load};
pub use names::Origin;
pub use preprocessing::Preprocessing;
pub use recognise::{About, Overrides, Recognised};
pub use tensor::{DType, Data, Params, Tensor};
