//! MobileNet V1, V2 and V3: networks as data, exact weights, and a compiler to programs that run at the processor's
//! speed.

pub use mobilenet_kernels as kernels;
pub use mobilenet_net as net;
pub use mobilenet_run as run;

pub use mobilenet_kernels::{Isa, Pool};
pub use mobilenet_net::{Error, Graph, Params, Tensor, arch};
pub use mobilenet_run::{Arena, Program};
