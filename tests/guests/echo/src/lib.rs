//! `echo`: a plugin that behaves, made with the SDK: text and blobs come back with the configuration's greeting.

use std::io::{Read, Write};

use bivium_guest::{Blob, Call, Error, Method, Payload, Plugin, Result, Stream};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

struct Echo {
    config: Config,
}

#[derive(Serialize, Deserialize)]
struct Config {
    #[serde(default)]
    greeting: String,
}

#[derive(Deserialize)]
struct Input {
    #[serde(default)]
    text: String,
    #[serde(default)]
    blob: Option<Blob>,
    /// Results of a stream.
    #[serde(default)]
    times: u32,
}

#[derive(Serialize, Deserialize)]
struct Output {
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    blob: Option<Blob>,
}

impl Plugin for Echo {
    const NAME: &'static str = "echo";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &'static str = "Gives back what it gets.";
    const METHODS: &'static [Method] = &[Method { name: "reverse", description: "Turns the text round." }];
    type Config = Config;
    type Input = Input;
    type Output = Output;

    fn output_schema() -> Value {
        bivium_guest::schema_of::<Output>()
    }

    fn method_parameters(_: &str) -> Value {
        bivium_guest::schema_of::<Input>()
    }

    fn config_schema() -> Value {
        json!({"type": "object", "properties": {"greeting": {"type": "string", "default": ""}}})
    }

    fn new(config: Config) -> Result<Self> {
        if config.greeting == "wrong" {
            return Err(Error::InvalidConfig("this greeting is wrong".into()));
        }
        Ok(Self { config })
    }

    fn execute(&mut self, call: &Call, input: Input) -> Result<Output> {
        call.progress(0.5, "echoing");
        bivium_guest::info!("echo of {} bytes", input.text.len());
        let blob = input.blob.map(upper_case).transpose()?;
        Ok(Output { text: format!("{}{}", self.config.greeting, input.text), blob })
    }

    fn execute_stream(&mut self, _call: &Call, input: Input) -> Result<Stream> {
        Ok(Stream::new((0..input.times).map(move |n| Ok(json!({"n": n, "text": input.text})))))
    }

    fn execute_method(&mut self, _call: &Call, _method: &str, input: Payload) -> Result<Payload> {
        let input: Input = input.parse()?;
        Payload::new(json!({"text": input.text.chars().rev().collect::<String>()}))
    }
}

/// A new blob with the same text in capitals.
fn upper_case(blob: Blob) -> Result<Blob> {
    let mut writer = Blob::create(&blob.media_type());
    let mut reader = blob.reader();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = reader.read(&mut buffer)?;
        if read == 0 {
            return writer.finish();
        }
        buffer[..read].make_ascii_uppercase();
        writer.write_all(&buffer[..read])?;
    }
}

bivium_guest::export!(Echo);
