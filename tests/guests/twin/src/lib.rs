//! The component of two plugins that do the same on the two roads; the other is `tests/plugins/twin`.

use std::io::{Read, Write};

use bivium_guest::serde_json::{Value, json};
use bivium_guest::{Blob, Call, Error, Method, Payload, Plugin, Result, Stream, error, info};
use serde::{Deserialize, Serialize};

struct Twin {
    config: Config,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default = "hello")]
    greeting: String,
    #[serde(default)]
    refuse: bool,
}

fn hello() -> String {
    "hello".to_owned()
}

#[derive(Deserialize)]
struct Input {
    text: String,
}

#[derive(Deserialize)]
struct Data {
    data: Blob,
}

const fn method(name: &'static str) -> Method {
    Method { name, description: "" }
}

impl Plugin for Twin {
    const NAME: &'static str = "twin-wasm";
    const VERSION: &'static str = "1.0.0";
    const SUMMARY: &'static str = "Does what its twin does.";
    const METHODS: &'static [Method] = &[
        method("fail"),
        method("crash"),
        method("spin"),
        method("patient"),
        method("size"),
        method("upper"),
        method("same"),
        method("literal"),
    ];
    type Config = Config;
    type Input = Input;
    type Output = Value;

    fn config_schema() -> Value {
        json!({
            "type": "object",
            "properties": {
                "greeting": {"type": "string", "default": "hello"},
                "refuse": {"type": "boolean", "default": false}
            },
            "additionalProperties": false
        })
    }

    fn new(config: Config) -> Result<Self> {
        if config.refuse {
            return Err(Error::InvalidConfig("asked to refuse".to_owned()));
        }
        Ok(Self { config })
    }

    fn execute(&mut self, _call: &Call, input: Input) -> Result<Value> {
        info!("executing {}", input.text);
        Ok(json!({"text": format!("{} {}", self.config.greeting, input.text)}))
    }

    fn execute_stream(&mut self, call: &Call, input: Input) -> Result<Stream> {
        let words: Vec<String> = input.text.split_whitespace().map(str::to_owned).collect();
        let (call, count) = (call.clone(), words.len());
        Ok(Stream::new(words.into_iter().enumerate().map(move |(n, word)| {
            call.progress((n + 1) as f64 / count as f64, &word);
            Ok(json!({"n": n, "word": word}))
        })))
    }

    fn execute_method(&mut self, call: &Call, method: &str, input: Payload) -> Result<Payload> {
        match method {
            "fail" => Err(std::io::Error::other("asked to fail").into()),
            "crash" => {
                error!("about to end");
                std::process::abort()
            }
            "spin" => {
                call.progress(0.5, "spinning");
                loop {
                    std::hint::spin_loop();
                }
            }
            "patient" => {
                call.progress(0.5, "waiting to be cancelled");
                loop {
                    call.check()?;
                }
            }
            "size" => {
                let Data { data } = input.parse()?;
                Payload::new(json!({"size": data.size(), "media_type": data.media_type()}))
            }
            "upper" => {
                let Data { data } = input.parse()?;
                let mut bytes = Vec::new();
                data.reader().read_to_end(&mut bytes)?;
                let mut writer = Blob::create("text/plain");
                writer.write_all(&bytes.to_ascii_uppercase())?;
                Payload::new(Named { data: writer.finish()? })
            }
            "same" => {
                let Data { data } = input.parse()?;
                Payload::new(Named { data })
            }
            "literal" => Payload::new(input.parse::<Value>()?),
            other => Err(Error::NotFound(other.to_owned())),
        }
    }
}

#[derive(Serialize)]
struct Named {
    data: Blob,
}

bivium_guest::export!(Twin);
