//! Environment variables of the host that plugins do not get.

/// The prefix of the environment variables that give the program `bivium` its secrets. No plugin is granted such a variable: a
/// manifest asks for a secret with `permissions.secrets`.
pub const SECRET_VARIABLE: &str = "BIVIUM_SECRET_";
