//! What is kept from one run to the next.

use serde_json::json;

use crate::place::Place;

#[test]
fn disabled_is_kept_and_shown() {
    let place = Place::new();
    place.component("redact", json!({}));
    insta::assert_snapshot!(place.run(&["disable", "redact"]).all(), @"
    0
    --- stdout
    redact is disabled
    --- stderr
    ");
    assert_eq!(place.run(&["list", "--output=json"]).json()["plugins"][0]["enabled"], false);
    insta::assert_snapshot!(place.run(&["enable", "manifests/redact.json", "--output", "json"]).all(), @r#"
    0
    --- stdout
    {"name":"redact","enabled":true}
    --- stderr
    "#);
    assert_eq!(place.run(&["list", "--output=json"]).json()["plugins"][0]["enabled"], true);
}

#[test]
fn a_schema_in_the_manifest_is_printed_without_starting_the_plugin() {
    let place = Place::new();
    let schema = json!({"type": "object", "properties": {"mask": {"type": "string"}}});
    place.component("redact", json!({"config_schema": schema}));
    assert_eq!(place.run(&["config", "schema", "redact"]).assert_status(0).json(), schema);
}

#[test]
fn saved_settings_that_are_broken_are_named() {
    let place = Place::new();
    place.component("redact", json!({}));
    std::fs::create_dir(place.path("data/settings")).unwrap();
    place.write("data/settings/redact.json", "{");
    insta::assert_snapshot!(place.run(&["config", "get", "redact"]).all(), @"
    4
    --- stdout
    --- stderr
    bivium: redact: the saved settings [DIR]/data/settings/redact.json are not valid: EOF while parsing an object at line 1 column 1; mend or delete that file
    ");
}
