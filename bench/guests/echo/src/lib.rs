//! The component that is measured: reads JSON, writes JSON, and little besides. Its twins are `../echo-extism` and
//! `bench/python/echo.py`.

use std::io::{Read, Write};

use bivium_guest::{Blob, Call, Empty, Error, Method, Payload, Plugin, Result, Stream};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

struct Echo;

/// As much as is read and written at once, in bytes.
const PIECE: usize = 256 << 10;

#[derive(Deserialize, Serialize)]
struct Text {
    text: String,
}

#[derive(Deserialize)]
struct Count {
    count: u64,
}

#[derive(Deserialize, Serialize)]
struct Data {
    data: Blob,
}

const fn method(name: &'static str) -> Method {
    Method { name, description: "" }
}

impl Plugin for Echo {
    const NAME: &'static str = "echo";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &'static str = "Gives back what it gets.";
    const METHODS: &'static [Method] = &[method("spin"), method("data"), method("copy"), method("count")];
    type Config = Empty;
    type Input = Text;
    type Output = Text;

    fn config_schema() -> Value {
        json!({"type": "object"})
    }

    fn new(_: Empty) -> Result<Self> {
        Ok(Self)
    }

    fn execute(&mut self, _: &Call, input: Text) -> Result<Text> {
        Ok(input)
    }

    /// So many small results.
    fn execute_method_stream(&mut self, _: &Call, _: &str, input: Payload) -> Result<Stream> {
        let Count { count } = input.parse()?;
        Ok(Stream::new((0..count).map(|n| Ok(json!({"n": n})))))
    }

    fn execute_method(&mut self, _: &Call, method: &str, input: Payload) -> Result<Payload> {
        match method {
            "spin" => loop {
                std::hint::spin_loop();
            },
            // A blob of so many bytes.
            "data" => {
                let Count { count } = input.parse()?;
                let piece = vec![1; 1 << 20];
                let mut writer = Blob::create("application/octet-stream");
                let mut left = usize::try_from(count).unwrap_or(usize::MAX);
                while left > 0 {
                    let now = left.min(piece.len());
                    writer.write_all(&piece[..now])?;
                    left -= now;
                }
                Payload::new(Data { data: writer.finish()? })
            }
            // A blob, read and written piece by piece.
            "copy" => {
                let Data { data } = input.parse()?;
                let mut reader = data.reader();
                let mut writer = Blob::create("application/octet-stream");
                let mut piece = vec![0; PIECE];
                loop {
                    let read = reader.read(&mut piece)?;
                    if read == 0 {
                        break;
                    }
                    writer.write_all(&piece[..read])?;
                }
                Payload::new(Data { data: writer.finish()? })
            }
            other => Err(Error::NotFound(other.to_owned())),
        }
    }
}

bivium_guest::export!(Echo);
