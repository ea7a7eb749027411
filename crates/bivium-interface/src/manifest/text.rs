//! The forms of text in a manifest. Each has a pattern, and a message for texts that do not match it.
//!
//! They are types without values, which replace `String` and `PathBuf` only in the schema (`#[schemars(with = "text::Name")]`). So
//! editors and `fit` check the same pattern. The patterns use only syntax that ECMA-262 and `regex-lite` read in the same
//! way. Editors show the keyword `patternErrorMessage`; errors use the same words after the key's name.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident: $pattern:literal, $says:literal;)*) => {$(
        $(#[$doc])*
        pub enum $name {}

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "patternErrorMessage": $says })
            }
        }
    )*};
}

texts! {
    /// A plugin's name: it becomes part of file names and log lines.
    Name: r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        "must begin with a letter or digit and contain only letters, digits, '-', '_' and '.', at most 64 characters";
    /// A version, of whatever scheme.
    Version: r"^[!-~]([ -~]{0,126}[!-~])?$", "must be 1 to 128 printable ASCII characters, for example \"1.0.0\"";
    /// Text for people. Terminals show it, so it must not contain escape sequences, or characters that are invisible or change the
    /// direction of writing.
    Prose: r"^[^\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]*$", "must be text without control characters";
    /// The same, on one line.
    Label: r"^[^\u0000-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]+$", "must be one line without control characters";
    /// A path. Only a shell knows what `~` means.
    FilePath: r"^[^~\u0000][^\u0000]*$",
        "must be a path, absolute or relative to the manifest (`~` is not expanded: write the whole path)";
    /// The path where the plugin sees a directory.
    GuestPath: r"^/$|^(/\.?[^./\u0000][^/\u0000]*)+$", "must be an absolute path without `..`, for example \"/data\"";
    /// A digest.
    Sha256: r"^[0-9A-Fa-f]{64}$", "must be a SHA-256 digest of 64 hexadecimal digits";
    /// A Python module.
    Module: r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$",
        "must be the name of a Python module, for example \"package.module\"";
    /// A Python class.
    Class: r"^[A-Za-z_][A-Za-z0-9_]*$", "must be the name of a Python class";
    /// A Python function in its module.
    Function: r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$",
        "must be a module and a function in it, for example \"package.module:function\"";
    /// The name of an argument of a Python function.
    Argument: r"^[A-Za-z_][A-Za-z0-9_]*$",
        "must be the name of an argument";
    /// A requirement. It becomes an argument of an installer, so it must not look like an option.
    Requirement: r"^[A-Za-z0-9][^\u0000-\u001f]*$", "must be a PEP 508 requirement, for example \"numpy>=2\"";
    /// Versions of Python.
    PythonVersions: r"^[<>=!~][0-9A-Za-z.*<>=!~, ]*$", "must be a PEP 440 specifier, for example \">=3.9\"";
    /// An environment variable's name.
    EnvName: r"^[^=\u0000-\u0020\u007f]+$", "must be the name of an environment variable";
    /// An environment variable's name, in which `*` stands for any characters.
    EnvPattern: r"^[^=\u0000-\u0020\u007f]{1,256}$", "must be the name of an environment variable, or a pattern such as \"MY_*\"";
    /// An environment variable's value.
    EnvValue: r"^[^\u0000]*$", "must be text without NUL characters";
    /// Where a plugin may connect to.
    Origin: r"^[a-z][a-z0-9+.-]*://[^\s/?#@]+$", "must be an origin, for example \"https://api.example.com:443\"";
    /// A host of an origin.
    Host: r"^[A-Za-z0-9*.:\[\]-]+$", "must be a host, for example \"api.example.com\"";
    /// A header's name.
    Header: r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$", "must be the name of an HTTP header";
    /// A header's value, with a placeholder for the secret.
    SecretFormat: r"^[^\u0000-\u001f\u007f]*\{\}[^\u0000-\u001f\u007f]*$",
        "must be one line with {} where the secret goes, for example \"Bearer {}\"";
}
