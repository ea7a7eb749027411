//! The exchange: a private temporary directory in which blobs live.
