//! MobileNet V1, V2 and V3: networks as data, exact weights, and a compiler to programs that run at the processor's
//! speed.
//!
//! Five lines from a weights file and a photo to answers:
//!
//! ```no_run
//! use mobilenet::{Classifier, Image};
//!
//! let classifier = Classifier::open("mobilenet_v2.pth")?;
//! for answer in classifier.classify(&Image::open("photo.jpg")?, 5) {
//!     println!("{:5.1} %  {}", answer.probability * 100.0, answer.label);
//! }
//! # Ok::<(), mobilenet::Error>(())
//! ```
//!
//! One floor down, a network is a table, a graph and a program:
//!
//! ```
//! use std::sync::Arc;
//! use mobilenet::arch::{self, Spec};
//! use mobilenet::{Pool, Program, init};
//!
//! let table = arch::find("mobilenet_v3_small")?;
//! let graph = table.graph(&Spec { width: 0.5, classes: 10, ..Spec::default() })?;
//! let program = Program::compile(&graph, init::random(&graph, 1), &Default::default())?;
//!
//! let mut arena = program.arena(1, 96, 128, &Arc::new(Pool::new(1)))?; // one image of 96×128 pixels
//! arena.input_mut().fill(0.5); // 3×96×128 values
//! program.run(&mut arena); // allocates nothing
//! assert_eq!(arena.output("logits").unwrap().len(), 10);
//! # Ok::<(), mobilenet::net::Error>(())
//! ```
//!
//! Two floors down are the kernels, see [`kernels`].

pub use mobilenet_data as data;
pub use mobilenet_kernels as kernels;
pub use mobilenet_net as net;
#[cfg(feature = "pull")]
pub use mobilenet_pull as pull;
pub use mobilenet_run as run;
pub use mobilenet_train as train;

pub use mobilenet_kernels::{Isa, Pool};
pub use mobilenet_net::{Graph, Params, Tensor, arch, init};
pub use mobilenet_run::{Arena, Classifier, ClassifierOptions, Error, Image, Labels, Prediction, Program};

/// The code of the repository's pages is tested as this crate's documentation is.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../../README.md")]
    struct Readme;
    #[doc = include_str!("../../docs/classify.md")]
    struct Classify;
    #[doc = include_str!("../../docs/features.md")]
    struct Features;
    #[doc = include_str!("../../docs/file-format.md")]
    struct FileFormat;
    #[doc = include_str!("../../docs/pull.md")]
    struct Pull;
    #[doc = include_str!("../../docs/weights.md")]
    struct Weights;
    #[doc = include_str!("../../docs/tables.md")]
    struct Tables;
    #[doc = include_str!("../../docs/training.md")]
    struct Training;
}
