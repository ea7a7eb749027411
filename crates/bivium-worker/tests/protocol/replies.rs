//! What the worker writes.

use serde_json::{Value, json};

use crate::common::until;
use crate::raw::RawWorker;

fn ready(more: Value) -> RawWorker {
    RawWorker::ready("Told", more)
}

#[test]
fn events_of_the_channel() {
    let mut worker = RawWorker::start("Told", json!({}));
    let mut shown = worker.shown();
    shown.json("ready", &worker.starts());
    worker.call("execute", json!({"args": ["hello"]}));
    shown.json("a log record of a call", &worker.event());
    worker.post("/cleanup", &json!({"call": "call-2"}));
    shown.json("the end of a worker that was told to end", &worker.event());

    let mut worker = ready(json!({}));
    worker.call_in_vain("kill");
    shown.json("the end of a worker that was killed", &worker.event());

    for (title, class, more) in [
        ("no such class", "Tolt", json!({})),
        ("a module that fails", "Told", json!({"module": "broken_import"})),
        ("settings of another version", "Told", json!({"protocol": 2})),
    ] {
        let mut worker = RawWorker::start(class, more);
        shown.json(title, &worker.event()).json("and its end", &worker.event());
    }
    insta::assert_snapshot!("channel", shown.end());
}

#[test]
fn results() {
    let worker = ready(json!({}));
    let mut shown = worker.shown();
    shown.reply("a result", &worker.call("execute", json!({"args": ["hello"], "kwargs": {"times": 2}})));
    let given = worker.exchange.path().join("given.wav");
    std::fs::write(&given, "given").unwrap();
    let blobs = json!([{"path": given, "media_type": "audio/wav", "size": 5}]);
    let literal = json!({"blob": {"$blob": 0}, "more": {"$$blob": 1}});
    shown.reply("files", &worker.call("files", json!({"kwargs": literal, "blobs": blobs})));
    shown.reply("a long result", &worker.call("long", json!({"args": [300_000]})));
    let spilled = worker.exchange.path().join("request.json");
    std::fs::write(&spilled, r#"{"call": "call-1", "method": "execute", "args": ["from a file"]}"#).unwrap();
    let size = spilled.metadata().unwrap().len();
    let spilled = json!({"path": spilled, "media_type": "application/json", "size": size});
    shown.reply(
        "the result of a long request",
        &worker.post("/execute", &json!({"call": "call-1", "spilled": spilled})),
    );
    insta::assert_snapshot!("results", shown.end());
}

#[test]
fn streams() {
    let worker = ready(json!({}));
    let mut shown = worker.shown();
    for (title, method, more) in [
        ("progress and a chunk", "execute", json!({"args": ["one"]})),
        ("the only chunk of a unary call", "half", json!({"unary": true})),
        ("a file in a chunk", "files", json!({"args": [null]})),
        ("a long chunk", "long", json!({"args": [300_000]})),
        ("an error after a chunk", "fail_later", json!({})),
        ("an error before any chunk", "none", json!({})),
    ] {
        shown.reply(title, &worker.call_at("/execute_stream", method, more));
    }
    insta::assert_snapshot!("streams", shown.end());
}

#[test]
fn questions_and_controls() {
    // The call has much time to end by itself.
    let worker = ready(json!({"cancel_grace_s": 60}));
    let mut shown = worker.shown();
    let config = |config: Value| json!({"call": "call-1", "config": config});
    shown.reply("the configuration", &worker.post("/initialize", &config(json!({"depth": 2}))));
    shown.reply("the request for the configuration", &worker.get("/config?call=call-2"));
    shown.reply("its schema", &worker.get("/config_schema?call=call-3"));
    shown.reply("a wrong configuration", &worker.post("/initialize", &config(json!({"colour": 1}))));
    std::thread::scope(|scope| {
        let call = scope.spawn(|| worker.call("wait", json!({})));
        let waits = || worker.get("/progress?call=call-1").json()["message"] == "waits";
        until(waits);
        shown.reply("the progress of a call", &worker.get("/progress?call=call-1"));
        shown.reply("the statistics meanwhile", &worker.get("/stats"));
        shown.reply("its cancellation", &worker.post("/cancel?call=call-1", &json!({})));
        shown.reply("the call that was cancelled", &call.join().unwrap());
    });
    shown.reply("a cancel of an unknown call", &worker.post("/cancel?call=call-9", &json!({})));
    shown.reply("the progress of an unknown call", &worker.get("/progress?call=call-9"));
    shown.reply("the health", &worker.get("/health"));
    shown.reply("the end", &worker.post("/cleanup", &json!({"call": "call-4"})));
    insta::assert_snapshot!("questions_and_controls", shown.end());
}

#[test]
fn methods() {
    let worker = RawWorker::ready("Small", json!({}));
    insta::assert_snapshot!("methods", worker.shown().reply("the methods", &worker.get("/methods")).end());
}

#[test]
fn errors() {
    let worker = ready(json!({}));
    let mut shown = worker.shown();
    for (title, method, more) in [
        ("the plugin raised", "fail", json!({})),
        ("a result that is not JSON", "no_json", json!({})),
        ("wrong arguments", "execute", json!({"kwargs": {"txet": 1}})),
        ("a blob that did not come", "execute", json!({"args": [{"$blob": 0}]})),
        ("no such method", "exicute", json!({})),
        ("no room", "exhausted", json!({})),
        ("a file outside the exchange", "outside", json!({})),
    ] {
        shown.reply(title, &worker.call(method, more));
    }
    let confined = ready(json!({"confined": true, "private": ["/"]}));
    shown.reply("an error of a confined plugin", &confined.call("nowhere", json!({})));
    insta::assert_snapshot!("errors", shown.end());
}

#[test]
fn refusals() {
    let worker = ready(json!({"max_request_bytes": 1000}));
    let mut shown = worker.shown();
    for (title, verb, headers) in [
        ("without the token", "GET", [("Authorization", "")].as_slice()),
        ("under another name", "GET", &[("Host", "evil.example")]),
        ("by a web page", "GET", &[("Origin", "http://evil.example")]),
        ("without a length", "POST", &[]),
        ("with an encoding", "POST", &[("Transfer-Encoding", "chunked")]),
        ("too long", "POST", &[("Content-Length", "1001")]),
        ("another method", "POST", &[("Content-Length", "0")]),
    ] {
        shown.reply(title, &worker.send(&worker.head(verb, "/health", headers)));
    }
    shown.reply("no HTTP", &worker.send("hello\r\n\r\n"));
    shown.reply("another path", &worker.get("/healthy"));
    shown.reply("no object", &worker.post("/execute", &json!([])));
    shown.reply("no id", &worker.post("/execute", &json!({"call": 1})));
    let slow = ready(json!({"request_timeout_s": 0.1}));
    shown.reply("too slow", &slow.send(&slow.head("POST", "/execute", &[("Content-Length", "1")])));
    insta::assert_snapshot!("refusals", shown.end());
}
