//! The bytes of TensorBoard's event files: a row of TFRecords, each a protocol buffer `Event` (tensorboard@2.21.0,
//! `compat/proto/event.proto` and `summary.proto`) behind its length and between checksums (tensorflow@2.20
//! `core/lib/io/record_writer.h`).

use prost::{Message, Oneof};

/// What every file says first.
const VERSION: &str = "brain.Event:2";
/// `SessionLog.START`.
const START: i32 = 1;

/// The record that a file begins with.
pub fn version(wall_time: f64) -> Vec<u8> {
    record(&Event { wall_time, step: 0, what: Some(What::FileVersion(VERSION.into())) })
}

/// A record that takes back what earlier files say of `step` and later ones.
pub fn start(wall_time: f64, step: i64) -> Vec<u8> {
    record(&Event { wall_time, step, what: Some(What::SessionLog(SessionLog { status: START })) })
}

/// The figures that there are, as one record. `wall_time` is in seconds since 1970.
pub fn scalars(wall_time: f64, step: i64, figures: &[(&str, Option<f64>)]) -> Vec<u8> {
    let found = figures.iter().filter_map(|(tag, figure)| Some((*tag, (*figure)?)));
    let value = found.map(|(tag, figure)| Value { tag: tag.into(), simple_value: Some(figure as f32) }).collect();
    record(&Event { wall_time, step, what: Some(What::Summary(Summary { value })) })
}

/// `tensorboard.Event`.
#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(oneof = "What", tags = "3, 5, 7")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, Oneof)]
enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// A TFRecord: the length in eight bytes, its checksum, the bytes, their checksum, all little-endian.
fn record(event: &Event) -> Vec<u8> {
    let bytes = event.encode_to_vec();
    let length = (bytes.len() as u64).to_le_bytes();
    [&length[..], &checksum(&length), &bytes, &checksum(&bytes)].concat()
}

/// CRC-32C, masked so that a checksum over checksums is of use (tensorflow `core/lib/hash/crc32c.h`).
fn checksum(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `scripts/tensorboard-golden` wrote by TensorBoard's own writer.
    const GOLDEN: &[u8] = include_bytes!("../../tests/tensorboard.golden");

    #[test]
    fn records_are_tensorboards_own_byte_for_byte() {
        let ours = [
            version(1.7e9),
            start(1.7e9 + 0.25, 1),
            scalars(1.7e9 + 0.5, 1, &[("loss/step", Some(2.5)), ("lr", Some(0.0)), ("top1/step", None)]),
            scalars(1.7e9 + 0.75, 70_000, &[("mean_average_precision/validation", Some(0.1))]),
        ];
        assert_eq!(ours.concat(), GOLDEN);
    }
}
