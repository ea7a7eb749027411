//! A component that knows nothing of Bivium: its functions, from the command line.

use std::path::Path;

use serde_json::json;

use crate::place::Place;

fn images() -> Place {
    let place = Place::new();
    let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/guests/target/guests/typed.wasm");
    assert!(guest.is_file(), "{} is not built: run `cargo xtask guests`", guest.display());
    std::fs::copy(guest, place.path("manifests/images.wasm")).unwrap();
    place.component("images", json!({}));
    place
}

#[test]
fn a_function_is_run_by_its_name_with_files_for_its_bytes() {
    let place = images();
    place.write("cat.png", "PNG");
    let resize = |more: &[&'static str]| {
        let mut args = vec!["run", "images", "--method", "images.resize", "image@=cat.png", "background=transparent"];
        args.extend(["changes:=[\"flip\"]", "fit=cover"]);
        args.extend(more);
        place.run(&args)
    };
    let small = resize(&["size:={\"width\": 3, \"height\": 1}"]);
    assert_eq!(small.assert_status(0).json(), "UFBQ");
    let large = resize(&["size:={\"width\": 300, \"height\": 100}", "--out", "out"]);
    let path = large.assert_status(0).json()["$blob"]["path"].as_str().unwrap().replace("[DIR]", "");
    let written = std::fs::read(place.path(path.trim_start_matches('/'))).unwrap();
    assert_eq!(written, vec![b'P'; 30_000]);

    let wrong = resize(&["size:={\"width\": -3, \"height\": 1}"]);
    assert!(wrong.assert_status(4).stderr.contains("/size/width"), "{}", wrong.stderr);
    let text =
        place.run(&["run", "images", "--method", "images.resize", "image=hi!", "size:={}", "changes:=[]", "fit=cover"]);
    assert!(text.assert_status(4).stderr.contains("write `image@=FILE` to pass a file"), "{}", text.stderr);
    let too_large = resize(&["size:={\"width\": 9999, \"height\": 9999}"]);
    assert!(too_large.assert_status(1).stderr.contains("too-large: 1048576"), "{}", too_large.stderr);
    let default = place.run(&["run", "images"]);
    assert!(default.assert_status(3).stderr.contains("`images.resize`"), "{}", default.stderr);
    place.assert_clean();
}

#[test]
fn info_shows_the_functions_with_their_parameters() {
    let place = images();
    let info = place.run(&["info", "images"]);
    info.assert_status(0);
    assert!(
        info.stdout.contains("greet         func(name: string, greeting: option<string>) -> string"),
        "{}",
        info.stdout
    );
    assert!(!info.stdout.contains("\n  execute "), "it has no method `execute`: {}", info.stdout);
    assert!(info.stdout.contains("    $ bivium run images --method greet name=TEXT\n"), "{}", info.stdout);
    let loaded = place.run(&["info", "images", "--load", "--output=json"]).json();
    let info = place.run(&["info", "images", "--output=json"]).json();
    assert_eq!(info["methods"], loaded["methods"], "what the file says and what the plugin says");
    assert_eq!((&info["loaded"], &loaded["loaded"]), (&json!(false), &json!(true)));
    let methods = info["methods"].as_array().unwrap();
    let resize = methods.iter().find(|method| method["name"] == "images.resize").unwrap();
    assert_eq!(resize["parameters"]["properties"]["size"]["properties"]["width"]["maximum"], u32::MAX);
    assert_eq!(resize["parameters"]["required"], json!(["image", "size", "background", "changes"]));
}
