//! The same as `../echo`, as a plug-in of Extism, in the way of its own documentation.

use extism_pdk::{FnResult, Json, plugin_fn};
use serde::{Deserialize, Serialize};

#[derive(Deserialize, Serialize)]
struct Text {
    text: String,
}

#[plugin_fn]
pub fn execute(Json(input): Json<Text>) -> FnResult<Json<Text>> {
    Ok(Json(input))
}

#[plugin_fn]
pub fn spin() -> FnResult<()> {
    loop {
        std::hint::spin_loop();
    }
}
