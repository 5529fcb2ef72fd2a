//! MobileNet V1, V2 and V3.
