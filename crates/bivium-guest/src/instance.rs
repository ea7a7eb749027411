//! [`Instance`]: the life cycle of a plugin, as the world's interface `guest` defines it, independent of any binding.
//!
//! It enforces the rules: nothing runs before a configuration, a refused configuration changes nothing, and the handles of
//! a call are dropped when the call ends.

use std::sync::Once;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::payload::fit;
use crate::trace::schema_of;
use crate::{Call, Error, Level, Payload, Plugin, Result, Stream, log};

/// The method of every plugin.
const EXECUTE: &str = "execute";

pub(crate) struct Instance<P> {
    configured: Option<Configured<P>>,
}

struct Configured<P> {
    plugin: P,
    config: String,
}

impl<P: Plugin> Instance<P> {
    pub(crate) fn new() -> Self {
        Self { configured: None }
    }

    pub(crate) fn initialize(&mut self, json: &str) -> Result<()> {
        log_panics();
        let document = serde_json::from_str(json).map_err(|error| error.to_string());
        let config: P::Config = document
            .and_then(fit)
            .map_err(|error| Error::InvalidConfig(format!("the configuration does not fit: {error}")))?;
        let written = serde_json::to_string(&config)?;
        match &mut self.configured {
            Some(configured) => {
                configured.plugin.reconfigure(config)?;
                configured.config = written;
            }
            None => self.configured = Some(Configured { plugin: P::new(config)?, config: written }),
        }
        Ok(())
    }

    /// The configuration in force; an empty object before the first one.
    pub(crate) fn current_config(&self) -> String {
        self.configured.as_ref().map_or_else(|| "{}".to_owned(), |configured| configured.config.clone())
    }

    pub(crate) fn execute(&mut self, method: &str, input: Payload) -> Result<Payload> {
        let result = self.plugin().and_then(|plugin| match method {
            EXECUTE => Payload::new(plugin.execute(&Call, arguments::<P>(&input)?)?),
            other => plugin.execute_method(&Call, declared::<P>(other)?, input),
        });
        Payload::end_call();
        result
    }

    pub(crate) fn execute_stream(&mut self, method: &str, input: Payload) -> Result<OpenStream> {
        let result = self.plugin().and_then(|plugin| match method {
            EXECUTE => plugin.execute_stream(&Call, arguments::<P>(&input)?),
            other => plugin.execute_method_stream(&Call, declared::<P>(other)?, input),
        });
        match result {
            Ok(stream) => Ok(OpenStream(Some(stream))),
            Err(error) => {
                Payload::end_call();
                Err(error)
            }
        }
    }

    pub(crate) fn cleanup(&mut self) {
        if let Some(configured) = self.configured.take() {
            configured.plugin.cleanup();
        }
    }

    fn plugin(&mut self) -> Result<&mut P> {
        match &mut self.configured {
            Some(configured) => Ok(&mut configured.plugin),
            None => Err(Error::Unavailable("the plugin is not initialized: call `initialize` first".into())),
        }
    }
}

/// The signatures of the methods, as far as the types show them.
pub(crate) fn signatures<P: Plugin>() -> Value {
    let mut signature = json!({"parameters": schema_of::<P::Input>(), "streams": P::STREAMS});
    let is_known = |schema: &Value| schema.as_object().is_some_and(|schema| !schema.is_empty());
    if let (Some(signature), Some(returns)) = (signature.as_object_mut(), Some(P::output_schema()).filter(is_known)) {
        signature.insert("returns".to_owned(), returns);
    }
    let closed = !P::ALLOWS_UNKNOWN_ARGUMENTS;
    if let Some(parameters) = signature.pointer_mut("/parameters").and_then(Value::as_object_mut)
        && closed
        && parameters.contains_key("properties")
    {
        parameters.insert("additionalProperties".to_owned(), false.into());
    }
    if let Some(parameters) = signature.pointer_mut("/parameters").and_then(Value::as_object_mut)
        && !P::ALTERNATIVES.is_empty()
    {
        let sets = P::ALTERNATIVES.iter().map(|names| json!({"required": names}));
        parameters.insert("oneOf".to_owned(), sets.collect());
    }
    let others = P::METHODS.iter().map(|method| (method.name, P::method_parameters(method.name)));
    let others = others.filter(|(_, parameters)| is_known(parameters));
    let mut all = Map::from_iter([(EXECUTE.to_owned(), signature)]);
    all.extend(others.map(|(name, parameters)| (name.to_owned(), json!({"parameters": parameters}))));
    Value::Object(all)
}

/// The schema of the configuration, as far as its type shows it. The defaults are those of a configuration read from `{}`.
pub(crate) fn config_schema<C: DeserializeOwned + Serialize>() -> Value {
    let mut schema = schema_of::<C>();
    let defaults = serde_json::from_str::<C>("{}").ok().and_then(|defaults| serde_json::to_value(defaults).ok());
    let properties = schema.pointer_mut("/properties").and_then(Value::as_object_mut);
    if let (Some(properties), Some(Value::Object(defaults))) = (properties, defaults) {
        for (key, default) in defaults {
            if let Some(property) = properties.get_mut(&key).and_then(Value::as_object_mut) {
                property.insert("default".to_owned(), default);
            }
        }
    }
    schema
}

/// The arguments of `execute`.
fn arguments<P: Plugin>(input: &Payload) -> Result<P::Input> {
    if P::ALLOWS_UNKNOWN_ARGUMENTS { input.parse_known() } else { input.parse() }
}

fn declared<P: Plugin>(method: &str) -> Result<&'static str> {
    let known = P::METHODS.iter().map(|known| known.name);
    known.clone().find(|name| *name == method).ok_or_else(|| {
        let names: Vec<&str> = std::iter::once(EXECUTE).chain(known).collect();
        Error::NotFound(format!("there is no method `{method}`; there is {}", names.join(", ")))
    })
}

/// A running stream. It ends, and with it what came with its call, at its last result, at an error, or when it is dropped.
pub(crate) struct OpenStream(Option<Stream>);

impl OpenStream {
    pub(crate) fn next(&mut self) -> Result<Option<Payload>> {
        let next = self.0.as_mut().and_then(Iterator::next).transpose();
        if !matches!(next, Ok(Some(_))) {
            self.end();
        }
        next
    }

    fn end(&mut self) {
        if self.0.take().is_some() {
            Payload::end_call();
        }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.end();
    }
}

/// Writes the message of a panic to the log, since the trap that it becomes has none.
fn log_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            log(Level::Error, &panic.to_string());
            before(panic);
        }));
    });
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::testing::{self, Harness};
    use crate::{Blob, Method};

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        factor: u32,
        #[serde(default, skip_serializing)]
        #[allow(dead_code)]
        secret: String,
    }

    #[derive(Deserialize)]
    struct Input {
        count: u32,
        #[serde(default)]
        blob: Option<Blob>,
    }

    struct Times(u32);

    #[derive(Serialize, Deserialize)]
    #[serde(default)]
    struct Defaults {
        mask: String,
        most: Option<u8>,
    }

    impl Default for Defaults {
        fn default() -> Self {
            Self { mask: "*".to_owned(), most: None }
        }
    }

    #[test]
    fn schemas_are_made_from_the_plugins_types() {
        let expected = json!({"negate": {"parameters": {"type": "integer", "minimum": 0, "maximum": 255}},
            "execute": {"returns": {"type": "string"}, "streams": false, "parameters": {"type": "object", "properties": {
            "count": {"type": "integer", "minimum": 0, "maximum": u32::MAX},
            "blob": {"anyOf": [{"type": "object", "properties": {"$blob": {"type": "integer", "minimum": 0}},
                "required": ["$blob"], "description": "a file"}, {"type": "null"}]}},
            "required": ["count"], "additionalProperties": false}}});
        assert_eq!(signatures::<Times>(), expected);
        let expected = json!({"type": "object", "properties": {"mask": {"type": "string", "default": "*"},
            "most": {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 255}, {"type": "null"}], "default": null}}});
        assert_eq!(config_schema::<Defaults>(), expected);
        assert_eq!(Times::config_schema()["required"], json!(["factor"]));
    }

    #[test]
    fn the_schema_has_alternative_sets_of_arguments() {
        struct Either;
        impl Plugin for Either {
            const NAME: &'static str = "either";
            const VERSION: &'static str = "1.0.0";
            const SUMMARY: &'static str = "Takes one of two.";
            const ALTERNATIVES: &'static [&'static [&'static str]] = &[&["count"], &["blob", "mode"]];
            type Config = crate::Empty;
            type Input = Input;
            type Output = ();
            fn new(_: crate::Empty) -> Result<Self> {
                Ok(Self)
            }
            fn execute(&mut self, _: &Call, _: Input) -> Result<()> {
                Ok(())
            }
        }
        let parameters = &signatures::<Either>()["execute"]["parameters"];
        assert_eq!(parameters["oneOf"], json!([{"required": ["count"]}, {"required": ["blob", "mode"]}]));
    }

    impl Plugin for Times {
        const NAME: &'static str = "times";
        const VERSION: &'static str = "1.0.0";
        const SUMMARY: &'static str = "Multiplies.";
        const METHODS: &'static [Method] = &[Method { name: "negate", description: "Negates." }];

        fn output_schema() -> Value {
            schema_of::<String>()
        }

        fn method_parameters(_: &str) -> Value {
            schema_of::<u8>()
        }

        type Config = Config;
        type Input = Input;
        type Output = Value;

        fn new(config: Config) -> Result<Self> {
            if config.factor == 0 {
                return Err(Error::invalid_config("factor must not be 0"));
            }
            Ok(Self(config.factor))
        }

        fn execute(&mut self, call: &Call, input: Input) -> Result<Value> {
            call.check()?;
            call.progress(0.5, "half-way");
            crate::log(Level::Info, "working");
            Ok(json!({"result": self.0 * input.count, "media": input.blob.map(|blob| blob.media_type())}))
        }

        fn execute_stream(&mut self, call: &Call, input: Input) -> Result<Stream> {
            let (call, factor) = (*call, self.0);
            Ok(Stream::new((0..input.count).map(move |n| {
                call.check()?;
                if n == 3 { Err(Error::failed("TooMany", "three")) } else { Ok(n * factor) }
            })))
        }

        fn execute_method(&mut self, _: &Call, _: &str, input: Payload) -> Result<Payload> {
            let input: Input = input.parse()?;
            Payload::new(-i64::from(input.count))
        }
    }

    fn harness() -> Harness<Times> {
        Harness::new(&json!({"factor": 2, "secret": "s3cr3t"})).unwrap()
    }

    #[test]
    fn calls_methods_and_unknown_methods() {
        let mut times = harness();
        let blob = Blob::from_bytes("text/plain", b"x").unwrap();
        let (result, _) = times.execute(&json!([21, {"$blob": 0}]), &[blob]).unwrap();
        assert_eq!(result, json!({"result": 42, "media": "text/plain"}));
        assert_eq!(testing::progress().last(), Some(&(Some(0.5), "half-way".to_owned())));
        assert!(testing::logs().contains(&(Level::Info, "working".to_owned())));
        assert_eq!(times.execute_method("negate", &json!({"count": 7}), &[]).unwrap().0, json!(-7));
        let error = times.execute_method("nagate", &json!({}), &[]).unwrap_err();
        assert_eq!(error, Error::NotFound("there is no method `nagate`; there is execute, negate".into()));
    }

    #[test]
    fn a_refused_configuration_changes_nothing() {
        let mut times = harness();
        for wrong in [json!({"factor": 0}), json!({"factor": "x"}), json!({"factor": 3, "fraction": 1})] {
            assert_eq!(times.configure(&wrong).unwrap_err().code(), "invalid-config");
        }
        let wrong = times.configure(&json!({"factor": "x"})).unwrap_err();
        assert!(
            wrong.message().starts_with(
                "the configuration does not fit: factor must be a whole number from 0 to 4294967295, and is the text"
            ),
            "{wrong}"
        );
        assert_eq!(times.config(), json!({"factor": 2}), "and no secret is shown");
        assert_eq!(times.execute(&json!({"count": 2}), &[]).unwrap().0["result"], 4);
        times.configure(&json!({"factor": 5})).unwrap();
        assert_eq!(times.execute(&json!({"count": 2}), &[]).unwrap().0["result"], 10);
    }

    #[test]
    fn nothing_runs_before_a_configuration() {
        let mut instance = Instance::<Times>::new();
        assert_eq!(instance.execute(EXECUTE, Payload::default()).unwrap_err().code(), "unavailable");
        assert_eq!(instance.current_config(), "{}");
    }

    #[test]
    fn a_stream_gives_results_until_its_end_an_error_or_a_cancel() {
        let mut times = harness();
        let results = |items: Vec<Result<(Value, Vec<Blob>)>>| -> Vec<Result<Value>> {
            items.into_iter().map(|item| item.map(|(json, _)| json)).collect()
        };
        let all = results(times.stream(&json!({"count": 2}), &[]).unwrap().collect());
        assert_eq!(all, [Ok(json!(0)), Ok(json!(2))]);
        let all = results(times.stream(&json!({"count": 9}), &[]).unwrap().collect());
        assert_eq!(all.len(), 4, "nothing comes after an error");
        assert_eq!(all[3].as_ref().unwrap_err().code(), "plugin-failed");

        let mut stream = times.stream(&json!({"count": 2}), &[]).unwrap();
        assert!(stream.next().unwrap().is_ok());
        testing::cancel();
        assert_eq!(stream.next().unwrap().unwrap_err().code(), "cancelled");
    }
}
