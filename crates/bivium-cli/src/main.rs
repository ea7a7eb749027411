//! The `bivium` program.

fn main() {}
