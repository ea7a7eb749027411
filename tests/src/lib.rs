//! What the end-to-end tests share: where the built program and the example plugins lie.
