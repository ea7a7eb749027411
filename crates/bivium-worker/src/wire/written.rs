//! Snapshots of what the host writes to a worker's channel. Its requests are recorded in a real worker: `tests/protocol`.

use serde_json::json;

use super::*;

fn settings<'a>(init_args: &'a Map<String, Value>, limits: &'a Limits, extras: &'a Map<String, Value>) -> Settings<'a> {
    Settings {
        protocol: PROTOCOL,
        token: "TOKEN",
        name: "name",
        version: "1.0.0",
        module: "module",
        class: "Class",
        function: "",
        init_args,
        source: vec!["/source"],
        exchange: "/exchange",
        concurrency: 1,
        max_request_bytes: 2,
        max_reply_bytes: 3,
        cancel_grace_s: 0.5,
        confined: false,
        private: &[],
        lookups: false,
        grants: &[],
        secrets: BTreeMap::new(),
        limits,
        log_level: None,
        extras,
    }
}

#[test]
fn settings_of_a_trusted_plugin() {
    insta::assert_json_snapshot!(settings(&Map::new(), &Limits::default(), &Map::new()), @r#"
    {
      "protocol": 1,
      "token": "TOKEN",
      "name": "name",
      "version": "1.0.0",
      "module": "module",
      "class": "Class",
      "source": [
        "/source"
      ],
      "exchange": "/exchange",
      "concurrency": 1,
      "max_request_bytes": 2,
      "max_reply_bytes": 3,
      "cancel_grace_s": 0.5,
      "confined": false,
      "private": [],
      "lookups": false,
      "grants": [],
      "secrets": {},
      "limits": {}
    }
    "#);
}

#[test]
fn settings_of_a_confined_plugin_that_has_everything() {
    let init_args = Map::from_iter([("depth".to_owned(), 1.into())]);
    let limits = serde_json::from_value(json!({"memory_mb": 64, "payload_mb": 1})).unwrap();
    let grant = json!({"path": "/srv/data", "guest": "/data", "mode": "write"});
    let grants = [serde_json::from_value(grant).unwrap()];
    let adapters = json!({"adapters": [{"task": "task", "module": "adapters", "class": "Adapter"}]});
    let extras = Map::from_iter([("ancestor".to_owned(), adapters)]);
    let settings = Settings {
        function: "function",
        confined: true,
        private: &["/tmp"],
        lookups: true,
        grants: &grants,
        secrets: BTreeMap::from([("KEY", "secret")]),
        log_level: Some("debug"),
        ..settings(&init_args, &limits, &extras)
    };
    insta::assert_json_snapshot!(settings, @r#"
    {
      "protocol": 1,
      "token": "TOKEN",
      "name": "name",
      "version": "1.0.0",
      "module": "module",
      "class": "Class",
      "function": "function",
      "init_args": {
        "depth": 1
      },
      "source": [
        "/source"
      ],
      "exchange": "/exchange",
      "concurrency": 1,
      "max_request_bytes": 2,
      "max_reply_bytes": 3,
      "cancel_grace_s": 0.5,
      "confined": true,
      "private": [
        "/tmp"
      ],
      "lookups": true,
      "grants": [
        {
          "path": "/srv/data",
          "guest": "/data",
          "mode": "write"
        }
      ],
      "secrets": {
        "KEY": "secret"
      },
      "limits": {
        "memory_mb": 64,
        "payload_mb": 1
      },
      "log_level": "debug",
      "ancestor": {
        "adapters": [
          {
            "task": "task",
            "module": "adapters",
            "class": "Adapter"
          }
        ]
      }
    }
    "#);
}
