//! A photo's five likeliest classes.
//!
//!     cargo run --release -p mobilenet --example classify -- mobilenet_v2.pth photo.jpg

use mobilenet::{Classifier, Image};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [weights, photo] = arguments()?;
    let classifier = Classifier::open(weights)?;
    for answer in classifier.classify(&Image::open(photo)?, 5) {
        println!("{:5.1} %  {}", answer.probability * 100.0, answer.label);
    }
    Ok(())
}

fn arguments() -> Result<[String; 2], &'static str> {
    std::env::args().skip(1).collect::<Vec<_>>().try_into().map_err(|_| "give WEIGHTS and PHOTO")
}
