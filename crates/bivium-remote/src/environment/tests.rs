use super::*;

pub(super) fn manifest() -> Manifest {
    let text = r#"{"name": "p", "version": "1", "module": "m", "class": "C"}"#;
    Manifest::parse(text, Path::new("/plugins/p.json")).unwrap()
}
