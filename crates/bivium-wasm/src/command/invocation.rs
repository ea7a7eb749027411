//! [`Invocation`]: the arguments and the standard input that a call passes to a program.

use std::io::Read as _;

use bivium_instances::document::{self, DocumentLimits};
use bivium_interface::{Blob, Call, Payload, PluginError, Result};
use bytes::Bytes;
use serde_json::Value;

use crate::text;

/// Another name of the only method.
const METHOD: &str = "run";

/// What a call passes to a program.
pub(super) struct Invocation {
    /// With the program's name first.
    pub(super) arguments: Vec<String>,
    pub(super) input: Bytes,
}

impl Invocation {
    /// Takes the arguments for the program of this name out of a call. Errors are the caller's fault.
    pub(super) async fn take(program: &str, call: &mut Call, limits: DocumentLimits) -> Result<Self> {
        if call.method != Call::EXECUTE && call.method != METHOD {
            let method = &call.method;
            return Err(PluginError::not_found(format!("there is no method `{}`", text::name(method)))
                .with_help("the component is a program: a call that names no method runs it"));
        }
        let blobs = Payload { json: Value::Null, blobs: std::mem::take(&mut call.blobs) };
        let mut named = std::mem::take(&mut call.named);
        let mut values = std::mem::take(&mut call.positional);
        match named.swap_remove("args") {
            Some(Value::Array(more)) => values.extend(more),
            Some(_) => return Err(wrong("`args` is not an array")),
            None => {}
        }
        let input = match named.swap_remove("stdin") {
            None | Some(Value::Null) => Bytes::new(),
            Some(Value::String(text)) => text.into(),
            Some(value) => {
                let blob = blobs.blob(&value).ok_or_else(|| wrong("`stdin` is neither text nor a blob"))?.clone();
                document::aside(true, move || read(&blob, limits)).await??
            }
        };
        if let Some(unknown) = named.keys().next() {
            return Err(wrong(&format!("the program has no argument `{}`", text::name(unknown))));
        }
        let (mut arguments, mut size) = (vec![program.to_owned()], input.len());
        for (n, value) in values.into_iter().enumerate() {
            let argument = match value {
                Value::String(text) => text,
                Value::Number(number) => number.to_string(),
                Value::Bool(bool) => bool.to_string(),
                _ => return Err(wrong(&format!("the argument {n} is neither text nor a number"))),
            };
            if argument.contains('\0') {
                return Err(wrong(&format!("the argument {n} contains a NUL character")));
            }
            size = size.saturating_add(argument.len());
            arguments.push(argument);
        }
        if size > limits.text {
            return Err(limits.too_long("the arguments are", &format!("{} MiB", size >> 20)));
        }
        Ok(Self { arguments, input })
    }
}

fn wrong(what: &str) -> PluginError {
    PluginError::invalid_input(what.to_owned())
        .with_help("give the program's arguments by position or as `args`, and its standard input as `stdin`")
}

/// A blob's bytes.
fn read(blob: &Blob, limits: DocumentLimits) -> Result<Bytes> {
    let over = || {
        PluginError::resource_exhausted(format!(
            "the blob for standard input has more than {} MiB, which is the limit of a payload",
            limits.text >> 20
        ))
        .with_help("raise `limits.payload_mb`, or have the program read the file in /blobs (`permissions.blob_files`)")
    };
    let most = limits.text as u64;
    if blob.size() > most {
        return Err(over());
    }
    let mut bytes = Vec::new();
    blob.open()
        .and_then(|file| file.take(most + 1).read_to_end(&mut bytes))
        .map_err(|error| PluginError::unavailable(format!("cannot read the blob for standard input: {error}")))?;
    if bytes.len() as u64 > most { Err(over()) } else { Ok(bytes.into()) }
}
