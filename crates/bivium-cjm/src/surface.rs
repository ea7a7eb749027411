//! [`Surface`]: the public members of a class, as their tools write them down.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The public members of a class: of a plugin's, or of the protocol that an adapter asks of one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Surface {
    /// Its methods.
    pub methods: Vec<SurfaceMethod>,
    /// The names of its properties.
    pub properties: Vec<String>,
    /// Its other attributes.
    pub attributes: Vec<SurfaceAttribute>,
}

/// A method of a class.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SurfaceMethod {
    /// Its name.
    pub name: String,
    /// Its signature as Python writes it; for people.
    pub signature: String,
    /// The names of its parameters without `self`; none where they were not recorded.
    pub params: Option<Vec<String>>,
}

/// An attribute of a class.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SurfaceAttribute {
    /// Its name.
    pub name: String,
    /// Its type's name.
    #[serde(rename = "type")]
    pub kind: String,
}
